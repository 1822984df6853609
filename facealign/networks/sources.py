"""Where a train net takes its pictures and landmarks from."""

from dataclasses import dataclass
from pathlib import PurePosixPath

from facealign.networks.prototxt import include
from facealign.proto import caffe_pb2

MEAN, SCALE = 127.5, 0.0078125
"""A pixel enters the network as (value - MEAN) * SCALE."""


@dataclass(frozen=True)
class LmdbSource:
    """The paired LMDBs of tools/make_lmdb.py in `directory`."""

    directory: str = "data/lmdb"


@dataclass(frozen=True)
class ImageListSource:
    """Text lists, a line per image: path, then 136 numbers; read by ImageFloatData, as published."""

    train: str = "data/train.txt"
    val: str = "data/val.txt"


@dataclass(frozen=True)
class Hdf5Source:
    """Lists of HDF5 files with the datasets `data` and `landmark`, as VGG-Shadow was published."""

    train: str = "data/hdf5_train.txt"
    val: str = "data/hdf5_val.txt"


DataSource = LmdbSource | ImageListSource | Hdf5Source


def data_layers(
    source: DataSource, batch_size: int, size: tuple[int, int], pad_ratio: float = 0.15
) -> list[caffe_pb2.LayerParameter]:
    """Layers whose tops are `data` (n, 3, height, width) and `landmark` (n, 136, ...), for both phases.

    pad_ratio is for image lists only: the LMDBs are augmented already.
    """
    layers = []
    for phase, part in ((caffe_pb2.TRAIN, "train"), (caffe_pb2.TEST, "val")):
        if isinstance(source, LmdbSource):
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


def _layer(name: str, kind: str, tops: list[str], phase: int) -> caffe_pb2.LayerParameter:
    return caffe_pb2.LayerParameter(name=name, type=kind, top=tops, include=include(phase))


def _normalise(layer: caffe_pb2.LayerParameter) -> None:
    layer.transform_param.mean_value.append(MEAN)
    layer.transform_param.scale = SCALE
