"""Files as the reference's author has them, written afresh: every field that is known of them, and no other.

Unlike our own they read image lists or HDF5, ask for a GPU, and leave BatchNorm's fraction to the fork.
"""

import itertools


def layer(name: str, kind: str, bottoms: str, top: str, more: str = "") -> str:
    """A layer in the old manner: `bottoms` and `top` are separated by blanks."""
    bottom = "".join(f'  bottom: "{blob}"\n' for blob in bottoms.split())
    tops = "".join(f'  top: "{blob}"\n' for blob in top.split())
    return f'layer {{\n  name: "{name}"\n  type: "{kind}"\n{bottom}{tops}  {more}\n}}\n'


INPUT = 'name: "{}"\ninput: "data"\ninput_dim: 1\ninput_dim: 3\ninput_dim: {}\ninput_dim: {}\n'
TRAIN, TEST = "include { phase: TRAIN }", "include { phase: TEST }"

# Output channels and stride of the bottlenecks, and the channels they expand to.
BOTTLENECKS = [(24, 2, 96), (24, 1, 144), (32, 2, 144), (32, 1, 192), (64, 2, 192), (64, 1, 192)]


def mobilenet_trunk(statistics: str) -> str:
    """From `data` to `fc4`; statistics: whether BatchNorm uses the stored ones, "true" or "false"."""
    norms, scales = itertools.count(1), itertools.count(1)
    bare = (
        "param { lr_mult: 1 decay_mult: 1 } convolution_param { num_output: %d bias_term: false"
        ' kernel_size: %d stride: %d pad: %d weight_filler { type: "msra" } }'
    )
    leak = "relu_param { negative_slope: 0.01 }"

    def normalised(blob: str, scale: str | None = None) -> str:
        return layer(
            f"BatchNorm{next(norms)}",
            "BatchNorm",
            blob,
            blob,
            f"batch_norm_param {{ use_global_stats: {statistics} }}",
        ) + layer(scale or f"Scale{next(scales)}", "Scale", blob, blob, "scale_param { bias_term: true }")

    text = layer(
        "conv1",
        "Convolution",
        "data",
        "conv1",
        "param { lr_mult: 1 decay_mult: 1 } param { lr_mult: 2 decay_mult: 0 }"
        " convolution_param { num_output: 16 pad: 1 kernel_size: 3 stride: 2"
        ' weight_filler { type: "xavier" } bias_filler { type: "constant" value: 0 } }',
    )
    text += normalised("conv1") + layer("relu1", "ReLU", "conv1", "conv1", leak)
    bottom = "conv1"
    for k, (channels, stride, expanded) in enumerate(BOTTLENECKS, start=1):
        wide, spatial, narrow = f"Convolution{2 * k - 1}", f"ConvolutionDepthwise{k}", f"Convolution{2 * k}"
        text += layer(wide, "Convolution", bottom, wide, bare % (expanded, 1, 1, 0))
        text += normalised(wide) + layer(f"ReLU{2 * k - 1}", "ReLU", wide, wide, leak)
        text += layer(spatial, "ConvolutionDepthwise", wide, spatial, bare % (expanded, 3, stride, 1))
        text += normalised(spatial) + layer(f"ReLU{2 * k}", "ReLU", spatial, spatial, leak)
        text += layer(narrow, "Convolution", spatial, narrow, bare % (channels, 1, 1, 0))
        if stride == 2:
            text += normalised(narrow, f"fuse{k + 1}")
            bottom = narrow
        else:
            fuse = f"fuse{k + 1}"
            text += normalised(narrow)
            text += layer(fuse, "Eltwise", f"{bottom} {narrow}", fuse, "eltwise_param { operation: SUM }")
            bottom = fuse
    for name, outputs in (("fc1", 200), ("fc2", 200), ("fc3", 50), ("fc4", 136)):
        text += layer(
            name,
            "InnerProduct",
            bottom,
            name,
            f"param {{ lr_mult: 1 }} param {{ lr_mult: 2 }} inner_product_param {{ num_output: {outputs}"
            ' weight_filler { type: "xavier" } bias_filler { type: "constant" value: 0 } }',
        )
        if name in ("fc1", "fc2"):
            text += layer(f"{name}_relu", "ReLU", name, name, leak)
        bottom = name
    return text


