"""Points and boxes brought back from an image turned by quarters, against NumPy's own turn."""

import numpy as np
import pytest

from facealign.detection.mtcnn import Detection
from facealign.detection.quarter_turns import quarter_turns, turned_back


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_a_pixel_comes_back_to_where_it_was(turns):
    image = np.arange(35).reshape(5, 7)
    moved = np.rot90(image, turns)
    rows, columns = np.indices(moved.shape)
    x, y = turned_back(np.stack([columns, rows], axis=-1).astype(float), turns, image.shape).T.astype(int)
    np.testing.assert_array_equal(image[y.T, x.T], moved)


def test_a_mark_is_found_where_it_is_in_the_image_from_all_three_sides():
    image = np.zeros((40, 60, 3), np.uint8)
    image[8:18, 20:26] = 255  # rows 8 to 17, columns 20 to 25

    def bright(shown):
        rows, columns = np.nonzero(shown[..., 0])
        low, high = np.array([columns.min(), rows.min()]), np.array([columns.max(), rows.max()])
        corners = np.array([low, (high[0], low[1]), (low + high) / 2, (low[0], high[1]), high], dtype=float)
        return [Detection(np.concatenate([low, high]).astype(float), 0.9, corners)]

    found = list(quarter_turns(bright, image))
    assert len(found) == 3
    for one in found:
        np.testing.assert_array_equal(one.box, [20, 8, 25, 17])
        np.testing.assert_array_equal(one.points.mean(axis=0), [22.5, 12.5])
        assert one.score == 0.9
    # The first corner of what was seen, in the image: upper right, lower right, lower left.
    assert [one.points[0].tolist() for one in found] == [[25, 8], [25, 17], [20, 17]]
