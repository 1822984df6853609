"""WeightEuclideanLoss against its formula written out in NumPy, and against finite differences."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

Array = NDArray[np.float64]

N = 5
COARSE = (18, 22, 23, 27, 37, 40, 43, 46, 28, 32, 36, 49, 55)


def loss_net(parameters: str, *, target: str = "", factors: str = "", weight: float = 1) -> str:
    """Inputs and a WeightEuclideanLoss; `target` and `factors` are shapes, no factors meaning two bottoms."""
    inputs = {"p": f"dim: {N} dim: 136", "t": target or f"dim: {N} dim: 136"}
    if factors:
        inputs["s"] = factors
    text = "force_backward: true "
    for name, shape in inputs.items():
        text += (
            f' layer {{ name: "{name}" type: "Input" top: "{name}" input_param {{ shape {{ {shape} }} }} }}'
        )
    bottoms = " ".join(f'bottom: "{name}"' for name in inputs)
    return (
        text
        + f' layer {{ name: "loss" type: "WeightEuclideanLoss" {bottoms} top: "loss" loss_weight: {weight}'
        f" weight_euclidean_loss_param {{ {parameters} }} }}"
    )


def faces(seed: int) -> tuple[Array, Array]:
    """Predictions and targets, as coordinates within a face's box."""
    random = np.random.default_rng(seed)
    target = random.uniform(0.1, 0.9, (N, 136))
    prediction = target + random.normal(0, 0.1, (N, 136))
    # Exactly the single-precision numbers that the layer sees.
    return prediction.astype(np.float32).astype(float), target.astype(np.float32).astype(float)


def formula(
    p: Array,
    t: Array,
    contour: float,
    main: float,
    coarse: float,
    normalized: int,
    kind: int,
    s: Array | float = 1.0,
) -> tuple[float, Array]:
    """The loss and its gradient by p, landmark by landmark."""
    loss, gradient = 0.0, np.zeros_like(p)
    factor = np.broadcast_to(np.asarray(s, float), p.shape)
    for n in range(len(p)):
        x, y = t[n, :68], t[n, 68:]
        d = 1.0
        if normalized and kind == 0:
            d = float(np.hypot(x[36] - x[42], y[39] - y[45]))
        elif normalized:
            d = float(np.hypot(x.max() - x.min(), y.max() - y.min()))
        d = max(d, float(np.finfo(np.float32).tiny))
        for i in range(136):
            landmark = i % 68 + 1
            w = contour if landmark <= 17 else main
            if coarse != 0 and landmark in COARSE:
                w = coarse
            loss += w * (factor[n, i] * (p[n, i] - t[n, i])) ** 2 / d / (2 * len(p))
            gradient[n, i] = w * factor[n, i] ** 2 * (p[n, i] - t[n, i]) / d / len(p)
    return loss, gradient


def run(net: Any, p: Array, t: Array, s: Array | None = None) -> tuple[float, Array]:
    net.blobs["p"].data[...] = p
    net.blobs["t"].data[...] = t.reshape(net.blobs["t"].data.shape)
    if s is not None:
        net.blobs["s"].data[...] = s
    net.forward()
    net.backward()
    return float(net.blobs["loss"].data), net.blobs["p"].diff.astype(float)


WEIGHTS = [
    (1, 1, 1),
    (2, 0.5, 3),
    (0, 1, 1),
    (1, 0, 1),
    (1, 1, 0),
    (0, 1, 0),
    (1, 0, 0),
    (0, 0, 1),
    (0, 0, 0),
]
NORMS = [(0, 0), (0, 1), (1, 0), (1, 1)]


