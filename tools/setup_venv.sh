#!/bin/sh
# Make .venv with what an extra of pyproject.toml needs.
# Usage: tools/setup_venv.sh demo|train|dev
set -eu
extra=$1
venv=${VENV:-.venv}
python=${PYTHON:-python3}

tools/debian_packages.sh demo $([ "$extra" != dev ] || echo dev)

if [ ! -x "$venv/bin/python" ]; then
    rm -rf "$venv" # an interrupted attempt
    "$python" -m venv "$venv"
fi
echo "installing the Python packages of '$extra' into $venv" >&2
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check --constraint constraints.txt \
    --editable ".[$extra]"
