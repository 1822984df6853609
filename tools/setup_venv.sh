#!/bin/sh
# Make .venv with what an extra of pyproject.toml needs, and the few system libraries that its wheels expect.
# Usage: tools/setup_venv.sh demo|train|dev
set -eu
extra=$1
venv=${VENV:-.venv}
python=${PYTHON:-python3}

# Debian's names. Elsewhere the user's own package manager has to bring them: pip or an import will say so.
missing=""
if ! command -v "$python" >/dev/null 2>&1; then missing="$missing python3"; fi
if [ ! -x "$venv/bin/python" ] && ! "$python" -c 'import ensurepip, venv' >/dev/null 2>&1; then
    missing="$missing python3-venv"
fi
for pair in libGL.so.1:libgl1 libglib-2.0.so.0:libglib2.0-0; do # OpenCV's wheel is linked to them
    if ! ldconfig -p 2>/dev/null | grep -q "${pair%%:*}"; then missing="$missing ${pair##*:}"; fi
done
if [ "$extra" = dev ] && ! command -v dot >/dev/null 2>&1; then # pycaffe's drawings of nets
    missing="$missing graphviz"
fi
if [ -n "$missing" ] && command -v apt-get >/dev/null 2>&1; then
    echo "installing Debian packages:$missing" >&2
    sudo=""
    if [ "$(id -u)" != 0 ]; then sudo=sudo; fi
    $sudo apt-get -qq update
    # shellcheck disable=SC2086
    $sudo env DEBIAN_FRONTEND=noninteractive apt-get -qq install --no-install-recommends $missing >/dev/null
fi

if [ ! -x "$venv/bin/python" ]; then
    rm -rf "$venv" # an interrupted attempt
    "$python" -m venv "$venv"
fi
echo "installing the Python packages of '$extra' into $venv" >&2
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check --constraint constraints.txt \
    --editable ".[$extra]"
