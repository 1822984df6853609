#!/bin/sh
# End of the build stage: remove what is not used, and list the Debian packages that the rest is linked to.
set -eu
cd "$(dirname "$0")/.."

# Of Caffe, keep the wheel and the source it was built from.
find build -mindepth 1 -maxdepth 2 ! -path build/caffe ! -path build/caffe/upstream ! -name '*.whl' \
    -prune -exec rm -rf {} +
mkdir -p data runs out build/demo
find .venv/lib -type d \( -name tests -o -path '*/onnx/backend/test' \) -prune -exec rm -rf {} +

# The packages of the libraries that files in .venv are linked to, by the libraries' names, since the paths where the
# loader finds them may be links or diversions. Some libraries of OpenCV's window functions are in no installed package.
find .venv/ -name '*.so*' -printf '%f\n' | sort -u >/tmp/own
find .venv/ -type f -name '*.so*' -exec readelf --dynamic {} + \
    | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p' | sort -u | comm -23 - /tmp/own | while read -r library; do
        dpkg-query --search "*/$library" 2>/dev/null | sed -n '/^diversion by/d; s/:.*//p' | head -n 1
    done | sort -u >build/packages

.venv/bin/python -m compileall -q facealign tools
chmod 1777 data runs out build build/caffe build/demo
# Last, so that they are newer than what they depend on.
touch .venv/stamps/*
