"""What every engine does: named arrays in, named arrays out."""

from collections.abc import Mapping
from typing import Protocol

from facealign.arrays import AnyArray, Float32Array


class Engine(Protocol):
    """A trained network that can be run."""

    def forward(self, inputs: Mapping[str, AnyArray]) -> dict[str, Float32Array]:
        """Run the network on named blobs (n, channels, height, width) of any n; all its outputs by name.

        Networks without fully connected layers take any height and width too.
        Raises FaceAlignError when an input is missing, unknown, or of another shape.
        """
        ...
