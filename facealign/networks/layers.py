"""Layers that every network is built from."""

from facealign.caffe_files.proto import caffe_pb2


def filler(kind: str, value: float | None = None) -> caffe_pb2.FillerParameter:
    """A weight filler: "xavier", "msra", "constant"..."""
    return caffe_pb2.FillerParameter(type=kind, value=value)


def param(lr: float, decay: float | None = None) -> caffe_pb2.ParamSpec:
    """Learning-rate and weight-decay multipliers of one blob."""
    return caffe_pb2.ParamSpec(lr_mult=lr, decay_mult=decay)


def include(phase: int) -> list[caffe_pb2.NetStateRule]:
    """The rule that keeps a layer to one phase (caffe_pb2.TRAIN or TEST)."""
    return [caffe_pb2.NetStateRule(phase=phase)]  # type: ignore[arg-type]


def input_layer(channels: int, height: int, width: int, name: str = "data") -> caffe_pb2.LayerParameter:
    """The Input layer of a deploy net, for one image; the caller reshapes it for more."""
    shape = caffe_pb2.BlobShape(dim=[1, channels, height, width])
    return caffe_pb2.LayerParameter(
        name=name, type="Input", top=[name], input_param=caffe_pb2.InputParameter(shape=[shape])
    )


def relu(name: str, blob: str, slope: float) -> caffe_pb2.LayerParameter:
    """A ReLU in place; slope: of its negative side."""
    layer = caffe_pb2.LayerParameter(name=name, type="ReLU", bottom=[blob], top=[blob])
    if slope:
        layer.relu_param.negative_slope = slope
    return layer


def noise(name: str, blob: str, std: float) -> caffe_pb2.LayerParameter:
    """Gaussian noise added to the input in place; in both phases, as published, without effect in TEST."""
    return caffe_pb2.LayerParameter(
        name=name,
        type="Noise",
        bottom=[blob],
        top=[blob],
        noise_param=caffe_pb2.NoiseParameter(gaussian_std=std, bias=0),
    )


def inner_product(name: str, bottom: str, outputs: int, published: bool = True) -> caffe_pb2.LayerParameter:
    """A fully connected layer: xavier weights, zero bias; with `published`, lr_mult 1 and 2 written out."""
    return caffe_pb2.LayerParameter(
        name=name,
        type="InnerProduct",
        bottom=[bottom],
        top=[name],
        param=[param(1), param(2)] if published else [],
        inner_product_param=caffe_pb2.InnerProductParameter(
            num_output=outputs, weight_filler=filler("xavier"), bias_filler=filler("constant", 0)
        ),
    )


def landmark_loss(
    name: str,
    prediction: str,
    normalized: int,
    weights: tuple[float, float, float] = (1, 1, 1),
    phase: int | None = None,
    function: str | None = None,
    loss_weight: float | None = None,
) -> caffe_pb2.LayerParameter:
    """Loss layer that compares `prediction` with the blob `landmark`.

    WeightEuclideanLoss with `normalized` and the weights of contour, main and coarse landmarks; or
    LandmarkLoss, if its `function` is given. phase: None for both; loss_weight: weight in the solver's total,
    if not 1.
    """
    layer = caffe_pb2.LayerParameter(
        name=name,
        type="WeightEuclideanLoss" if function is None else "LandmarkLoss",
        bottom=[prediction, "landmark"],
        top=[name],
        include=[] if phase is None else include(phase),
        loss_weight=[] if loss_weight is None else [loss_weight],
    )
    if function is None:
        contour, main, coarse = weights
        message = layer.weight_euclidean_loss_param
        message.contour_weight, message.main_weight, message.coarse_weight = contour, main, coarse
        message.normalized = normalized
    else:
        layer.landmark_loss_param.CopyFrom(
            caffe_pb2.LandmarkLossParameter(
                function=function, normaliser=caffe_pb2.LandmarkLossParameter.INTER_PUPIL
            )
        )
    return layer


def euclidean_loss(prediction: str, top: str = "error") -> caffe_pb2.LayerParameter:
    """The layer `error` with the top `top`: plain Euclidean loss of `prediction`, in phase TEST."""
    return caffe_pb2.LayerParameter(
        name="error",
        type="EuclideanLoss",
        bottom=[prediction, "landmark"],
        top=[top],
        include=include(caffe_pb2.TEST),
    )
