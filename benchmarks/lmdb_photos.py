"""Made-up annotated photos for the benchmarks of LMDBs: as large, and as long to decode, as real ones."""

import json
from pathlib import Path

import cv2
import numpy as np

SMALLEST, LARGEST = 80, 160
"""Side of a face's box in pixels."""
AROUND = 2.5
"""Side of a photo over that of its face."""


def make_photos(directory: Path, count: int) -> Path:
    """Write `count` JPEG photos, unless they are there, and the list of their points and boxes.

    The list: file name -> {"points": 68 of [x, y], "box": [x1, y1, x2, y2]}, in pixels, 0-based.
    """
    listed = directory / f"faces{count}.json"
    if listed.is_file():
        return listed
    directory.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    faces = {}
    for index in range(count):
        face = rng.uniform(SMALLEST, LARGEST)
        side = round(AROUND * face)
        # Large shapes and some grain: about 30 kB, as the photos of 300-W have at this size.
        shapes = rng.integers(0, 256, (9, 9, 3), dtype=np.uint8)
        photo = cv2.resize(shapes, (side, side), interpolation=cv2.INTER_CUBIC).astype(np.float32)
        photo += rng.standard_normal(photo.shape, dtype=np.float32) * 5
        name = f"photo{index:05d}.jpg"
        cv2.imwrite(str(directory / name), photo.clip(0, 255).astype(np.uint8))
        corner = (side - face) / 2 + rng.uniform(-0.05, 0.05, 2) * face
        points = corner + rng.uniform(0.05, 0.95, (68, 2)) * face
        faces[name] = {"points": points.tolist(), "box": [*corner, *(corner + face)]}
    listed.write_text(json.dumps(faces), encoding="utf-8")
    return listed
