"""The Noise layer: what it draws, that it copies in TEST, and that gradients pass."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import caffe
import numpy as np
import pytest
from numpy.typing import NDArray

pytestmark = pytest.mark.usefixtures("every_isa")
SHAPE = (8, 3, 40, 40)


def noise_net(parameters: str, top: str = "noisy") -> str:
    """An input and a Noise layer, in place if top is "data"."""
    dims = " ".join(f"dim: {n}" for n in SHAPE)
    return (
        'force_backward: true layer { name: "data" type: "Input" top: "data"'
        f" input_param {{ shape {{ {dims} }} }} }}"
        f' layer {{ name: "noise" type: "Noise" bottom: "data" top: "{top}" noise_param {{ {parameters} }} }}'
    )


def picture() -> NDArray[np.float32]:
    return np.random.default_rng(4).uniform(-1, 3, SHAPE).astype(np.float32)


def run(net: Any, top: str = "noisy") -> NDArray[np.float64]:
    """What the layer adds to the picture."""
    net.blobs["data"].data[...] = picture()
    net.forward()
    noisy: NDArray[np.float64] = net.blobs[top].data.astype(float)
    return noisy - picture()


@pytest.mark.parametrize("top", ["noisy", "data"])
def test_gaussian_noise_follows_the_size_of_the_data(top: str, make_net: Callable[..., Any]) -> None:
    added = run(make_net(noise_net("gaussian_std: 0.1 bias: 0.5", top), seed=1), top)
    size = np.sqrt(np.mean(picture().astype(float) ** 2))
    assert added.mean() == pytest.approx(0.5, abs=0.005)
    assert added.std() == pytest.approx(0.1 * size, rel=0.02)
    # Normal: 68.3 % within one deviation, 95.4 % within two.
    away = np.abs(added - 0.5) / (0.1 * size)
    assert np.mean(away < 1) == pytest.approx(0.683, abs=0.01)
    assert np.mean(away < 2) == pytest.approx(0.954, abs=0.01)


def test_uniform_noise_stays_in_its_range(make_net: Callable[..., Any]) -> None:
    added = run(make_net(noise_net("uniform_range: 0.25 bias: -1"), seed=1))
    assert added.min() >= -1.25 - 1e-6
    assert added.max() <= -0.75 + 1e-6
    assert added.mean() == pytest.approx(-1, abs=0.005)
    assert added.std() == pytest.approx(0.5 / np.sqrt(12), rel=0.02)


@pytest.mark.parametrize("parameters", ["gaussian_std: 0", "uniform_range: 0", ""])
def test_without_spread_only_the_bias_is_added(parameters: str, make_net: Callable[..., Any]) -> None:
    np.testing.assert_allclose(run(make_net(noise_net(parameters + " bias: 0.5"))), 0.5, atol=1e-6)


def test_data_of_zeros_gets_no_gaussian_noise(make_net: Callable[..., Any]) -> None:
    net = make_net(noise_net("gaussian_std: 0.1"))
    net.blobs["data"].data[...] = 0
    net.forward()
    assert not net.blobs["noisy"].data.any()


@pytest.mark.parametrize("top", ["noisy", "data"])
def test_the_test_phase_copies(top: str, make_net: Callable[..., Any]) -> None:
    net = make_net(noise_net("gaussian_std: 0.1 bias: 0.5", top), caffe.TEST)
    assert not run(net, top).any()


def test_a_seed_repeats_the_noise_and_batches_differ(make_net: Callable[..., Any]) -> None:
    text = noise_net("gaussian_std: 0.1")
    first = make_net(text, seed=7)
    a, b = run(first), run(first)
    assert (a != b).any()
    np.testing.assert_array_equal(run(make_net(text, seed=7)), a)
    assert (run(make_net(text, seed=8)) != a).any()


@pytest.mark.parametrize("phase", [caffe.TRAIN, caffe.TEST])
def test_the_gradient_passes_unchanged(phase: int, make_net: Callable[..., Any]) -> None:
    net = make_net(noise_net("gaussian_std: 0.1 bias: 0.5"), phase)
    run(net)
    gradient = np.random.default_rng(5).standard_normal(SHAPE).astype(np.float32)
    net.blobs["noisy"].diff[...] = gradient
    net.backward()
    np.testing.assert_array_equal(net.blobs["data"].diff, gradient)


def test_the_gradient_passes_numerically(make_net: Callable[..., Any]) -> None:
    # With uniform noise of a fixed seed, the top is the bottom plus the same numbers each time.
    net = make_net(noise_net("uniform_range: 0.25"))

    def objective(data: NDArray[np.float32], weights: NDArray[np.float64]) -> float:
        caffe.set_random_seed(3)
        net.blobs["data"].data[...] = data
        net.forward()
        return float(np.sum(net.blobs["noisy"].data * weights))

    random = np.random.default_rng(6)
    weights = random.standard_normal(SHAPE)
    net.blobs["noisy"].diff[...] = weights
    net.backward()
    for _ in range(20):
        index = tuple(random.integers(SHAPE))
        step = np.zeros(SHAPE, np.float32)
        step[index] = 0.5
        slope = objective(picture() + step, weights) - objective(picture() - step, weights)
        assert slope == pytest.approx(net.blobs["data"].diff[index], abs=1e-4)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [("gaussian_std: 1 uniform_range: 1", "not both"), ("gaussian_std: -1", "negative")],
)
def test_wrong_parameters_are_named(parameters: str, message: str, run_python: Callable[..., Any]) -> None:
    done = run_python(
        f'import caffe\nopen("n", "w").write({noise_net(parameters)!r})\ncaffe.Net("n", caffe.TRAIN)'
    )
    assert done.returncode != 0
    assert message in done.stderr
