"""Networks run by pycaffe."""

import os
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType

from facealign.arrays import AnyArray, Float32Array
from facealign.errors import FaceAlignError
from facealign.weights import matching_weights, read_net, read_weights


def import_caffe() -> ModuleType:
    """pycaffe, kept from logging every layer. Raises FaceAlignError when it is not installed."""
    os.environ.setdefault("GLOG_minloglevel", "2")
    try:
        import caffe
    except ImportError as error:
        raise FaceAlignError(f"pycaffe cannot be imported ({error}); run `make caffe`") from error
    module: ModuleType = caffe
    return module


class CaffeEngine:
    """A deploy net and its weights in pycaffe, on the CPU."""

    def __init__(self, deploy: Path, weights: Path) -> None:
        """Raises FaceAlignError when a file is missing or damaged, or the weights are not this net's."""
        matching_weights(read_net(deploy), read_weights(weights), str(deploy), str(weights))
        caffe = import_caffe()
        self._net = caffe.Net(str(deploy), caffe.TEST, weights=str(weights))

    def forward(self, inputs: Mapping[str, AnyArray]) -> dict[str, Float32Array]:
        """Run the net; see Engine.forward."""
        for name, values in inputs.items():
            blob = self._net.blobs[name]
            if tuple(blob.shape) != values.shape:
                blob.reshape(*values.shape)
                self._net.reshape()
            blob.data[...] = values
        return {name: values.copy() for name, values in self._net.forward().items()}
