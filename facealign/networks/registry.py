"""The landmark networks by name: what builds their prototxt, and how their crops and outputs are read."""

from facealign.errors import FaceAlignError
from facealign.networks import mobilenet_v2, vgg_shadow
from facealign.networks.sources import MEAN, SCALE
from facealign.spec import ModelSpec

BUILDERS = {"mobilenet_v2": mobilenet_v2, "vgg_shadow": vgg_shadow}
"""Network name -> its module, with SIZE, OUTPUT, deploy() and train_val(recipe, source)."""


def spec_of(network: str, stage: str = "", deploy: str = "") -> ModelSpec:
    """The description that goes with weights of `network`; deploy: its net, relative to that description.

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
