"""Of boxes that overlap, the best is kept: against the definition."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from facealign.detection.mtcnn import suppress


def suppressed_by_definition(boxes, scores, limit, of_smaller):
    def area(box):
        return max(box[2] - box[0], 0) * max(box[3] - box[1], 0)

    def overlaps(a, b):
        common = area((max(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]), min(a[3], b[3])))
        whole = min(area(a), area(b)) if of_smaller else area(a) + area(b) - common
        return common > limit * whole

    kept = []
    for index in sorted(range(len(boxes)), key=lambda index: -scores[index]):
        if not any(overlaps(boxes[index], boxes[better]) for better in kept):
            kept.append(index)
    return kept


# Whole numbers and limits in quarters: so that a tie is one in both.
some_boxes = st.lists(
    st.builds(
        lambda x, y, width, height, score: (x, y, x + width, y + height, score / 16),
        *[st.integers(0, 20)] * 2,
        *[st.integers(0, 12)] * 2,
        st.integers(0, 16),
    ),
    max_size=25,
)


@settings(deadline=None, max_examples=200)
@given(some_boxes, st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0]), st.booleans())
def test_suppress_against_its_definition(rows, limit, of_smaller):
    table = np.array(rows, float).reshape(-1, 5)
    kept = suppress(table[:, :4], table[:, 4], limit, of_smaller)
    assert kept.tolist() == suppressed_by_definition(table[:, :4].tolist(), table[:, 4], limit, of_smaller)


def test_suppress_of_more_boxes_than_it_compares_at_once():
    rng = np.random.default_rng(0)
    corner, side = rng.uniform(0, 100, (700, 2)), rng.uniform(5, 40, (700, 2))
    boxes, scores = np.hstack([corner, corner + side]), rng.uniform(0, 1, 700)
    for limit, of_smaller in ((0.3, False), (0.7, False), (0.7, True)):
        kept = suppress(boxes, scores, limit, of_smaller)
        assert len(kept) > 2
        assert kept.tolist() == suppressed_by_definition(boxes.tolist(), scores, limit, of_smaller)
