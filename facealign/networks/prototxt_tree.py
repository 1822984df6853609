"""Paths and contents of all committed prototxt files."""

from facealign.caffe_files import prototxt
from facealign.networks import mtcnn
from facealign.networks.recipes import RECIPES
from facealign.networks.registry import BUILDERS
from facealign.networks.solver import solver


def files() -> dict[str, str]:
    """Path relative to prototxt/ -> content, for all networks and stages."""
    result = {}
    for recipe in RECIPES.values():
        builder = BUILDERS[recipe.network]
        title = f"{recipe.name}: {recipe.description}"
        net = f"prototxt/{recipe.name}/train_val.prototxt"
        result[f"{recipe.name}/train_val.prototxt"] = prototxt.text(builder.train_val(recipe), title)
        result[f"{recipe.name}/deploy.prototxt"] = prototxt.text(builder.deploy(), title)
        result[f"{recipe.name}/solver.prototxt"] = prototxt.text(solver(recipe, net), title)
    for name in mtcnn.NETS:
        title = f"MTCNN's {name}; pixels are (value - 127.5) / 128, RGB."
        result[f"mtcnn/{name}.prototxt"] = prototxt.text(mtcnn.deploy(name), title)
    return result
