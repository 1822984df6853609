#!/bin/sh
# List the Debian packages that parts of this project need and that are missing, and exit with 1 if there are any;
# with --install, install them instead, as root or through sudo.
# Usage: tools/debian_packages.sh [--install] demo|dev|caffe|wheel|arm ...
# Without dpkg it does nothing: pip, an import or the compiler then reports what is missing.
set -eu
cd "$(dirname "$0")/.."
install=""
if [ "${1:-}" = --install ]; then install=yes && shift; fi
command -v dpkg-query >/dev/null || exit 0

missing=""
lacks() { # package ...: add those that are not installed to the missing ones
    for package in "$@"; do
        dpkg-query --show --showformat '${db:Status-Status}\n' "$package" 2>/dev/null | grep -qx installed ||
            missing="$missing $package"
    done
}
for part in "$@"; do
    case $part in
    demo)
        python=${PYTHON:-python3}
        command -v "$python" >/dev/null || lacks python3
        if [ ! -x "${VENV:-.venv}/bin/python" ] && ! "$python" -c 'import ensurepip, venv' >/dev/null 2>&1; then
            lacks python3-venv
        fi
        for pair in libGL.so.1:libgl1 libglib-2.0.so.0:libglib2.0-0; do # OpenCV's wheel is linked to them
            ldconfig -p 2>/dev/null | grep -q "${pair%%:*}" || missing="$missing ${pair##*:}"
        done
        ;;
    dev)
        command -v dot >/dev/null || lacks graphviz # pycaffe's drawings of nets
        command -v chromium >/dev/null || lacks chromium # the report's page
        command -v xvfb-run >/dev/null || lacks xvfb # the window of align --show
        ;;
    caffe) lacks $(grep -v '^#' custom_caffe/apt-packages.txt) ;;
    wheel) # Caffe's portable wheel, and the bare Debian it is tested on
        lacks $(grep -v '^#' custom_caffe/apt-packages.txt) mmdebstrap \
            $(sed -n 's/^debian = \[\(.*\)\]/\1/p' custom_caffe/portable.lock | tr -d '",')
        ;;
    arm) lacks g++-aarch64-linux-gnu qemu-user ;;
    *) echo "debian_packages.sh: unknown part '$part'" >&2 && exit 2 ;;
    esac
done
[ -n "$missing" ] || exit 0
if [ -z "$install" ]; then
    echo "error: Debian packages are missing:$missing; \`make deps\` installs what the tests need;" \
        "these: apt-get install --no-install-recommends$missing" >&2
    exit 1
fi
sudo=""
if [ "$(id -u)" != 0 ]; then sudo=sudo; fi
echo "installing Debian packages:$missing" >&2
$sudo apt-get -qq update || true # may fail for an unrelated archive; if it matters, the installation fails
# shellcheck disable=SC2086
$sudo env DEBIAN_FRONTEND=noninteractive apt-get -qq install --no-install-recommends $missing >/dev/null
