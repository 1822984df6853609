"""The recipes as data."""

import dataclasses

import pytest

from facealign.caffe_files.proto import caffe_pb2
from facealign.errors import FaceAlignError
from facealign.networks.prototxt_tree import BUILDERS
from facealign.networks.recipes import RECIPES, changed, recipe_named
from facealign.networks.solver import solver

TRAIN, Function = caffe_pb2.TRAIN, caffe_pb2.LandmarkLossParameter.Function


def included(layer):
    """The phases in which a layer is there."""
    return {rule.phase for rule in layer.include} or {caffe_pb2.TRAIN, caffe_pb2.TEST}


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


@pytest.mark.parametrize("function", [None, "DISTANCE", "WING"])
@pytest.mark.parametrize("name", sorted(RECIPES))
def test_the_train_net_has_the_loss_of_its_recipe(name, function):
    recipe = dataclasses.replace(RECIPES[name], function=function)
    net = BUILDERS[recipe.network].train_val(recipe)
    (loss,) = (layer for layer in net.layer if "Loss" in layer.type and TRAIN in included(layer))
    assert loss.type == ("WeightEuclideanLoss" if function is None else "LandmarkLoss")
    assert loss.landmark_loss_param.function == Function.Value(function or "DISTANCE")
    assert loss.weight_euclidean_loss_param.normalized == (0 if function else recipe.normalized)


def test_the_published_nets_have_the_published_losses():
    losses = {name: (recipe.function, recipe.normalized) for name, recipe in RECIPES.items()}
    assert losses["mobilenet_v2/stage2"] == (None, 1)
    assert losses["vgg_shadow"] == (None, 0)


def test_settings_that_are_changed_reach_the_solver_and_the_rest_stays():
    stage2 = recipe_named("mobilenet_v2/stage2")
    other = changed(stage2, {"lr_policy": "poly", "power": "1", "base_lr": "1e-3", "batch_size": "32"})
    message = solver(other, "net.prototxt")
    assert (message.lr_policy, message.power) == ("poly", 1)
    assert message.base_lr == pytest.approx(0.001)
    assert other.batch_size == 32
    assert dataclasses.replace(other, lr_policy="inv", power=0.75, base_lr=1e-4, batch_size=64) == stage2
    assert changed(stage2, {}) == stage2


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("base_lr", "0", "or more"),
        ("base_lr", "nan", "or more"),
        ("base_lr", "inf", "less than inf"),
        ("base_lr", "", "expected a number"),
        ("momentum", "1", "less than 1"),
        ("batch_size", "0", "expected 1 or more"),
        ("batch_size", "2.5", "expected a number"),
        ("weight_decay", "-1", "expected 0 or more"),
        ("lr_policy", "sometimes", "expected fixed, inv, poly"),
        ("lr_policy", "inv", "give gamma=NUMBER too"),
        ("name", "mine", "no such setting; there are lr_policy, function, base_lr"),
        ("function", "SQUARE", "expected DISTANCE, L1"),
    ],
)
def test_settings_that_mean_nothing_are_refused(name, value, message):
    with pytest.raises(ValueError, match=message):
        changed(recipe_named("mobilenet_v2/stage1"), {name: value})
