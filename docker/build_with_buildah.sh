#!/bin/sh
# Build a target of docker/Dockerfile without a Docker engine, then test the image in a container.
# Usage, as root on Debian 12: docker/build_with_buildah.sh cpu|gpu
#   BUILDAH_STORAGE=DIR   storage of images, a full copy per layer (default: build/buildah)
#   KEEP=1                keep the images; without it they are removed at the end
#   BUILD_ARGS="..."      more arguments for `buildah bud`, such as --build-arg CUDA_ARCHITECTURES=80
set -eu
cd "$(dirname "$0")/.."

fail() {
    echo "$0: $*" >&2
    exit 1
}
usage() {
    echo "usage: $0 cpu|gpu" >&2
    exit 2
}

[ $# = 1 ] || usage
target=$1
case $target in cpu | gpu) ;; *) usage ;; esac
[ "$(id -u)" = 0 ] || fail "root is needed: without a daemon, only root can give files other owners"

storage=$(realpath --canonicalize-missing "${BUILDAH_STORAGE:-build/buildah}")
keep=${KEEP:-}
mkdir -p "$storage"
scratch=$(mktemp -d "$storage/scratch.XXXXXX")
log=$scratch/times
name=""

# --- tools ----------------------------------------------------------------------------------------------------
missing=""
for pair in buildah:buildah crun:crun mmdebstrap:mmdebstrap newuidmap:uidmap; do
    command -v "${pair%%:*}" >/dev/null || missing="$missing ${pair##*:}"
done
if [ -n "$missing" ]; then
    echo "installing Debian packages:$missing" >&2
    apt-get -qq update
    # shellcheck disable=SC2086
    DEBIAN_FRONTEND=noninteractive apt-get -qq install --no-install-recommends $missing >/dev/null
fi

# Storage options are buildah's own; isolation is an option of its commands.
b() {
    buildah --root "$storage/root" --runroot "$storage/run" --storage-driver vfs "$@"
}
step() { # step NAME COMMAND...: run the command, log its duration
    name=$1
    shift
    echo "=== $name" >&2
    start=$(date +%s)
    "$@"
    printf '%6d s  %s\n' $(($(date +%s) - start)) "$name" >>"$log"
}
clean_up() {
    status=$?
    if [ $status != 0 ] && [ -n "$name" ]; then echo "$0: $name: failed" >&2; fi
    if [ -z "$keep" ]; then
        b rm --all >/dev/null 2>&1 || true
        b rmi --all --force >/dev/null 2>&1 || true
        # Never delete through a mount, which may be the host's /dev.
        if grep -q " $storage/" /proc/self/mounts; then
            echo "$storage: still has mounts (see /proc/self/mounts): unmount them, then remove it" >&2
        else
            rm -rf --one-file-system "$storage"
        fi
    else
        rm -rf --one-file-system "$scratch"
    fi
}
trap clean_up EXIT
trap 'exit 130' INT TERM

# --- the base image, from the mirror that this machine's apt uses -------------------------------------------------
tag=$(sed -n 's/^ARG BASE=//p' docker/Dockerfile)
base=localhost/$tag
suite=$(echo "$tag" | sed 's/.*:\([a-z]*\)-.*/\1/')
make_base() {
    releases=$(apt-get --print-uris update | sed -n "s|^'\(.*\)/dists/\(${suite}[a-z-]*\)/InRelease'.*|deb \1 \2 main|p")
    [ -n "$releases" ] || fail "apt's sources have no mirror of Debian $suite"
    # As slim as the published image, whose merged /usr was made without Perl.
    unwanted="usrmerge '^perl-modules.*' '^libperl.*' '.*-perl$' '^libgdbm.*'"
    mmdebstrap --quiet --mode=root --variant=minbase --include=usr-is-merged --skip=output/dev \
        --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-include=/usr/share/doc/*/copyright' \
        --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
        --customize-hook="chroot \"\$1\" apt-get -qq purge $unwanted >/dev/null" \
        "$suite" "$scratch/base.tar" - <<END
$(echo "$releases" | sort -u)
END
    container=$(b from scratch)
    b add --quiet "$container" "$scratch/base.tar" / >/dev/null
    b config --cmd bash "$container"
    b commit --quiet --rm "$container" "$base" >/dev/null
    rm "$scratch/base.tar"
}
b inspect --type image "$base" >/dev/null 2>&1 || step "base image, $tag" make_base

# --- this host's access to the package index, for the build only ------------------------------------------------------
# Secrets are mounted while a step runs; no layer holds them.
ca=/etc/ssl/certs/ca-certificates.crt
{
    echo "[global]"
    for option in index-url proxy trusted-host timeout; do
        value=$(python3 -m pip config get "global.$option" 2>/dev/null) || continue
        echo "$option = $value"
    done
    if [ -e "$ca" ]; then echo "cert = /run/secrets/ca.crt"; fi
} >"$scratch/pip.conf"
if [ -e "$ca" ]; then cp "$ca" "$scratch/ca.crt"; else : >"$scratch/ca.crt"; fi

build() {
    # shellcheck disable=SC2086
    b bud --isolation chroot --pull-never --format docker --build-arg "BASE=$base" ${BUILD_ARGS:-} \
        --secret "id=pip.conf,src=$scratch/pip.conf" --secret "id=ca.crt,src=$scratch/ca.crt" \
        --file docker/Dockerfile --target "$target" --tag "localhost/facealign:$target" .
}
run() { # run COMMAND...: in the container, as the image's user
    b run --isolation chroot "$container" -- "$@"
}
install_dev() { # install what `make test` needs besides the image, with a compiler for one test
    b run --isolation chroot --user root --volume "$scratch:/run/secrets:ro" \
        --env PIP_CONFIG_FILE=/run/secrets/pip.conf "$container" -- \
        sh -c "docker/install.sh g++ graphviz chromium && make .venv/stamps/dev && chown facealign ."
}

step "build of $target" build
container=$(b from --pull-never "localhost/facealign:$target")
step "health check" run docker/healthcheck.sh
step "make demo" run make demo
if [ "$target" = cpu ]; then
    step "packages of the tests" install_dev
    # One test requires Caffe's build packages, which an image leaves out.
    step "make test" run make test \
        ARGS="--deselect tests/custom_caffe/test_caffe_source.py::test_packages_are_named_once_and_installed"
else
    # With chroot isolation a container sees no GPU, even if the host has one.
    step "caffe without a GPU" run \
        caffe time --model=prototxt/mobilenet_v2/stage2/deploy.prototxt --iterations=3 --gpu=0
fi

echo
cat "$log"
b images --format '{{.Size}}  {{.Name}}:{{.Tag}}' | grep -v '<none>'
