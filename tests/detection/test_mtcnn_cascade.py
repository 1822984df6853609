"""The cascade with scripted nets: its coordinates, and which windows each net looks at."""

import numpy as np
import pytest

from facealign.detection.mtcnn import MtcnnDetector, MtcnnSettings, halves, pyramid, regress
from facealign.engines.engine import Batched


class Scripted:
    """A net that answers with given scores and offsets: as PNet, of given windows; or as the other two."""

    def __init__(self, windows=None, score=0.9, offsets=(0, 0, 0, 0), points=None):
        self.windows, self.score, self.offsets, self.points = windows, score, offsets, points

    def forward(self, inputs):
        n, _, height, width = inputs["data"].shape
        if self.windows is not None:
            shape = (height - 10) // 2, (width - 10) // 2
            prob, offsets = np.zeros((1, 2, *shape), np.float32), np.zeros((1, 4, *shape), np.float32)
            for side, row, column, score in self.windows:
                if side == max(height, width):
                    prob[0, 1, row, column] = score
                    offsets[0, :, row, column] = self.offsets
            return {"prob": prob, "conv4-2": offsets}
        scores = np.broadcast_to(np.atleast_1d(self.score), n).astype(np.float32)
        offsets = np.tile(np.float32(self.offsets), (n, 1))
        points = np.tile(np.float32(self.points or [0.5] * 10), (n, 1))
        both = {"conv5-2": offsets, "conv6-2": offsets, "conv6-3": points}
        return {"prob": np.column_stack([1 - scores, scores]), **both}


BLANK = np.full((400, 400, 3), 127, np.uint8)


def test_the_coordinates_of_a_window():
    """Row 7, column 20 of the level of 120 pixels: from edge (40, 14) on, 12 wide, in pixels of 400 / 120."""
    points = [0.0, 1.0, 0.5, 0.25, 0.75, 0.0, 0.0, 0.5, 1.0, 1.0]
    cascade = MtcnnDetector(Scripted([(120, 7, 20, 0.9)]), Scripted(), Scripted(points=points))
    (found,) = cascade.detect(BLANK)
    x1, y1, side = 40 / 0.3, 14 / 0.3, 40.0
    # Edges reach half a pixel beyond the centres of pixels, in which boxes are given.
    np.testing.assert_allclose(found.box, np.array([x1, y1, x1 + side, y1 + side]) - 0.5, atol=1e-4)
    expected = np.array([[0, 0], [1, 0], [0.5, 0.5], [0.25, 1], [0.75, 1]]) * side + (x1, y1) - 0.5
    np.testing.assert_allclose(found.points, expected, atol=1e-4)
    assert found.score == pytest.approx(0.9)


def test_every_net_moves_the_box_and_the_first_two_are_followed_by_a_square():
    """PNet lowers and narrows the window of side 40, RNet widens it, ONet moves its left edge."""
    cascade = MtcnnDetector(
        Scripted([(120, 7, 20, 0.9)], offsets=(0.25, 0, -0.25, 0)),
        Scripted(offsets=(0, 0.1, 0.2, 0.1)),
        Scripted(offsets=(0.5, 0, 0, 0)),
    )
    (found,) = cascade.detect(BLANK)
    centre = np.array([40 / 0.3 + 20, 14 / 0.3 + 20])  # 20 wide, 40 high: a square of 40 there
    centre += np.array([0.1, 0.1]) * 40  # 48 wide, 40 high: a square of 48
    corner = centre - 24
    np.testing.assert_allclose(
        found.box,
        [corner[0] + 24 - 0.5, corner[1] - 0.5, corner[0] + 48 - 0.5, corner[1] + 48 - 0.5],
        atol=1e-4,
    )


def test_a_face_inside_a_better_one_is_dropped_at_the_end():
    """The second window has twice the side and holds the first: a quarter of it, and all of the first."""
    level = pyramid(halves(BLANK), MtcnnSettings(factor=0.5))
    assert [one.pixels.shape[0] for one in level] == [120, 60, 30, 15]
    windows = [(120, 20, 20, 0.8), (60, 9, 9, 0.9)]

    def boxes(rnet, onet):
        cascade = MtcnnDetector(Scripted(windows), rnet, onet, MtcnnSettings(factor=0.5))
        return [found.box[2] - found.box[0] for found in cascade.detect(BLANK)]

    np.testing.assert_allclose(boxes(Scripted(), Scripted(score=[0.9, 0.8])), [80], atol=1e-4)
    np.testing.assert_allclose(boxes(Scripted(), Scripted(score=[0.8, 0.9])), [40], atol=1e-4)
    windows[1] = (60, 9, 20, 0.9)
    np.testing.assert_allclose(boxes(Scripted(), Scripted(score=[0.8, 0.9])), [40, 80], atol=1e-4)


