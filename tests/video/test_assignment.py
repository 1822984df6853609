"""Assignment by overlap, against the best of all assignments."""

import itertools

import numpy as np
import pytest

from facealign.geometry.boxes import overlap
from facealign.video.assignment import assign


def boxes_at(*centres, side=10.0):
    return np.array([[x - side / 2, y - side / 2, x + side / 2, y + side / 2] for x, y in centres])


def test_each_box_goes_to_the_one_near_it():
    before = boxes_at((0, 0), (50, 0), (100, 0))
    after = boxes_at((103, 1), (2, 1), (51, -2))
    assert sorted(assign(before, after, 0.3)) == [(0, 1), (1, 2), (2, 0)]


def test_no_box_is_in_two_pairs_and_the_nearest_wins():
    before, after = boxes_at((0, 0), (4, 0)), boxes_at((3, 0))
    assert assign(before, after, 0.2) == [(1, 0)]
    assert assign(after, before, 0.2) == [(0, 1)]


def test_below_the_least_overlap_there_is_no_pair():
    before, after = boxes_at((0, 0)), boxes_at((5, 0))  # an overlap of a third
    assert assign(before, after, 0.33) == [(0, 0)]
    assert assign(before, after, 0.34) == []
    assert assign(before, boxes_at((50, 50)), 1e-9) == []


@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (0, 0)])
def test_nothing_goes_to_nothing(shape):
    assert assign(np.zeros((shape[0], 4)), np.zeros((shape[1], 4)), 0.1) == []


def test_faces_that_are_apart_get_the_best_assignment_of_all():
    """Where each overlaps one other at most by much, taking the best first is the best in sum."""
    draw = np.random.default_rng(0)
    for _ in range(50):
        centres = np.array([[20 * column, 20 * row] for column in range(3) for row in range(2)], float)
        before = boxes_at(*draw.permutation(centres)[:5])
        after = boxes_at(*(draw.permutation(centres)[:5] + draw.uniform(-3, 3, (5, 2))))
        found = assign(before, after, 0.2)
        table = overlap(before[:, None], after[None])
        best = max(
            sum(table[row, column] for row, column in enumerate(order) if table[row, column] >= 0.2)
            for order in itertools.permutations(range(5))
        )
        assert sum(table[pair] for pair in found) == pytest.approx(best)
