"""Training of a network by pycaffe's solver."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from facealign.arrays import Float32Array
from facealign.engines.pycaffe import caffe_errors, import_caffe


class CaffeSolver:
    """Caffe's solver, run iteration by iteration, and a deploy net that shares the weights it trains.

    What layers draw in an iteration (noise, dropout) depends on the seed and the iteration's number only, so
    that a restored solver draws what an undisturbed one would have.
    """

    def __init__(self, solver: Path, deploy: Path | None = None, gpu: bool = False, seed: int = 0) -> None:
        """solver, deploy: prototxt files. Raises FaceAlignError where Caffe cannot use them."""
        caffe = import_caffe()
        self._caffe, self._seed = caffe, seed
        self._where = solver
        if gpu:
            caffe.set_mode_gpu()
        else:
            caffe.set_mode_cpu()
        with caffe_errors(solver):
            self._solver = caffe.get_solver(str(solver))
        (self._loss,) = self._solver.net.outputs
        self._deploy = None
        if deploy is not None:
            with caffe_errors(deploy):
                self._deploy = caffe.Net(str(deploy), caffe.TEST)
                self._deploy.share_with(self._solver.net)

    @property
    def iteration(self) -> int:
        """Number of iterations done."""
        return int(self._solver.iter)

    @property
    def rate(self) -> float:
        """The learning rate of the next iteration."""
        return float(self._solver.lr)

    @property
    def loss(self) -> float:
        """The loss of the last iteration."""
        return float(self._solver.net.blobs[self._loss].data)

    @property
    def weights(self) -> dict[str, list[Float32Array]]:
        """Layer name -> its arrays of weights, as views: writing into them changes the network."""
        return {name: [blob.data for blob in blobs] for name, blobs in self._solver.net.params.items()}

    def set_weights(self, weights: Mapping[str, Sequence[Float32Array]]) -> None:
        """Copy weights, layer name -> arrays of the net's shapes, into the network."""
        # Copied from checked arrays: Caffe's own loader refuses shapes that differ in leading ones only.
        ours = self.weights
        for name, arrays in weights.items():
            for array, values in zip(ours[name], arrays, strict=True):
                array[...] = values

    def step(self, iterations: int = 1) -> None:
        """Run training iterations. Raises FaceAlignError where Caffe fails, such as on damaged data."""
        for _ in range(iterations):
            seeds = np.random.SeedSequence((self._seed, self.iteration))
            self._caffe.set_random_seed(int(seeds.generate_state(1)[0]))
            with caffe_errors(self._where):
                self._solver.step(1)

    def predict(
        self, images: Float32Array, input_name: str, output_name: str, batch: int = 64
    ) -> Float32Array:
        """Outputs (n, numbers) of the deploy net for inputs (n, 3, h, w), run `batch` at a time."""
        assert self._deploy is not None
        outputs = []
        for start in range(0, len(images), batch):
            part = images[start : start + batch]
            self._deploy.blobs[input_name].reshape(*part.shape)
            self._deploy.blobs[input_name].data[...] = part
            outputs.append(self._deploy.forward()[output_name].reshape(len(part), -1).copy())
        return np.concatenate(outputs)

    def snapshot(self) -> None:
        """Write weights and state to the solver's snapshot_prefix. Raises FaceAlignError if it cannot."""
        with caffe_errors(self._where):
            self._solver.snapshot()

    def restore(self, state: str) -> None:
        """Continue from a .solverstate file and the weights it names. Raises FaceAlignError on others."""
        with caffe_errors(state):
            self._solver.restore(state)
