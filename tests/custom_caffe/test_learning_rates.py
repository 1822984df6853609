"""The learning rates of our solver: what it says it takes, and how far the weight moves by it."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import caffe
import pytest

# One weight w on a constant 1, and w itself as the loss: plain descent takes the rate off w at every step.
NET = """
    layer { name: "one" type: "DummyData" top: "one"
      dummy_data_param { shape { dim: 1 dim: 1 } data_filler { value: 1 } } }
    layer { name: "w" type: "InnerProduct" bottom: "one" top: "w"
      inner_product_param { num_output: 1 bias_term: false } }
    layer { name: "loss" type: "Reduction" bottom: "w" top: "loss" loss_weight: 1 }
"""
BASE = 0.25


def solver_text(policy: str, max_iter: int = 40) -> str:
    return (
        f'net: "net.prototxt" type: "SGD" base_lr: {BASE} momentum: 0 weight_decay: 0 max_iter: {max_iter} '
        f"solver_mode: CPU {policy}"
    )


@pytest.fixture
def rates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[float]]:
    """A function: the rates of the first `count` iterations, told beforehand and then seen in the weight."""

    def measure(policy: str, count: int) -> list[float]:
        monkeypatch.chdir(tmp_path)
        Path("net.prototxt").write_text(NET)
        Path("solver.prototxt").write_text(solver_text(policy))
        solver = caffe.get_solver("solver.prototxt")
        weight: Any = solver.net.params["w"][0].data
        told = []
        for _ in range(count):
            told.append(float(solver.lr))
            before = float(weight[0, 0])
            solver.step(1)
            assert before - float(weight[0, 0]) == pytest.approx(told[-1], abs=1e-6)
        return told

    return measure


@pytest.mark.parametrize(("settings", "ratio"), [("", 0.0), ("final_lr_ratio: 0.1", 0.1)])
def test_cosine(settings: str, ratio: float, rates: Callable[..., list[float]]) -> None:
    found = rates(f'lr_policy: "cosine" {settings}', 45)
    expected = [
        BASE * (ratio + (1 - ratio) * 0.5 * (1 + math.cos(math.pi * min(i, 40) / 40))) for i in range(45)
    ]
    assert found == pytest.approx(expected, rel=1e-5, abs=1e-9)
    assert found[0] == pytest.approx(BASE)
    assert found[40:] == pytest.approx([BASE * ratio] * 5)  # it stays at the end, and does not rise again


POLICIES = {
    "fixed": ("", lambda i: 1.0),
    "step": ("gamma: 0.5 stepsize: 4", lambda i: 0.5 ** (i // 4)),
    "exp": ("gamma: 0.9", lambda i: 0.9**i),
    "inv": ("gamma: 0.1 power: 0.75", lambda i: (1 + 0.1 * i) ** -0.75),
    "multistep": ("gamma: 0.5 stepvalue: 3 stepvalue: 8", lambda i: 0.5 ** ((i >= 3) + (i >= 8))),
    "poly": ("power: 1.5", lambda i: (1 - i / 40) ** 1.5),
    "sigmoid": ("gamma: 0.5 stepsize: 6", lambda i: 1 / (1 + math.exp(-0.5 * (i - 6)))),
    "cosine": ("", lambda i: 0.5 * (1 + math.cos(math.pi * i / 40))),
}


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("warmup", [0, 1, 10])
def test_warm_up_with_any_policy(policy: str, warmup: int, rates: Callable[..., list[float]]) -> None:
    settings, formula = POLICIES[policy]
    found = rates(f'lr_policy: "{policy}" {settings} warmup_iter: {warmup}', 15)
    share = [min(1.0, (i + 1) / warmup) if warmup else 1.0 for i in range(15)]
    assert found == pytest.approx([BASE * formula(i) * share[i] for i in range(15)], rel=1e-5)


def test_a_restored_solver_goes_on_with_its_rate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("net.prototxt").write_text(NET)
    Path("solver.prototxt").write_text(
        solver_text('lr_policy: "cosine" warmup_iter: 20 snapshot_prefix: "here"')
    )
    first = caffe.get_solver("solver.prototxt")
    first.step(7)
    first.snapshot()
    second = caffe.get_solver("solver.prototxt")
    second.restore("here_iter_7.solverstate")
    expected = BASE * (8 / 20) * 0.5 * (1 + math.cos(math.pi * 7 / 40))
    assert float(second.lr) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    ("policy", "named"),
    [
        ('lr_policy: "cosine" final_lr_ratio: 1.5', "final_lr_ratio is 1.5"),
        ('lr_policy: "cosine" max_iter: 0', "cosine needs max_iter"),
        ('lr_policy: "fixed" warmup_iter: -1', "warmup_iter is negative"),
        ('lr_policy: "cosin"', "Unknown learning rate policy: cosin"),
    ],
)
def test_what_makes_no_sense_is_named(
    policy: str, named: str, tmp_path: Path, run_python: Callable[..., Any]
) -> None:
    (tmp_path / "net.prototxt").write_text(NET)
    text = solver_text(policy)
    if "max_iter: 0" in policy:
        text = text.replace("max_iter: 40 ", "")
    (tmp_path / "solver.prototxt").write_text(text)
    done = run_python('import caffe\ncaffe.get_solver("solver.prototxt").step(1)')
    assert done.returncode != 0
    assert named in done.stderr
