"""Solvers against the published one, read by Caffe's own schema."""

import dataclasses

import pytest
from google.protobuf import text_format

from facealign.caffe_files import prototxt
from facealign.caffe_files.proto import caffe_pb2
from facealign.engines.pycaffe import import_caffe
from facealign.networks.recipes import RECIPES
from facealign.networks.solver import solver

PUBLISHED = {
    "type": "Adam",
    "base_lr": 0.0001,
    "momentum": 0.9,
    "weight_decay": 0.0005,
    "lr_policy": "inv",
    "gamma": 1e-5,
    "power": 0.75,
    "display": 100,
    "test_interval": 5000,
    "snapshot": 1000,
    "max_iter": 1_000_000,
    "test_compute_loss": True,
}


def in_caffe_s_schema(message):
    theirs = import_caffe().proto.caffe_pb2.SolverParameter()
    return text_format.Parse(prototxt.text(message, "a solver"), theirs)


def values_of(message):
    return {field.name: value for field, value in message.ListFields()}


def test_stage_2_is_the_published_solver():
    read = values_of(in_caffe_s_schema(solver(RECIPES["mobilenet_v2/stage2"], "net.prototxt")))
    assert list(read.pop("test_iter")) == [100]
    for name, value in PUBLISHED.items():
        found = read.pop(name)
        assert found == (pytest.approx(value) if isinstance(value, float) else value), name
    # The rest: where things are, the processor, and Adam's second moment at Caffe's default.
    assert read == {
        "net": "net.prototxt",
        "snapshot_prefix": "runs/mobilenet_v2_stage2/stage2",
        "solver_mode": 0,
        "momentum2": pytest.approx(0.999),
    }


def test_stage_1_decays_to_nothing_from_ten_times_the_rate():
    read = in_caffe_s_schema(solver(RECIPES["mobilenet_v2/stage1"], "net.prototxt"))
    assert (read.type, read.lr_policy, read.power) == ("Adam", "poly", 1)
    assert read.base_lr == pytest.approx(0.003)
    assert read.max_iter == 100_000
    assert not read.HasField("gamma")


@pytest.mark.parametrize("name", RECIPES)
def test_every_policy_has_what_caffe_asks_of_it(name):
    read = in_caffe_s_schema(solver(RECIPES[name], "net.prototxt"))
    needed = {"inv": ("gamma", "power"), "poly": ("power", "max_iter"), "cosine": ("max_iter",)}[
        read.lr_policy
    ]
    assert all(read.HasField(field) for field in needed)
    assert read.max_iter % read.snapshot == 0


def test_a_recipe_can_ask_for_a_cosine_and_a_warm_up():
    recipe = dataclasses.replace(
        RECIPES["mobilenet_v2/stage1"], lr_policy="cosine", power=None, warmup_iter=500, final_lr_ratio=0.01
    )
    read = in_caffe_s_schema(solver(recipe, "net.prototxt", max_iter=2000))
    assert (read.lr_policy, read.max_iter, read.warmup_iter) == ("cosine", 2000, 500)
    assert read.final_lr_ratio == pytest.approx(0.01)
    assert not read.HasField("power")
    plain = in_caffe_s_schema(solver(RECIPES["mobilenet_v2/stage1"], "net.prototxt"))
    assert not plain.HasField("warmup_iter")
    assert not plain.HasField("final_lr_ratio")


def test_arguments_take_the_place_of_the_recipe_s():
    recipe = RECIPES["mobilenet_v2/stage1"]
    message = solver(recipe, "net.prototxt", snapshot_prefix="here/x", max_iter=50, seed=0, gpu=True)
    assert (message.snapshot_prefix, message.max_iter, message.random_seed) == ("here/x", 50, 0)
    assert message.HasField("random_seed")
    assert message.solver_mode == caffe_pb2.SolverParameter.GPU
    assert solver(recipe, "net.prototxt", max_iter=0).max_iter == 0
    assert not solver(recipe, "net.prototxt").HasField("random_seed")
