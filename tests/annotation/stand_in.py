"""A program that stands in for the interpreter with mediapipe: it speaks as the worker does."""

import sys

START = """#!{python}
import base64, json, os, sys, time
answers = {answers}
print(json.dumps({{"mediapipe": "0.0", "files": {{"mesh.tflite": "12ab"}}}}), flush=True)
for line in sys.stdin:
    face = json.loads(line)
    pixels = base64.b64decode(face["pixels"])
    height, width = face["size"]
    assert len(pixels) == 3 * height * width
    {body}
"""


def write_stand_in(path, answers=(), body="print(json.dumps({'points': answers}), flush=True)"):
    """Write the program `path`, which gives these points (478, 3), or None, for every face."""
    given = "None" if answers is None else [list(map(float, point)) for point in answers]
    path.write_text(START.format(python=sys.executable, answers=given, body=body))
    path.chmod(0o755)
    return path
