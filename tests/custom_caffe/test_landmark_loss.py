"""LandmarkLoss against its formulas in NumPy, against facealign's NME, and against finite differences."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from facealign.evaluation.metrics import nme

Array = NDArray[Any]
N = 5
FUNCTIONS: dict[str, Callable[[Array, float, float], Array]] = {
    "L1": lambda e, w, c: np.abs(e),
    "SMOOTH_L1": lambda e, w, c: np.where(np.abs(e) < w, e**2 / (2 * w), np.abs(e) - w / 2),
    "WING": lambda e, w, c: np.where(
        np.abs(e) < w, w * np.log(1 + np.abs(e) / c), np.abs(e) - (w - w * np.log(1 + w / c))
    ),
}


def values(seed: int) -> tuple[Array, Array]:
    """Predictions and targets (N, 136) as single precision holds them; the eyes lie apart as in a face."""
    rng = np.random.default_rng(seed)
    target = rng.uniform(0.1, 0.9, (N, 136))
    target[:, 36:42] = rng.uniform(0.2, 0.3, (N, 6))
    target[:, 42:48] = rng.uniform(0.6, 0.7, (N, 6))
    prediction = target + rng.normal(0, 0.05, target.shape)
    return prediction.astype(np.float32).astype(float), target.astype(np.float32).astype(float)


def landmarks(row: Array) -> Array:
    """(68, 2) of 68 x, then 68 y."""
    return np.asarray(row.reshape(2, 68).T)


def net_of(make_net: Callable[..., Any], settings: str, weight: float = 1) -> Any:
    return make_net(
        "".join(
            f'layer {{ name: "{blob}" type: "Input" top: "{blob}"'
            f" input_param {{ shape {{ dim: {N} dim: 136 }} }} }} "
            for blob in "pt"
        )
        + 'layer { name: "loss" type: "LandmarkLoss" bottom: "p" bottom: "t" top: "loss"'
        f" loss_weight: {weight} landmark_loss_param {{ {settings} }} }} force_backward: true"
    )


def run(net: Any, p: Array, t: Array) -> tuple[float, Array]:
    net.blobs["p"].data[...] = p
    net.blobs["t"].data[...] = t
    net.forward()
    net.backward()
    return float(net.blobs["loss"].data), net.blobs["p"].diff.astype(float)


def sizes(t: Array, normaliser: str, least: float) -> Array:
    """The size of each face (N,)."""
    points = [landmarks(row) for row in t]
    apart = {
        "NONE": [1.0 for _ in points],
        "INTER_PUPIL": [float(np.hypot(*(p[42:48].mean(0) - p[36:42].mean(0)))) for p in points],
        "INTER_OCULAR": [float(np.hypot(*(p[45] - p[36]))) for p in points],
    }[normaliser]
    return np.maximum(apart, least)


@pytest.mark.parametrize("normaliser", ["NONE", "INTER_PUPIL", "INTER_OCULAR"])
@pytest.mark.parametrize("function", ["DISTANCE", *FUNCTIONS])
@pytest.mark.parametrize("least", [0.01, 0.5])
def test_value(function: str, normaliser: str, least: float, make_net: Callable[..., Any]) -> None:
    p, t = values(1)
    width, curvature = 0.11, 0.03
    net = net_of(
        make_net,
        f"function: {function} normaliser: {normaliser} min_size: {least}"
        f" width: {width} curvature: {curvature}",
    )
    e = (p - t) / sizes(t, normaliser, least)[:, None]
    if function == "DISTANCE":
        expected = np.hypot(e[:, :68], e[:, 68:]).mean()
    else:
        expected = FUNCTIONS[function](e, width, curvature).sum() / (68 * N)
    assert run(net, p, t)[0] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("normaliser", ["INTER_PUPIL", "INTER_OCULAR"])
def test_the_distance_is_the_nme(normaliser: str, make_net: Callable[..., Any]) -> None:
    p, t = values(2)
    found, _ = run(net_of(make_net, f"normaliser: {normaliser} min_size: 0.001"), p, t)
    name = normaliser.lower()
    errors = [nme(landmarks(a), landmarks(b), name) for a, b in zip(p, t, strict=True)]
    assert found == pytest.approx(np.mean(errors), rel=1e-5)


@pytest.mark.parametrize("function", ["DISTANCE", *FUNCTIONS])
def test_gradient(function: str, make_net: Callable[..., Any]) -> None:
    p, t = values(3)
    net = net_of(make_net, f"function: {function} width: 0.11 curvature: 0.03", weight=100)
    _, gradient = run(net, p, t)
    step = 1e-3
    for index in np.random.default_rng(0).choice(N * 136, 60, replace=False):
        at = np.unravel_index(index, p.shape)
        if abs(p[at] - t[at]) < 5 * step:  # the corner of an absolute value
            continue
        up, down = p.copy(), p.copy()
        up[at] += step
        down[at] -= step
        numerical = 100 * (run(net, up, t)[0] - run(net, down, t)[0]) / (2 * step)
        assert gradient[at] == pytest.approx(numerical, rel=0.05, abs=0.02), at


def test_no_error_has_no_gradient(make_net: Callable[..., Any]) -> None:
    _, t = values(4)
    for function in ("DISTANCE", *FUNCTIONS):
        loss, gradient = run(net_of(make_net, f"function: {function}"), t, t)
        assert loss == 0
        assert not gradient.any()
