"""The interface of all engines: named arrays in, named arrays out."""

from collections.abc import Mapping
from typing import Protocol

import numpy as np

from facealign.arrays import AnyArray, Float32Array


class Engine(Protocol):
    """A trained network that can be run."""

    def forward(self, inputs: Mapping[str, AnyArray]) -> dict[str, Float32Array]:
        """All outputs of the network by name, for named inputs (n, channels, height, width) of any n.

        Networks without fully connected layers also take any height and width.
        Raises FaceAlignError when an input is missing, unknown, or of another shape.
        """
        ...


class Batched:
    """An engine that runs at most `size` images at a time, so that its feature maps stay in the cache."""

    def __init__(self, engine: Engine, size: int) -> None:
        self._engine, self._size = engine, size

    def forward(self, inputs: Mapping[str, AnyArray]) -> dict[str, Float32Array]:
        """Run the network; see Engine.forward."""
        count = max((len(values) for values in inputs.values()), default=0)
        if count <= self._size:
            return self._engine.forward(inputs)
        parts = [
            self._engine.forward(
                {name: values[start : start + self._size] for name, values in inputs.items()}
            )
            for start in range(0, count, self._size)
        ]
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
