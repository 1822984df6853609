#!/bin/sh
# Create .venv and build Caffe into it, before the repository's own Python files are copied.
# Usage: docker/build.sh caffe|caffe-gpu    (the target of make)
set -eu
# An editable installation records the folders of the packages, which must exist.
packages=$(sed -n 's/^    "\(facealign[^"]*\)",$/\1/p' pyproject.toml | tr . /)
# shellcheck disable=SC2086
mkdir -p $packages models prototxt && rmdir facealign/models facealign/prototxt
make deps "$1" .venv/stamps/train .venv/stamps/report FOR="demo caffe"
