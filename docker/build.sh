#!/bin/sh
# Make .venv and build Caffe into it, before the repository's own Python files are there.
# Usage: docker/build.sh caffe|caffe-gpu    (the target of make)
set -eu
# An editable installation notes where the packages will be; it wants their folders.
packages=$(sed -n 's/^    "\(facealign[^"]*\)",$/\1/p' pyproject.toml | tr . /)
# shellcheck disable=SC2086
mkdir -p $packages models prototxt && rmdir facealign/models facealign/prototxt
make deps "$1" .venv/stamps/train FOR="demo caffe"
