"""Training speed of this machine, relative to the one on which durations were measured."""

import time
from pathlib import Path

import numpy as np

from facealign.caffe_files import prototxt
from facealign.engines.pycaffe import import_caffe
from facealign.io.atomic import replacing
from facealign.networks import mobilenet_v2
from facealign.networks.data_layers import MemorySource
from facealign.networks.recipes import recipe_named

MACHINE = "2 cores of an AMD EPYC (family 25, model 17)"
"""The machine on which the plan's minutes were measured."""
ITERATION_SECONDS = 0.043
"""Result of `iteration_seconds` on that machine."""


def iteration_seconds(directory: Path, rounds: int = 20) -> float:
    """Median time of a forward and backward pass of stage 3's train net over 64 faces.

    directory: where the net is written. Raises FaceAlignError when Caffe is not installed.
    """
    caffe = import_caffe()
    path = directory / "speed.prototxt"
    net = mobilenet_v2.train_val(recipe_named("mobilenet_v2/stage3"), MemorySource())
    with replacing(path) as partial:
        partial.write_text(prototxt.text(net, "To measure how fast this machine is"), encoding="utf-8")
    net = caffe.Net(str(path), caffe.TRAIN)
    rng = np.random.default_rng(0)
    for blob, spread in (("data", 1.0), ("landmark", 0.5)):
        net.blobs[blob].data[...] = rng.uniform(-spread, spread, net.blobs[blob].data.shape)
    taken = []
    for _ in range(rounds + 3):
        begun = time.perf_counter()
        net.forward()
        net.backward()
        taken.append(time.perf_counter() - begun)
    return float(np.median(taken[3:]))  # the first passes also set up what later ones reuse
