"""68-point face alignment with small Caffe networks: data, training, evaluation and inference.

    >>> from facealign import FaceAligner
    >>> from skimage.data import astronaut  # or any file: detect_and_align("photo.jpg")
    >>> aligner = FaceAligner.open()  # the released weights
    >>> [face.landmarks.shape for face in aligner.detect_and_align(astronaut()[:, :, ::-1])]
    [(68, 2)]

The names below are the public interface; they are imported when they are first used.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from facealign.crops.model_spec import ModelSpec
    from facealign.errors import FaceAlignError
    from facealign.geometry.head_pose import Pose
    from facealign.inference.face_aligner import Face, FaceAligner

__version__ = "0.1.0"
__all__ = ["Face", "FaceAlignError", "FaceAligner", "ModelSpec", "Pose", "__version__"]

_HOME = {
    "Face": "inference.face_aligner",
    "FaceAligner": "inference.face_aligner",
    "FaceAlignError": "errors",
    "ModelSpec": "crops.model_spec",
    "Pose": "geometry.head_pose",
}


def __getattr__(name: str) -> Any:
    # Imported on first use, as most worker processes align no face.
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
