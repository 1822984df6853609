"""The landmark networks by name: builders of their prototxt, and descriptions of their weights."""

import dataclasses

from facealign.crops.model_spec import ModelSpec
from facealign.errors import FaceAlignError
from facealign.io.package_data import package_folder
from facealign.networks import mobilenet_v2, vgg_shadow
from facealign.networks.data_layers import MEAN, SCALE

BUILDERS = {"mobilenet_v2": mobilenet_v2, "vgg_shadow": vgg_shadow}
"""Network name -> its module, with SIZE, OUTPUT, deploy() and train_val(recipe, source)."""
PROTOTXT = package_folder("prototxt")


def spec_of(network: str, stage: str = "", deploy: str = "") -> ModelSpec:
    """The description of weights of `network`; deploy: path of its net, relative to the description's file.

    Raises FaceAlignError when there is no such network.
    """
    if network not in BUILDERS:
        raise FaceAlignError(f"no network {network!r}; there are {', '.join(BUILDERS)}")
    builder = BUILDERS[network]
    height, width = builder.SIZE
    return ModelSpec(
        network=network,
        stage=stage,
        deploy=deploy,
        output_name=builder.OUTPUT,
        input_height=height,
        input_width=width,
        mean=MEAN,
        scale=SCALE,
    )


def published_spec() -> ModelSpec:
    """The description of the weights trained by the reference's author, which come without one."""
    deploy = PROTOTXT / "mobilenet_v2" / "stage2" / "deploy.prototxt"
    return dataclasses.replace(spec_of("mobilenet_v2", "stage2", str(deploy)), crop="published")