class InTurn:
    """A net that answers each run as another one does, and counts the windows."""

    def __init__(self, *nets):
        self.nets, self.windows = list(nets), []

    def forward(self, inputs):
        self.windows.append(len(inputs["data"]))
        return self.nets[len(self.windows) - 1].forward(inputs)


def in_turn(windows, rnet, *nets, **changes):
    """Left edges of the faces found when the last net answers as these do; the windows each run looks at."""
    onet = InTurn(*nets)
    cascade = MtcnnDetector(windows, rnet, onet, MtcnnSettings(**changes))
    return [one.box[0] + 0.5 for one in cascade.detect(BLANK)], onet.windows


def test_of_windows_that_fall_together_the_others_are_looked_at_when_the_best_is_no_face():
    """Two windows of 40 that have 8 of PNet's 12 pixels in common; RNet makes them 120: an overlap of 0.8."""
    windows = Scripted([(120, 20, 20, 0.9), (120, 20, 22, 0.8)])
    rnet = Scripted(score=[0.9, 0.8], offsets=(-1, -1, 1, 1))
    first, second = 40 / 0.3 - 40, 44 / 0.3 - 40
    for nets, expected, looked_at in (
        ([Scripted(score=0.9)], [first], [1]),
        ([Scripted(score=0.1), Scripted(score=0.9)], [second], [1, 1]),
        ([Scripted(score=0.1), Scripted(score=0.1)], [], [1, 1]),
    ):
        corners, counts = in_turn(windows, rnet, *nets)
        np.testing.assert_allclose(corners, expected, atol=1e-4)
        assert counts == looked_at


def test_a_window_the_last_net_is_unsure_of_is_looked_at_again_where_that_net_moves_it():
    """ONet moves its window, of side 40, a quarter of it to the right."""
    windows, moves = Scripted([(120, 7, 20, 0.9)]), (0.25, 0, 0.25, 0)
    left = 40 / 0.3
    sure, unsure, none = (Scripted(score=score, offsets=moves) for score in (0.9, 0.5, 0.3))
    for nets, expected, looked_at in (
        ([sure], [left + 10], [1]),
        ([unsure, sure], [left + 20], [1, 1]),
        ([unsure, unsure], [], [1, 1]),
        ([none], [], [1]),
    ):
        corners, counts = in_turn(windows, Scripted(), *nets)
        np.testing.assert_allclose(corners, expected, atol=1e-4)
        assert counts == looked_at
    assert in_turn(windows, Scripted(), unsure, unsure=1.0) == ([], [1])


def test_where_a_face_was_found_nothing_is_looked_at_again():
    """Two windows of 40 side by side; ONet is sure of the first only, and moves the other half onto it."""
    windows = Scripted([(120, 20, 20, 0.9), (120, 20, 26, 0.8)])
    net = Scripted(score=[0.9, 0.5], offsets=(-0.5, 0, -0.5, 0))
    corners, counts = in_turn(windows, Scripted(), net)
    np.testing.assert_allclose(corners, [40 / 0.3 - 20], atol=1e-4)
    assert counts == [2]


def test_regress_by_hand():
    boxes = np.array([[10.0, 20, 30, 60], [0, 0, 1, 1]])
    offsets = np.array([[0.1, -0.1, 0.5, 0.25], [1, 2, 3, 4]], np.float32)
    moved = regress(boxes, offsets)
    np.testing.assert_allclose(moved, [[12, 16, 40, 70], [1, 2, 4, 5]], atol=1e-5)
    assert moved.dtype == np.float64
    assert regress(np.empty((0, 4)), np.empty((0, 4), np.float32)).shape == (0, 4)


def test_in_batches_the_answers_are_the_same():
    rng = np.random.default_rng(0)
    answers = Scripted(score=rng.uniform(0, 1, 7))

    sizes = []

    class Parts:
        def forward(self, inputs):
            sizes.append(len(inputs["data"]))
            return {"mean": inputs["data"].mean(axis=(1, 2, 3))}

    data = rng.uniform(0, 1, (7, 3, 4, 4)).astype(np.float32)
    found = Batched(Parts(), 3).forward({"data": data})
    np.testing.assert_array_equal(found["mean"], data.mean(axis=(1, 2, 3)))
    assert sizes == [3, 3, 1]
    assert Batched(answers, 7).forward({"data": data})["prob"].shape == (7, 2)


def test_windows_of_different_levels_are_not_compared_by_their_places_there():
    """The same row and column of two levels are two places of the picture: two faces."""
    windows = [(120, 20, 20, 0.9), (60, 20, 20, 0.8)]
    cascade = MtcnnDetector(Scripted(windows), Scripted(), Scripted(), MtcnnSettings(factor=0.5))
    found = np.array([one.box for one in cascade.detect(BLANK)])
    edges = np.array([[40 / 0.3, 40 / 0.3 + 40], [40 / 0.15, 40 / 0.15 + 80]]) - 0.5
    np.testing.assert_allclose(found[np.argsort(found[:, 0])], edges[:, [0, 0, 1, 1]], atol=1e-4)
