"""Which weights know the held-out faces: by the released cards, and by what runs started from."""

import json
import re
import shutil
from pathlib import Path

import pytest

from facealign.training.held_out import TRAINED_ON_THEM, knows_held_out_faces

MODELS = Path(__file__).parents[2] / "models"
CARDS = sorted(MODELS.glob("*.md"))


@pytest.mark.parametrize("card", CARDS, ids=lambda card: card.stem)
def test_released_weights_are_listed_just_when_their_card_names_earlier_weights(card):
    """A card that names earlier weights by SHA-256 only is of a run from before the part was held out."""
    text = " ".join(card.read_text().split())
    earlier = re.findall(r"iterations of Adam from `[^`]*` \(sha256 (\w{64})\)", text)
    assert all(digest in TRAINED_ON_THEM for digest in earlier)
    for suffix in (".caffemodel", ".onnx"):
        weights = card.with_suffix(suffix)
        if weights.exists():
            assert knows_held_out_faces(weights) == bool(earlier)


def test_a_run_that_goes_on_from_such_weights_knows_the_faces_too(tmp_path):
    weights = tmp_path / "stage3_iter_10.caffemodel"
    shutil.copy(MODELS / "mobilenet_v2_stage1.caffemodel", weights)
    assert not knows_held_out_faces(weights)
    recipe = {"name": "mobilenet_v2/stage3", "stage": "stage3"}
    start = {"weights": "a.caffemodel", "sha256": next(iter(TRAINED_ON_THEM))}
    inner = {"recipe": recipe, "start": start}
    for run, expected in (
        ({"recipe": recipe, "start": start}, True),
        ({"recipe": recipe, "start": {"weights": "b", "sha256": "0" * 64, "run": inner}}, True),
        ({"recipe": recipe, "start": {"weights": "b", "sha256": "0" * 64}}, False),
        ({"recipe": recipe, "start": None}, False),
    ):
        (tmp_path / "run.json").write_text(json.dumps(run))
        assert knows_held_out_faces(weights) == expected
