"""The recipes as data."""

import pytest

from facealign.errors import FaceAlignError
from facealign.networks.prototxt_tree import BUILDERS
from facealign.networks.recipes import RECIPES, recipe_named


def test_an_unknown_recipe_names_those_there_are():
    with pytest.raises(FaceAlignError, match="mobilenet_v2/stage9") as caught:
        recipe_named("mobilenet_v2/stage9")
    assert all(name in str(caught.value) for name in RECIPES)
    assert "\n" not in str(caught.value)


def test_recipes_go_by_their_names():
    assert set(RECIPES) == {
        "mobilenet_v2/stage1",
        "mobilenet_v2/stage2",
        "mobilenet_v2/stage3",
        "mobilenet_v2/cascade",
        "vgg_shadow",
    }
    for name, recipe in RECIPES.items():
        assert recipe.name == name
        assert recipe_named(name) is recipe
        assert recipe.network in BUILDERS


def test_what_starts_from_what():
    assert {name: recipe.starts_from for name, recipe in RECIPES.items()} == {
        "mobilenet_v2/stage1": None,
        "mobilenet_v2/stage2": "mobilenet_v2/stage1",
        "mobilenet_v2/stage3": None,
        "mobilenet_v2/cascade": "mobilenet_v2/stage3",
        "vgg_shadow": None,
    }


def test_the_description_says_which_stage_is_published():
    """Stage 2 is; stage 1 must never be shown as the reference's."""
    assert "reconstruction" in RECIPES["mobilenet_v2/stage1"].description
    assert "published" in RECIPES["mobilenet_v2/stage2"].description.lower()


def test_runs_do_not_share_a_directory():
    directories = {recipe.run_directory for recipe in RECIPES.values()}
    assert len(directories) == len(RECIPES)
    for recipe in RECIPES.values():
        assert recipe.snapshot_prefix.startswith(recipe.run_directory + "/")
