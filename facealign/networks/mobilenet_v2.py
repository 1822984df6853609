"""The customised MobileNetV2: 64x64 BGR in, 136 numbers out, through an embedding of 50.

Layer names are the reference's, as weights are matched by name. Block 6 expands 64 channels to 192, not 384:
the published weights fit the published prototxt, not the reference's table.
"""

from dataclasses import dataclass

from facealign.caffe_files.proto import caffe_pb2
from facealign.networks import layers as p
from facealign.networks.data_layers import DataSource, LmdbSource, data_layers
from facealign.networks.recipes import Recipe

SIZE = (64, 64)
"""Height and width of the input, in pixels."""
SLOPE = 0.01
"""Negative slope of every ReLU."""
OUTPUT = "fc4"


@dataclass(frozen=True)
class Block:
    """An inverted bottleneck: 1x1 to `expanded` channels, depthwise 3x3 of `stride`, 1x1 to `channels`."""

    expanded: int
    channels: int
    stride: int


CONV1_CHANNELS = 16
BLOCKS = (
    Block(96, 24, 2),
    Block(144, 24, 1),
    Block(144, 32, 2),
    Block(192, 32, 1),
    Block(192, 64, 2),
    Block(192, 64, 1),
)
FULLY_CONNECTED = (("fc1", 200, True), ("fc2", 200, True), ("fc3", 50, False), (OUTPUT, 136, False))
"""Name, width, and whether a ReLU follows."""


class _Builder:
    """Appends layers in order, and numbers the BatchNorm and Scale layers through the network."""

    def __init__(self, deploy: bool) -> None:
        self.layers: list[caffe_pb2.LayerParameter] = []
        self.deploy = deploy
        self.batch_norms = 0
        self.scales = 0

    def convolution(
        self, name: str, bottom: str, channels: int, kernel: int = 1, stride: int = 1, depthwise: bool = False
    ) -> str:
        layer = caffe_pb2.LayerParameter(
            name=name,
            type="ConvolutionDepthwise" if depthwise else "Convolution",
            bottom=[bottom],
            top=[name],
            param=[p.param(1, 1)],
            convolution_param=caffe_pb2.ConvolutionParameter(
                num_output=channels,
                bias_term=False,
                kernel_size=[kernel],
                pad=[kernel // 2] if kernel > 1 else [],
                stride=[stride],
                weight_filler=p.filler("msra"),
            ),
        )
        self.layers.append(layer)
        return name

    def normalise(self, blob: str, scale_name: str | None = None) -> None:
        self.batch_norms += 1
        self.layers.append(
            caffe_pb2.LayerParameter(
                name=f"BatchNorm{self.batch_norms}",
                type="BatchNorm",
                bottom=[blob],
                top=[blob],
                batch_norm_param=caffe_pb2.BatchNormParameter(
                    use_global_stats=self.deploy, moving_average_fraction=0.99
                ),
            )
        )
        if scale_name is None:
            self.scales += 1
            scale_name = f"Scale{self.scales}"
        self.layers.append(
            caffe_pb2.LayerParameter(
                name=scale_name,
                type="Scale",
                bottom=[blob],
                top=[blob],
                scale_param=caffe_pb2.ScaleParameter(bias_term=True),
            )
        )


def _trunk(deploy: bool) -> list[caffe_pb2.LayerParameter]:
    """Everything from `data` to `fc4`."""
    net = _Builder(deploy)
    conv1 = net.convolution("conv1", "data", CONV1_CHANNELS, kernel=3, stride=2)
    first = net.layers[0]
    first.ClearField("param")
    first.param.extend([p.param(1, 1), p.param(2, 0)])
    first.convolution_param.bias_term = True
    first.convolution_param.weight_filler.CopyFrom(p.filler("xavier"))
    first.convolution_param.bias_filler.CopyFrom(p.filler("constant", 0))
    net.normalise(conv1)
    net.layers.append(p.relu("relu1", conv1, SLOPE))

    bottom = conv1
    for k, block in enumerate(BLOCKS, start=1):
        expand = net.convolution(f"Convolution{2 * k - 1}", bottom, block.expanded)
        net.normalise(expand)
        net.layers.append(p.relu(f"ReLU{2 * k - 1}", expand, SLOPE))
        spatial = net.convolution(
            f"ConvolutionDepthwise{k}", expand, block.expanded, kernel=3, stride=block.stride, depthwise=True
        )
        net.normalise(spatial)
        net.layers.append(p.relu(f"ReLU{2 * k}", spatial, SLOPE))
        project = net.convolution(f"Convolution{2 * k}", spatial, block.channels)
        if block.stride == 2:
            net.normalise(project, scale_name=f"fuse{k + 1}")
            bottom = project
        else:
            net.normalise(project)
            total = f"fuse{k + 1}"
            net.layers.append(
                caffe_pb2.LayerParameter(
                    name=total,
                    type="Eltwise",
                    bottom=[bottom, project],
                    top=[total],
                    eltwise_param=caffe_pb2.EltwiseParameter(operation=caffe_pb2.EltwiseParameter.SUM),
                )
            )
            bottom = total

    for name, width, activated in FULLY_CONNECTED:
        net.layers.append(p.inner_product(name, bottom, width))
        if activated:
            net.layers.append(p.relu(f"{name}_relu", name, SLOPE))
        bottom = name
    return net.layers


def deploy() -> caffe_pb2.NetParameter:
    """The net for inference: Input `data` (1, 3, 64, 64), output `fc4` (1, 136)."""
    return caffe_pb2.NetParameter(name="mobilenet_v2", layer=[p.input_layer(3, *SIZE), *_trunk(deploy=True)])


def train_val(recipe: Recipe, source: DataSource | None = None) -> caffe_pb2.NetParameter:
    """The net for the solver; the loss is the recipe's in TRAIN and the Euclidean in TEST."""
    return caffe_pb2.NetParameter(
        name=recipe.snapshot_name,
        layer=[
            *data_layers(source or LmdbSource(), recipe.batch_size, SIZE),
            p.noise("data", "data", 0.001),
            *_trunk(deploy=False),
            p.landmark_loss(
                "landmarkloss", OUTPUT, recipe.normalized, phase=caffe_pb2.TRAIN, function=recipe.function
            ),
            p.euclidean_loss(OUTPUT),
        ],
    )
