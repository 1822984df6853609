#!/bin/sh
# Align the face in a photo that comes with a package, with the released weights in our Caffe.
set -eu
cd "$(dirname "$0")/.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export GLOG_minloglevel=2
.venv/bin/python -c "import caffe"
.venv/bin/python tools/fetch_demo_photos.py --output "$work/photos"
.venv/bin/python demo.py --images "$work/photos" --output "$work/out" --engine caffe
.venv/bin/python - "$work/out/landmarks.json" <<'END'
import json, sys

faces = [face for image in json.load(open(sys.argv[1]))["images"] for face in image["faces"]]
sys.exit(0 if len(faces) == 1 and len(faces[0]["landmarks"]) == 68 else f"one face was expected: {faces}")
END