def mobilenet_train_val(train_list: str, test_list: str, hard_sample: bool = False) -> str:
    """Stage 2's train_val; with hard_sample, the samples' weights are a third top and go into the loss."""

    def data(phase: str, source: str, images: str, transform: str) -> str:
        hard = "hard_sample: true" if hard_sample else ""
        return layer(
            "data",
            "ImageFloatData",
            "",
            "data landmark weight" if hard_sample else "data landmark",
            f"{phase} transform_param {{ mean_value: 127.5 scale: 0.0078125 {transform} }}"
            f' image_data_param {{ source: "{source}" batch_size: 64 new_height: 64 new_width: 64 {images} }}'
            f" image_float_data_param {{ label_dim: 136 {hard} }}",
        )

    loss = "contour_weight: 1 main_weight: 1 coarse_weight: 1 normalized: 1"
    return (
        'name: "MobileNet-V2-landmarks"\n'
        + data(TRAIN, train_list, "shuffle: true", "pad_ratio: 0.15")
        + data(TEST, test_list, "", "")
        + layer("data", "Noise", "data", "data", f"{TRAIN} noise_param {{ gaussian_std: 0.001 bias: 0 }}")
        + mobilenet_trunk("false")
        + layer(
            "landmarkloss",
            "WeightEuclideanLoss",
            "fc4 landmark weight" if hard_sample else "fc4 landmark",
            "landmarkloss",
            f"{TRAIN} weight_euclidean_loss_param {{ {loss} }}",
        )
    )


def mobilenet_deploy() -> str:
    return INPUT.format("MobileNet-V2-landmarks", 64, 64) + mobilenet_trunk("true")


def solver(net: str, snapshot_prefix: str) -> str:
    """Stage 2's solver."""
    return f"""net: "{net}"
test_iter: 100
test_interval: 5000
test_compute_loss: true
type: "Adam"
base_lr: 0.0001
momentum: 0.9
weight_decay: 0.0005
lr_policy: "inv"
gamma: 0.00001
power: 0.75
display: 100
max_iter: 1000000
snapshot: 1000
snapshot_prefix: "{snapshot_prefix}"
solver_mode: GPU
"""


# Name, output channels and pad of the convolutions, in the stages between which maps are halved.
VGG_STAGES = [
    [("11", 64, 1), ("12", 64, 1)],
    [("21", 128, 1), ("22", 128, 1)],
    [("31", 192, 1), ("32", 192, 1)],
    [("4", 256, 0)],
]


def vgg_shadow_trunk() -> str:
    """From `data` to `fc2`."""
    text, bottom = "", "data"
    for number, stage in enumerate(VGG_STAGES, start=1):
        for name, channels, pad in stage:
            bias = 'bias_filler { type: "constant" value: 0 }' if name == "4" else "bias_term: false"
            text += layer(
                f"conv{name}",
                "Convolution",
                bottom,
                f"conv{name}",
                f"convolution_param {{ num_output: {channels} kernel_size: 3 stride: 1 pad: {pad} {bias}"
                ' weight_filler { type: "xavier" } }',
            )
            bottom = f"conv{name}"
            text += layer(f"relu{name}", "ReLU", bottom, bottom)
        if number < 4:
            window = "pooling_param { pool: MAX kernel_size: 2 stride: 2 }"
            text += layer(f"pool{number}", "Pooling", bottom, f"pool{number}", window)
            bottom = f"pool{number}"
    full = (
        'inner_product_param { num_output: %d weight_filler { type: "xavier" }'
        ' bias_filler { type: "constant" value: 0 } }'
    )
    text += layer("fc1", "InnerProduct", bottom, "fc1", full % 256) + layer("relu_fc1", "ReLU", "fc1", "fc1")
    text += layer("drop1", "Dropout", "fc1", "fc1", "dropout_param { dropout_ratio: 0 }")
    return text + layer("fc2", "InnerProduct", "fc1", "fc2", full % 136)


def vgg_shadow_train_val(train_list: str, test_list: str) -> str:
    """VGG-Shadow's train_val, on lists of HDF5 files."""
    text = 'name: "VGG-Shadow"\n'
    for phase, source in ((TRAIN, train_list), (TEST, test_list)):
        hdf5 = f'hdf5_data_param {{ source: "{source}" batch_size: 256 }}'
        text += layer("data", "HDF5Data", "", "data landmark", f"{phase} {hdf5}")
    text += layer("data", "Noise", "data", "data", f"{TRAIN} noise_param {{ gaussian_std: 0.001 }}")
    text += vgg_shadow_trunk()

    def loss(name: str, contour: int, main: int, coarse: int, phase: str = TEST) -> str:
        weights = f"contour_weight: {contour} main_weight: {main} coarse_weight: {coarse} normalized: 0"
        message = f"{phase} weight_euclidean_loss_param {{ {weights} }}"
        return layer(name, "WeightEuclideanLoss", "fc2 landmark", name, message)

    text += loss("loss", 1, 1, 1, phase="") + layer("error", "EuclideanLoss", "fc2 landmark", "error", TEST)
    return text + loss("main_loss", 0, 1, 0) + loss("contour_loss", 1, 0, 0) + loss("coarse_loss", 0, 0, 1)


def vgg_shadow_deploy() -> str:
    return INPUT.format("VGG-Shadow", 70, 60) + vgg_shadow_trunk()
