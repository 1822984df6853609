#!/bin/sh
# Make .venv and build Caffe into it, before the repository's own Python files are there.
# Usage: docker/build.sh caffe|caffe-gpu    (the target of make)
set -eu
# An editable installation notes where the packages will be; it wants the folders.
mkdir -p facealign/engines facealign/networks facealign/proto
make "$1" .venv/stamps/train
