"""Gradients of a layer against finite differences."""

from __future__ import annotations

from typing import Any

import numpy as np


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
