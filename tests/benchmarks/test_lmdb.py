"""The benchmarks of LMDBs, small: what they time is done."""

import json

import cv2
import numpy as np

from benchmarks import lmdb_reading, lmdb_writing
from benchmarks.lmdb_photos import AROUND, LARGEST, SMALLEST, make_photos
from facealign.lmdb.pairs import read_part


def test_what_is_timed_is_written_and_read(tmp_path, monkeypatch):
    listed = make_photos(tmp_path / "photos", 3)
    faces = json.loads(listed.read_text())
    assert len(faces) == 3
    for name, face in faces.items():
        photo, points = cv2.imread(str(listed.parent / name)), np.array(face["points"])
        side = face["box"][2] - face["box"][0]
        assert SMALLEST <= side <= LARGEST
        assert photo.shape[0] == photo.shape[1] == round(AROUND * side)
        assert (points > face["box"][:2]).all()
        assert (points < face["box"][2:]).all()
    write = lmdb_writing.ours(str(listed), 50, 1, str(tmp_path / "made"))
    for _ in range(2):  # each time anew
        write()
        images, landmarks = read_part(tmp_path / "made", "train")
        assert images.shape == (150, 3, 64, 64)
        assert len({image.tobytes() for image in images}) == 150
    forward = lmdb_reading.reading(str(tmp_path / "made"))
    batch = forward()  # whose arrays are gone with the net
    np.testing.assert_array_equal(batch["data"], (images[:64].astype(np.float32) - 127.5) / 128)
    np.testing.assert_array_equal(batch["landmark"].reshape(64, -1), landmarks[:64])
    monkeypatch.setattr(lmdb_reading, "SECONDS", 0.1)
    told = lmdb_reading.measure_waits(str(tmp_path / "made"), 2)
    assert [len(waits) for waits in told["waits"]] == [3, 3]
    assert told["share"] > 0
