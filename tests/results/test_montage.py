"""Contact sheets: what is in which cell."""

import cv2
import numpy as np
import pytest

from facealign.inference.face_aligner import Face
from facealign.results.montage import CELL, MOST, sheets, small_copy, write_sheets
from tests.upright_face import upright_face


def plain(value, height=100, width=CELL):
    return np.full((height, width, 3), value, np.uint8)


@pytest.mark.parametrize(("height", "width"), [(900, 600), (600, 900), (3000, 10), (10, 3000), (40, 50)])
def test_a_small_copy_keeps_its_shape_and_is_never_larger(height, width):
    made = small_copy(plain(50, height, width), [])
    scale = min(1, CELL / max(height, width))
    assert made.shape[:2] == (max(1, round(height * scale)), max(1, round(width * scale)))


def test_faces_are_drawn_where_they_are_in_the_small_copy():
    image = plain(50, 880, 880)
    face = Face(np.array([400.0, 400, 600, 600]), 0.9, upright_face((500, 500), 180), None, 1.0)
    changed = np.argwhere((small_copy(image, [face], [""]) != 50).any(axis=2))
    assert changed.min(axis=0) == pytest.approx([100, 100], abs=2)
    assert changed.max(axis=0) == pytest.approx([150, 150], abs=3)


def test_cells_are_in_order_and_sheets_are_full():
    values = [40 + index for index in range(MOST + 3)]
    made = list(sheets((plain(value), f"{value}.jpg") for value in values))
    assert len(made) == 2
    assert made[0].shape[1] > made[1].shape[1]
    for sheet, own in zip(made, (values[:MOST], values[MOST:]), strict=True):
        columns = sheet.shape[1] // CELL
        rows = -(-len(own) // columns)
        for index, value in enumerate(own):
            x = (index % columns + 0.5) * sheet.shape[1] / columns
            y = (index // columns + 0.45) * sheet.shape[0] / rows
            assert (sheet[int(y), int(x)] == value).all()


@pytest.mark.parametrize(
    "name", ["", "x", "a very long name of a file in a folder of a folder.jpg", "日本.png"]
)
def test_any_name_fits(name):
    (sheet,) = sheets([(plain(50), name)])
    assert sheet.shape[1] < CELL + 50


def test_sheets_are_written_and_former_ones_go(tmp_path):
    for number in (2, 1):
        write_sheets(tmp_path / "montage", [plain(90)] * number)
        files = sorted((tmp_path / "montage").iterdir())
        assert [path.name for path in files] == [f"sheet_{index + 1}.jpg" for index in range(number)]
    assert cv2.imread(str(files[0])).shape == (100, CELL, 3)
