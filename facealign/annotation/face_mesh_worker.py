"""Predicts the 478 points of mediapipe's face mesh; run by an interpreter that has mediapipe, not by ours.

A line of JSON for each face comes in: {"size": [height, width], "pixels": base64 of its BGR bytes}, an
upright crop. A line goes out: {"points": 478 triples x y z, in pixels of the crop whose left and upper edges
are 0}, null when there is no face. The first line out is {"mediapipe": its version, "files": SHA-256 of its
networks}, or {"error": why it cannot be used}. Nothing of this package is imported.
"""

import base64
import hashlib
import json
import os
import sys
from pathlib import Path

NETWORKS = (
    "modules/face_detection/face_detection_short_range.tflite",
    "modules/face_landmark/face_landmark_with_attention.tflite",
)


def main() -> None:
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what the libraries print goes to standard error
    try:
        import mediapipe
        import numpy as np

        mesh = mediapipe.solutions.face_mesh.FaceMesh(
            static_image_mode=True, refine_landmarks=True, max_num_faces=1
        )
        networks = [Path(mediapipe.__file__).parent / name for name in NETWORKS]
        digests = {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in networks}
    except Exception as error:  # a library that cannot be loaded raises many kinds
        print(json.dumps({"error": f"{type(error).__name__}: {error}"}), file=answers, flush=True)
        return
    print(json.dumps({"mediapipe": mediapipe.__version__, "files": digests}), file=answers, flush=True)
    for line in sys.stdin:
        face = json.loads(line)
        height, width = face["size"]
        crop = np.frombuffer(base64.b64decode(face["pixels"]), np.uint8).reshape(height, width, 3)
        found = mesh.process(np.ascontiguousarray(crop[:, :, ::-1])).multi_face_landmarks
        points = None
        if found:
            points = [
                [round(point.x * width, 4), round(point.y * height, 4), round(point.z * width, 4)]
                for point in found[0].landmark
            ]
        print(json.dumps({"points": points}), file=answers, flush=True)


if __name__ == "__main__":
    main()
