"""Data layers of a train net, and the sources of its images and landmarks."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from facealign.caffe_files.proto import caffe_pb2
from facealign.crops.augmentation import Augmentation
from facealign.networks.layers import include

MEAN, SCALE = 127.5, 0.0078125
"""A pixel enters the network as (value - MEAN) * SCALE."""


@dataclass(frozen=True)
class LmdbSource:
    """The paired LMDBs of facealign make-lmdb in `directory`."""

    directory: str = "data/lmdb"


@dataclass(frozen=True)
class Change:
    """A random change of samples: its probability, 0..1, and the range of its strength."""

    probability: float
    low: float = 0.0
    high: float = 0.0


PHOTOMETRIC: dict[str, Change] = {
    "shade": Change(0.3, 0.1, 0.5),
    "channel_gain": Change(0.3, 0.8, 1.2),
    "contrast": Change(0.5, 0.6, 1.4),
    "brightness": Change(0.5, -40, 40),
    "grey": Change(0.1),
    "blur": Change(0.2, 0.3, 1.2),
    "occlusion": Change(0.2, 0.1, 0.4),
}
"""Photometric augmentation, which leaves the landmarks in place; names of AugmentedFaceData's parameters."""
MAX_ELASTIC = 0.05
"""Largest elastic deformation that AugmentedFaceData accepts: a stronger one sometimes folds crops."""


def elastic_deformation(strongest: float) -> dict[str, Change]:
    """Elastic deformation of four samples of five, which changes the proportions of the face.

    strongest: root mean square of the displacement along each axis, as a fraction of the crop's side, at most
    MAX_ELASTIC. Returns it by the name of AugmentedFaceData's parameter.
    """
    return {"deform": Change(0.8, 0.0, strongest)}


@dataclass(frozen=True)
class OnTheFlySource:
    """The context crops of `facealign make-lmdb --on-the-fly` in `directory`, augmented on the fly.

    weights: how often samples are drawn from each folder of photos ("*": all others together; empty: each
    face once an epoch); changes: PHOTOMETRIC, elastic deformation, or both; first_sample: number of the first
    sample, for a run that is continued.
    """

    directory: str = "data/lmdb_on_the_fly"
    augmentation: Augmentation = field(default_factory=Augmentation)
    changes: Mapping[str, Change] = field(default_factory=dict)
    weights: Mapping[str, float] = field(default_factory=dict)
    seed: int = 0
    first_sample: int = 0


@dataclass(frozen=True)
class ImageListSource:
    """Text lists, one image a line: path, then 136 numbers; read by ImageFloatData, as published."""

    train: str = "data/train.txt"
    val: str = "data/val.txt"


@dataclass(frozen=True)
class Hdf5Source:
    """Lists of HDF5 files with the datasets `data` and `landmark`, as VGG-Shadow was published."""

    train: str = "data/hdf5_train.txt"
    val: str = "data/hdf5_val.txt"


@dataclass(frozen=True)
class MemorySource:
    """Batches that the program writes into the blobs `data` and `landmark` itself."""


DataSource = LmdbSource | OnTheFlySource | ImageListSource | Hdf5Source | MemorySource


def data_layers(
    source: DataSource, batch_size: int, size: tuple[int, int], pad_ratio: float = 0.15
) -> list[caffe_pb2.LayerParameter]:
    """Layers whose tops are `data` (n, 3, height, width) and `landmark` (n, 136, ...), for both phases.

    size: height and width; pad_ratio: of ImageFloatData, for image lists only. In phase TEST an
    OnTheFlySource reads the pair of LMDBs in its directory.
    """
    if isinstance(source, MemorySource):
        return [
            caffe_pb2.LayerParameter(
                name=top,
                type="Input",
                top=[top],
                input_param=caffe_pb2.InputParameter(shape=[caffe_pb2.BlobShape(dim=[batch_size, *shape])]),
            )
            for top, shape in (("data", (3, *size)), ("landmark", (136,)))
        ]
    layers = []
    for phase, part in ((caffe_pb2.TRAIN, "train"), (caffe_pb2.TEST, "val")):
        if isinstance(source, OnTheFlySource) and phase == caffe_pb2.TRAIN:
            layers.append(_on_the_fly(source, batch_size, size))
        elif isinstance(source, LmdbSource | OnTheFlySource):
            for top in ("data", "landmark"):
                kind = "images" if top == "data" else "landmarks"
                layer = _layer(top, "Data", [top], phase)
                layer.data_param.source = str(PurePosixPath(source.directory) / f"{part}_{kind}")
                layer.data_param.batch_size = batch_size
                layer.data_param.backend = caffe_pb2.DataParameter.LMDB
                if top == "data":
                    _normalise(layer)
                layers.append(layer)
        elif isinstance(source, ImageListSource):
            layer = _layer("data", "ImageFloatData", ["data", "landmark"], phase)
            _normalise(layer)
            if phase == caffe_pb2.TRAIN and pad_ratio:
                layer.transform_param.pad_ratio = pad_ratio
            images = layer.image_data_param
            images.source = source.train if phase == caffe_pb2.TRAIN else source.val
            images.batch_size = batch_size
            images.shuffle = phase == caffe_pb2.TRAIN
            images.new_height, images.new_width = size
            layer.image_float_data_param.label_dim = 136
            layers.append(layer)
        else:
            layer = _layer("data", "HDF5Data", ["data", "landmark"], phase)
            layer.hdf5_data_param.source = source.train if phase == caffe_pb2.TRAIN else source.val
            layer.hdf5_data_param.batch_size = batch_size
            layers.append(layer)
    return layers


def _on_the_fly(source: OnTheFlySource, batch_size: int, size: tuple[int, int]) -> caffe_pb2.LayerParameter:
    layer = _layer("data", "AugmentedFaceData", ["data", "landmark"], caffe_pb2.TRAIN)
    _normalise(layer)
    message, settings = layer.augmented_face_data_param, source.augmentation
    message.source = str(PurePosixPath(source.directory) / "train_faces")
    message.batch_size = batch_size
    message.height, message.width = size
    message.seed, message.first_sample = source.seed, source.first_sample
    for name, weight in source.weights.items():
        message.set_weight.add(name=[name], weight=weight)
    message.flip, message.shift = settings.flip, settings.shift
    message.scale_min, message.scale_max = settings.scale_range
    message.rotate_min, message.rotate_max = settings.rotate_range
    message.noise_std_min, message.noise_std_max = settings.noise_std
    for name, change in source.changes.items():
        getattr(message, name).CopyFrom(
            caffe_pb2.RandomChange(probability=change.probability, low=change.low, high=change.high)
        )
    return layer


def _layer(name: str, kind: str, tops: list[str], phase: int) -> caffe_pb2.LayerParameter:
    return caffe_pb2.LayerParameter(name=name, type=kind, top=tops, include=include(phase))


def _normalise(layer: caffe_pb2.LayerParameter) -> None:
    layer.transform_param.mean_value.append(MEAN)
    layer.transform_param.scale = SCALE
