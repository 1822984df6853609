"""The entry of an image or frame in landmarks.json, and the faces that it holds."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from facealign.geometry.head_pose import Pose
from facealign.inference.face_aligner import Face

Record = dict[str, Any]
"""file, width, height, faces; of a frame of a video also frame, time, and the track of each face."""


def image_record(file: str, size: tuple[int, int], faces: Sequence[Face]) -> Record:
    """The entry of an image; size: (width, height), pixels. Coordinates are rounded to a thousandth.

    >>> face = Face(np.array([1.0, 2, 3, 4]), None, np.zeros((68, 2)), None, confidence=0.75)
    >>> entry = image_record("a.jpg", (640, 480), [face])
    >>> entry["width"], entry["faces"][0]["box"], entry["faces"][0]["doubtful"]
    (640, [1.0, 2.0, 3.0, 4.0], False)
    """
    return {
        "file": file,
        "width": size[0],
        "height": size[1],
        "faces": [
            {
                "box": [round(float(value), 3) for value in face.box],
                "score": None if face.score is None else round(face.score, 5),
                "confidence": round(face.confidence, 3),
                "doubtful": face.doubtful,
                "landmarks": [[round(float(x), 3), round(float(y), 3)] for x, y in face.landmarks],
                "pose": None
                if face.pose is None
                else {
                    "yaw": round(float(face.pose.yaw), 3),
                    "pitch": round(float(face.pose.pitch), 3),
                    "roll": round(float(face.pose.roll), 3),
                },
            }
            for face in faces
        ],
    }


def frame_record(
    file: str, size: tuple[int, int], frame: int, time: float, tracks: Sequence[int], faces: Sequence[Face]
) -> Record:
    """The entry of a frame of a video; frame: its number, from 0; time: seconds; tracks: of the faces."""
    plain = image_record(file, size, faces)
    tracked = [{"track": track, **face} for track, face in zip(tracks, plain["faces"], strict=True)]
    return {"file": file, "frame": frame, "time": round(time, 4), **plain, "faces": tracked}


def faces_of(record: Record) -> list[Face]:
    """The faces of an entry, as rounded there."""
    return [
        Face(
            box=np.array(face["box"], dtype=np.float64),
            score=face["score"],
            landmarks=np.array(face["landmarks"], dtype=np.float64),
            pose=None if face["pose"] is None else Pose(**face["pose"]),
            confidence=face["confidence"],
        )
        for face in record["faces"]
    ]


def tracks_of(record: Record) -> list[int | None]:
    """The track of each face of an entry; None for a face of an image."""
    return [face.get("track") for face in record["faces"]]
