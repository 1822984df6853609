"""Networks run by pycaffe."""

from collections.abc import Mapping
from functools import cache, lru_cache
from pathlib import Path

from facealign.arrays import AnyArray, Float32Array
from facealign.caffe_files.caffemodel import matching_weights, read_weights
from facealign.caffe_files.net_shapes import Shape, check_inputs, declared_inputs
from facealign.caffe_files.prototxt import parse_net, read_deploy
from facealign.engines.dry_run import dry_run
from facealign.engines.pycaffe import import_caffe
from facealign.networks import mtcnn
from facealign.networks.registry import BUILDERS


@cache
def _our_nets() -> set[bytes]:
    """This package's deploy nets, serialised; Caffe is known to load them, so they need no dry run."""
    nets = [builder.deploy() for builder in BUILDERS.values()] + [mtcnn.deploy(name) for name in mtcnn.NETS]
    return {net.SerializeToString(deterministic=True) for net in nets}


class CaffeEngine:
    """A deploy net and its weights in pycaffe, on the CPU."""

    def __init__(self, deploy: Path, weights: Path) -> None:
        """Raises FaceAlignError when a file is missing or damaged, or the weights are not this net's."""
        self._deploy, self._where = read_deploy(deploy), str(deploy)
        blobs = matching_weights(self._deploy, read_weights(weights), str(deploy), str(weights))
        caffe = import_caffe()
        # Parsed with the schema of the Caffe installed: stock Caffe lacks messages that ours has.
        net = caffe.proto.caffe_pb2.NetParameter()
        parse_net(deploy.read_text(encoding="utf-8"), net, deploy)
        if net.SerializeToString(deterministic=True) not in _our_nets():
            dry_run("caffe.Net(arguments[0], 1)", [str(deploy)], deploy)
        self._net = caffe.Net(str(deploy), caffe.TEST)
        # Copied from the checked arrays: Caffe's own loader refuses shapes that differ in leading ones only.
        for name, arrays in blobs.items():
            for blob, values in zip(self._net.params[name], arrays, strict=True):
                blob.data[...] = values
        self._shapes = declared_inputs(self._deploy, self._where)
        # Cached, as checking takes longer than running a small net.
        self._checked = lru_cache(maxsize=256)(self._check)

    def _check(self, shapes: frozenset[tuple[str, Shape]]) -> None:
        check_inputs(self._deploy, self._where, dict(shapes))

    def forward(self, inputs: Mapping[str, AnyArray]) -> dict[str, Float32Array]:
        """Run the net; see Engine.forward."""
        shapes = {name: tuple(values.shape) for name, values in inputs.items()}
        if shapes != self._shapes:
            # Shapes that fit do so for any number of images but 0, so larger ones are checked as 1.
            self._checked(
                frozenset(
                    (name, (min(shape[0], 1), *shape[1:]) if shape else shape)
                    for name, shape in shapes.items()
                )
            )
            for name, shape in shapes.items():
                self._net.blobs[name].reshape(*shape)
            self._shapes = shapes  # the other blobs are reshaped by the layers when they run
        for name, values in inputs.items():
            self._net.blobs[name].data[...] = values
        return {name: values.copy() for name, values in self._net.forward().items()}
