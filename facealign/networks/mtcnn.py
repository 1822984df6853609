"""The three nets of MTCNN (Zhang et al. 2016), with the layer names of its authors' Caffe models.

Pixels enter as (value - 127.5) / 128, RGB. Each net ends in `prob` (face at index 1) and box regression;
ONet also in five points.
"""

from dataclasses import dataclass

from facealign.caffe_files.proto import caffe_pb2
from facealign.networks import layers as p


@dataclass(frozen=True)
class Row:
    """A layer with weights; kernel: None for fully connected; pool: kernel of the max pool after it."""

    name: str
    width: int
    kernel: int | None = None
    pool: int | None = None


@dataclass(frozen=True)
class MtcnnNet:
    """A net: side of its window in pixels, its trunk, and its heads (class, box, points if any)."""

    window: int
    trunk: tuple[Row, ...]
    heads: tuple[Row, ...]


NETS: dict[str, MtcnnNet] = {
    "pnet": MtcnnNet(
        12,
        (Row("conv1", 10, 3, 2), Row("conv2", 16, 3), Row("conv3", 32, 3)),
        (Row("conv4-1", 2, 1), Row("conv4-2", 4, 1)),
    ),
    "rnet": MtcnnNet(
        24,
        (Row("conv1", 28, 3, 3), Row("conv2", 48, 3, 3), Row("conv3", 64, 2), Row("conv4", 128)),
        (Row("conv5-1", 2), Row("conv5-2", 4)),
    ),
    "onet": MtcnnNet(
        48,
        (
            Row("conv1", 32, 3, 3),
            Row("conv2", 64, 3, 3),
            Row("conv3", 64, 3, 2),
            Row("conv4", 128, 2),
            Row("conv5", 256),
        ),
        (Row("conv6-1", 2), Row("conv6-2", 4), Row("conv6-3", 10)),
    ),
}


def _weighted(row: Row, bottom: str) -> caffe_pb2.LayerParameter:
    layer = caffe_pb2.LayerParameter(name=row.name, bottom=[bottom], top=[row.name])
    if row.kernel is None:
        layer.type = "InnerProduct"
        layer.inner_product_param.num_output = row.width
    else:
        layer.type = "Convolution"
        layer.convolution_param.num_output = row.width
        layer.convolution_param.kernel_size.append(row.kernel)
    return layer


def deploy(name: str) -> caffe_pb2.NetParameter:
    """The net "pnet", "rnet" or "onet" for inference; PNet takes images of any size from 12x12."""
    net = NETS[name]
    layers = [p.input_layer(3, net.window, net.window)]
    bottom = "data"
    for index, row in enumerate(net.trunk, start=1):
        layers.append(_weighted(row, bottom))
        layers.append(
            caffe_pb2.LayerParameter(name=f"prelu{index}", type="PReLU", bottom=[row.name], top=[row.name])
        )
        bottom = row.name
        if row.pool is not None:
            pooling = caffe_pb2.PoolingParameter(
                pool=caffe_pb2.PoolingParameter.MAX, kernel_size=row.pool, stride=2
            )
            layers.append(
                caffe_pb2.LayerParameter(
                    name=f"pool{index}",
                    type="Pooling",
                    bottom=[bottom],
                    top=[f"pool{index}"],
                    pooling_param=pooling,
                )
            )
            bottom = f"pool{index}"
    layers += [_weighted(row, bottom) for row in net.heads]
    layers.append(
        caffe_pb2.LayerParameter(name="prob", type="Softmax", bottom=[net.heads[0].name], top=["prob"])
    )
    return caffe_pb2.NetParameter(name=name, layer=layers)
