"""Two evaluations of the same made-up faces."""

import pytest

from tests.report.made_evaluations import evaluation, make_faces


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return make_faces(tmp_path_factory.mktemp("faces"))


@pytest.fixture(scope="module")
def both(root):
    return (
        evaluation(root, "one", (3.0, 4.0), missed=["300w/afw/image_2.png"]),
        evaluation(root, "other", (0.0, 6.0), seed=1),
    )
