"""What holds of any layer `c` with weights and a bias, which it has of `c_in` in a net's prototxt."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

SPARED = [
    ("propagate_down: false", "data"),
    ("param { lr_mult: 0 } param { lr_mult: 1 }", "weights"),
    ("param { lr_mult: 1 } param { lr_mult: 0 }", "bias"),
]
"""Settings of a layer, and what gradient it then does not compute."""


def sizes(**pairs: tuple[int, int]) -> str:
    """Settings of a convolution, such as kernel_size=(height, width), as prototxt."""
    return "".join(f"{field}: {value} " for field, pair in pairs.items() for value in pair)


def check_spared(make_net: Callable[..., Any], input_b: str, layer_c: str, spared: str) -> None:
    """All the layer's gradients but `spared` are computed; `input_b` is its input, named `b_in`."""
    # A loss after the layer and parameters before it, so that only the layer's settings spare a gradient.
    net = make_net(
        input_b
        + ' layer { name: "b" type: "Scale" bottom: "b_in" top: "c_in" } '
        + layer_c
        + ' layer { name: "loss" type: "Reduction" bottom: "c" top: "loss" loss_weight: 1 }'
    )
    net.blobs["b_in"].data[...] = 1
    net.forward()
    net.backward()
    moved = {
        "data": bool(net.blobs["c_in"].diff.any()),
        "weights": bool(net.params["c"][0].diff.any()),
        "bias": bool(net.params["c"][1].diff.any()),
    }
    assert moved == {name: name != spared for name in moved}


def check_threads(run_python: Callable[..., Any], text: str) -> None:
    """Whatever the number of threads, output and gradients are the same to the bit."""
    code = f"""
import hashlib, caffe, numpy as np
open("net.prototxt", "w").write({text!r})
caffe.set_random_seed(1)
net = caffe.Net("net.prototxt", caffe.TRAIN)
net.blobs["c_in"].data[...] = np.random.default_rng(1).standard_normal(net.blobs["c_in"].data.shape)
net.forward()
net.blobs["c"].diff[...] = net.blobs["c"].data
net.backward()
arrays = [net.blobs["c"].data, net.blobs["c_in"].diff, *(blob.diff for blob in net.params["c"])]
print(hashlib.sha256(b"".join(array.tobytes() for array in arrays)).hexdigest())
"""
    results = {run_python(code, OMP_NUM_THREADS=str(threads)).stdout for threads in (1, 2, 3, 7)}
    assert len(results) == 1
    assert len(results.pop()) == 65


def check_linear_layer(net: Any) -> None:
    """The gradients of the layer `c`, which is linear in its input `c_in` and in each of its parameters."""
    random = np.random.default_rng(2)
    blobs = (net.blobs["c_in"], *net.params["c"])
    for blob in blobs:
        blob.data[...] = random.standard_normal(blob.data.shape)
    top_diff = random.standard_normal(net.blobs["c"].data.shape)

    def objective() -> float:
        net.forward()
        return float(np.sum(net.blobs["c"].data * top_diff))

    objective()
    net.blobs["c"].diff[...] = top_diff
    net.backward()
    # The layer is linear in each of these, so a large step loses nothing.
    step = 0.5
    for blob in blobs:
        analytic = blob.diff.copy()
        values = blob.data.reshape(-1)
        numeric = np.empty(values.shape)
        for i in range(values.size):
            before = values[i]
            values[i] = before + step
            above = objective()
            values[i] = before - step
            numeric[i] = (above - objective()) / (2 * step)
            values[i] = before
        np.testing.assert_allclose(analytic.reshape(-1), numeric, rtol=1e-3, atol=1e-3)