@pytest.mark.parametrize(("weights", "norm"), list(itertools.product(WEIGHTS, NORMS)))
@pytest.mark.parametrize("factors", ["none", "each", "sample"])
def test_value_and_gradient(
    weights: tuple[float, float, float], norm: tuple[int, int], factors: str, make_net: Callable[..., Any]
) -> None:
    parameters = (
        f"contour_weight: {weights[0]} main_weight: {weights[1]} coarse_weight: {weights[2]}"
        f" normalized: {norm[0]} normalized_type: {norm[1]}"
    )
    shape = {"none": "", "each": f"dim: {N} dim: 136", "sample": f"dim: {N} dim: 1"}[factors]
    net = make_net(loss_net(parameters, factors=shape))
    p, t = faces(1)
    s = None
    if shape:
        s = np.random.default_rng(2).uniform(0, 2, net.blobs["s"].data.shape).astype(np.float32).astype(float)
    loss, gradient = run(net, p, t, s)
    expected_loss, expected_gradient = formula(p, t, *weights, *norm, 1.0 if s is None else s)
    assert loss == pytest.approx(expected_loss, rel=1e-5, abs=1e-9)
    np.testing.assert_allclose(gradient, expected_gradient, rtol=1e-4, atol=1e-8)

    # The loss is a parabola along each prediction, so central differences with a large step lose nothing.
    for i in np.random.default_rng(3).permutation(68)[:12]:
        n, step = i % N, 0.25
        around = []
        for direction in (1, -1):
            moved = p.copy()
            moved[n, i] += direction * step
            around.append(run(net, moved, t, s)[0])
        slope = (around[0] - around[1]) / (2 * step)
        assert slope == pytest.approx(expected_gradient[n, i], rel=5e-3, abs=2e-5 * max(1.0, expected_loss))


def test_defaults_weigh_all_points_alike(make_net: Callable[..., Any]) -> None:
    p, t = faces(4)
    loss, gradient = run(make_net(loss_net("")), p, t)
    assert loss == pytest.approx(np.sum((p - t) ** 2) / (2 * N), rel=1e-5)
    np.testing.assert_allclose(gradient, (p - t) / N, rtol=1e-4, atol=1e-7)


def test_inter_pupil_is_the_published_mix_of_coordinates(make_net: Callable[..., Any]) -> None:
    net = make_net(loss_net("normalized: 1"))
    p, t = faces(5)
    before = run(net, p, t)[0]
    # Landmarks 36 and 45 (the outer eye corners) count with one coordinate each.
    for index, matters in [
        (36, True),
        (42, True),
        (68 + 39, True),
        (68 + 45, True),
        (45, False),
        (68 + 36, False),
    ]:
        shifted_t, shifted_p = t.copy(), p.copy()
        shifted_t[:, index] += 0.3
        shifted_p[:, index] += 0.3
        assert (abs(run(net, shifted_p, shifted_t)[0] - before) > 1e-4 * before) == matters


def test_a_target_without_extent_is_divided_by_the_least_number(make_net: Callable[..., Any]) -> None:
    net = make_net(loss_net("normalized: 1"))
    p, t = np.full((N, 136), 1e-12), np.zeros((N, 136))
    loss, gradient = run(net, p, t)
    tiny = float(np.finfo(np.float32).tiny)
    assert loss == pytest.approx(136 * 1e-24 / tiny / 2, rel=1e-4)
    assert gradient == pytest.approx(1e-12 / tiny / N, rel=1e-4)


@pytest.mark.parametrize("target", [f"dim: {N} dim: 136 dim: 1 dim: 1", f"dim: {N} dim: 2 dim: 68"])
def test_targets_may_have_more_axes(target: str, make_net: Callable[..., Any]) -> None:
    p, t = faces(6)
    assert run(make_net(loss_net("", target=target)), p, t)[0] == pytest.approx(
        np.sum((p - t) ** 2) / (2 * N), rel=1e-5
    )


def test_loss_weight_scales_the_gradient(make_net: Callable[..., Any]) -> None:
    p, t = faces(7)
    once = run(make_net(loss_net("normalized: 1")), p, t)[1]
    np.testing.assert_allclose(
        run(make_net(loss_net("normalized: 1", weight=3)), p, t)[1], 3 * once, rtol=1e-5
    )


def test_only_the_predictions_get_a_gradient(make_net: Callable[..., Any]) -> None:
    net = make_net(loss_net(""))
    run(net, *faces(8))
    assert not net.blobs["t"].diff.any()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (loss_net("", target=f"dim: {N} dim: 135"), "targets"),
        (loss_net("", target=f"dim: {N + 1} dim: 136"), "as many targets"),
        (loss_net("", factors=f"dim: {N} dim: 2"), "factors"),
        (loss_net("main_weight: -1"), "negative"),
        (loss_net("normalized_type: 2"), "normalized_type"),
    ],
)
def test_wrong_shapes_and_parameters_are_named(
    text: str, message: str, run_python: Callable[..., Any]
) -> None:
    done = run_python(f'import caffe\nopen("n", "w").write({text!r})\ncaffe.Net("n", caffe.TRAIN)')
    assert done.returncode != 0
    assert message in done.stderr
