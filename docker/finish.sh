#!/bin/sh
# In the build stage, when all is built: keep what is used, and note the Debian packages it is linked to.
set -eu
cd "$(dirname "$0")/.."

# Of Caffe: the wheel, and the source that it was made of.
find build -mindepth 1 -maxdepth 2 ! -path build/caffe ! -path build/caffe/upstream ! -name '*.whl' \
    -prune -exec rm -rf {} +
mkdir -p data runs out build/demo
find .venv/lib -type d \( -name tests -o -path '*/onnx/backend/test' \) -prune -exec rm -rf {} +

# The packages of the libraries that files in .venv are linked to. By the libraries' names, as the places where the
# loader finds them may be links and diversions. Some of OpenCV's, for windows, are in no package that is here.
find .venv/ -name '*.so*' -printf '%f\n' | sort -u >/tmp/own
find .venv/ -type f -name '*.so*' -exec readelf --dynamic {} + \
    | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p' | sort -u | comm -23 - /tmp/own | while read -r library; do
        dpkg-query --search "*/$library" 2>/dev/null | sed -n '/^diversion by/d; s/:.*//p' | head -n 1
    done | sort -u >build/packages

.venv/bin/python -m compileall -q facealign tools
chmod 1777 data runs out build build/caffe build/demo
# Last, so that make finds them newer than what they depend on.
touch .venv/stamps/*
