"""Which weights were trained on the faces of 300-W's held-out part, before these were set apart."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from facealign.caffe_files.caffemodel import named
from facealign.errors import FaceAlignError
from facealign.training.lineage import RUN, read_run

TRAINED_ON_THEM = {
    "ccfbb86a4cc750ba6fb4bb055e160dd11ccfd076a4c1a3c0162995b9eeae28df": "an earlier stage 3",
    "eb9a12fa6606073c6a9bcfc093e66e782f17a9846677d337a9a9ffdb0503db3e": "an earlier cascade",
    "130c49a0fbef79f598965508815d11f65693962c8b13908075dfb5ac3c38e386": "mobilenet_v2_stage3.caffemodel",
    "9f4f4ca02a7e6a180440740d7741f28ff7761bc991831ef5d10e3225b72b751c": "mobilenet_v2_stage3.onnx",
    "b6f8fad26669e14d715b332a7214f109c86387820d17237039f82bc7d964a55b": "mobilenet_v2_cascade.caffemodel",
    "253b4eaef345398f4b78f40ed02775b7570db2eb4a81948c9fa955dc66ed8fc4": "mobilenet_v2_cascade.onnx",
}
"""SHA-256 of weights files -> what they are: two early runs, and the releases that go on from them."""


def knows_held_out_faces(weights: Path) -> bool:
    """Whether weights, or those that their run started from, are known to be trained on the held-out faces.

    Without a `run.json` beside them it is known of the released weights only.
    """
    if named(weights)["sha256"] in TRAINED_ON_THEM:
        return True
    if not (weights.parent / RUN).is_file():
        return False
    try:
        run: Mapping[str, Any] | None = read_run(weights.parent)
    except FaceAlignError:
        return False
    while run is not None:
        start = run.get("start")
        if not isinstance(start, Mapping):
            return False
        if start.get("sha256") in TRAINED_ON_THEM:
            return True
        run = start.get("run")
    return False
