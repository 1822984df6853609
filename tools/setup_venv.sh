#!/bin/sh
# Create .venv and install this package with an extra of pyproject.toml.
# Usage: tools/setup_venv.sh demo|train|report|serve|web|tour|runtimes|dev
set -eu
extra=$1
venv=${VENV:-.venv}
python=${PYTHON:-python3}

tools/debian_packages.sh demo $([ "$extra" != dev ] || echo dev)

if [ ! -x "$venv/bin/python" ]; then
    rm -rf "$venv" # left by an interrupted attempt
    "$python" -m venv "$venv"
fi
echo "installing the Python packages of '$extra' into $venv" >&2
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check --constraint constraints.txt \
    --editable ".[$extra]"
