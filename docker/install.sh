#!/bin/sh
# Install those of the named Debian packages that are missing, without recommended packages.
# Usage: docker/install.sh [--non-free] PACKAGE...    (--non-free: from Debian's non-free section too)
set -eu
if [ "$1" = --non-free ]; then
    shift
    for file in /etc/apt/sources.list /etc/apt/sources.list.d/debian.sources; do
        if [ -e "$file" ]; then sed -i '/^\(deb\|Components:\) /s/ main$/ main contrib non-free/' "$file"; fi
    done
fi
# OpenCV's wheel is linked to libGL, but nothing here uses its drivers (200 MB with LLVM). Of CUDA only the shared
# libraries are used, not the static ones (2 GB).
cat >/etc/dpkg/dpkg.cfg.d/facealign <<'END'
path-exclude=/usr/lib/*/libLLVM*
path-exclude=/usr/lib/*/libz3.so*
path-exclude=/usr/lib/*/dri/*
path-exclude=/usr/lib/*/lib*_static.a
path-include=/usr/lib/*/libcudart_static.a
END
missing=""
for package in "$@"; do
    # A vendor's image has some of them, possibly held at a version.
    if ! dpkg-query --show --showformat '${db:Status-Status}' "$package" 2>/dev/null | grep -q '^installed'; then
        missing="$missing $package"
    fi
done
if [ -n "$missing" ]; then
    apt-get -qq update
    # shellcheck disable=SC2086
    DEBIAN_FRONTEND=noninteractive apt-get -qq install --no-install-recommends $missing >/dev/null
fi
rm -rf /var/lib/apt/lists/* /var/cache/apt/* /var/log/apt /var/log/dpkg.log
