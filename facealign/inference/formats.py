"""Faces of an image as JSON and CSV."""

import csv
import io
from collections.abc import Iterable, Sequence
from typing import Any

from facealign.inference.face_aligner import Face

FACE_COLUMNS = ("file", "face", "x1", "y1", "x2", "y2", "score", "confidence", "yaw", "pitch", "roll")
POINT_COLUMNS = ("landmark", "x", "y")
"""`face` and `landmark` count from 0; coordinates are 0-based pixels, angles degrees."""


def image_record(name: str, width: int, height: int, faces: Sequence[Face]) -> dict[str, Any]:
    """The entry of one image in landmarks.json.

    name: of its file; width, height: pixels. Coordinates are rounded to a thousandth of a pixel.

    >>> import numpy as np
    >>> face = Face(np.array([1.0, 2, 3, 4]), None, np.full((68, 2), 1 / 3), None, confidence=0.25)
    >>> image_record("a.jpg", 640, 480, [face])["faces"][0]["landmarks"][67]
    [0.333, 0.333]
    """
    return {"file": name, "width": width, "height": height, "faces": [_face_record(face) for face in faces]}


def _face_record(face: Face) -> dict[str, Any]:
    pose = face.pose
    return {
        "box": [round(float(value), 3) for value in face.box],
        "score": None if face.score is None else round(face.score, 5),
        "confidence": round(face.confidence, 3),
        "doubtful": face.doubtful,
        "landmarks": [[round(float(x), 3), round(float(y), 3)] for x, y in face.landmarks],
        "pose": None
        if pose is None
        else {name: round(float(getattr(pose, name)), 3) for name in ("yaw", "pitch", "roll")},
    }


def csv_text(records: Iterable[dict[str, Any]]) -> str:
    """A CSV table of `image_record`s, one row a landmark; `pandas.read_csv` reads it without options.

    >>> csv_text([{"file": "a.jpg", "faces": []}])
    'file,face,x1,y1,x2,y2,score,confidence,yaw,pitch,roll,landmark,x,y\n'
    """
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow((*FACE_COLUMNS, *POINT_COLUMNS))
    for record in records:
        for index, face in enumerate(record["faces"]):
            pose = face["pose"] or dict.fromkeys(("yaw", "pitch", "roll"))
            of_face = [record["file"], index, *face["box"], face["score"], face["confidence"], *pose.values()]
            table.writerows([*of_face, landmark, x, y] for landmark, (x, y) in enumerate(face["landmarks"]))
    return text.getvalue()
