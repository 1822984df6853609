"""VGG-Shadow: 70x60 (height x width) BGR in, 136 numbers out, through seven plain 3x3 convolutions."""

from facealign.caffe_files.proto import caffe_pb2
from facealign.networks import layers as p
from facealign.networks.data_layers import DataSource, LmdbSource, data_layers
from facealign.networks.recipes import Recipe

SIZE = (70, 60)
"""Height and width of the input in pixels; the reference says "70 * 60", but not which is which."""
STAGES = ((("conv11", "conv12"), 64), (("conv21", "conv22"), 128), (("conv31", "conv32"), 192))
"""Convolutions and their channels; a 2x2 max pool of stride 2 ends each stage."""
OUTPUT = "fc2"


def _convolution(
    name: str, bottom: str, channels: int, pad: int, bias: bool
) -> list[caffe_pb2.LayerParameter]:
    layer = caffe_pb2.LayerParameter(
        name=name,
        type="Convolution",
        bottom=[bottom],
        top=[name],
        convolution_param=caffe_pb2.ConvolutionParameter(
            num_output=channels,
            bias_term=bias,
            pad=[pad],
            kernel_size=[3],
            stride=[1],
            weight_filler=p.filler("xavier"),
            bias_filler=p.filler("constant", 0) if bias else None,
        ),
    )
    return [layer, p.relu(name.replace("conv", "relu"), name, 0)]


def _trunk(dropout: float) -> list[caffe_pb2.LayerParameter]:
    layers: list[caffe_pb2.LayerParameter] = []
    bottom = "data"
    for stage, (names, channels) in enumerate(STAGES, start=1):
        for name in names:
            layers += _convolution(name, bottom, channels, pad=1, bias=False)
            bottom = name
        pool = f"pool{stage}"
        layers.append(
            caffe_pb2.LayerParameter(
                name=pool,
                type="Pooling",
                bottom=[bottom],
                top=[pool],
                pooling_param=caffe_pb2.PoolingParameter(
                    pool=caffe_pb2.PoolingParameter.MAX, kernel_size=2, stride=2
                ),
            )
        )
        bottom = pool
    layers += _convolution("conv4", bottom, 256, pad=0, bias=True)
    layers.append(p.inner_product("fc1", "conv4", 256, published=False))
    layers.append(p.relu("relu_fc1", "fc1", 0))
    layers.append(
        caffe_pb2.LayerParameter(
            name="drop1",
            type="Dropout",
            bottom=["fc1"],
            top=["fc1"],
            dropout_param=caffe_pb2.DropoutParameter(dropout_ratio=dropout),
        )
    )
    layers.append(p.inner_product(OUTPUT, "fc1", 136, published=False))
    return layers


def deploy(dropout: float = 0.2) -> caffe_pb2.NetParameter:
    """The net for inference: Input `data` (1, 3, 70, 60), output `fc2` (1, 136)."""
    return caffe_pb2.NetParameter(name="vgg_shadow", layer=[p.input_layer(3, *SIZE), *_trunk(dropout)])


def train_val(recipe: Recipe, source: DataSource | None = None) -> caffe_pb2.NetParameter:
    """The net for the solver; phase TEST reports the loss of all, main, contour and coarse landmarks."""
    return caffe_pb2.NetParameter(
        name=recipe.snapshot_name,
        layer=[
            *data_layers(source or LmdbSource("data/lmdb_70x60"), recipe.batch_size, SIZE),
            p.noise("noise", "data", 0.001),
            *_trunk(recipe.dropout),
            p.landmark_loss(
                "loss", OUTPUT, recipe.normalized, phase=caffe_pb2.TRAIN, function=recipe.function
            ),
            p.euclidean_loss(OUTPUT, top="loss"),
            p.landmark_loss("main_loss", OUTPUT, recipe.normalized, (0, 1, 0), caffe_pb2.TEST),
            p.landmark_loss(
                "contour_loss", OUTPUT, recipe.normalized, (1, 0, 0), caffe_pb2.TEST, loss_weight=0
            ),
            p.landmark_loss("coarse_loss", OUTPUT, recipe.normalized, (0, 0, 1), caffe_pb2.TEST),
        ],
    )
