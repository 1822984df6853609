"""Release a run's newest weights: caffemodel, ONNX, the JSON that describes them, and a model card.

The caffemodel holds the deploy net with its weights and no trace of the machine that trained it.
"""

import argparse
import dataclasses
import hashlib
import os
from pathlib import Path

import numpy as np
import onnx

from facealign.caffe_files.caffemodel import Blobs, matching_weights, read_weights, with_weights
from facealign.commands import program
from facealign.commands.messages import json_files, result, write_json
from facealign.crops.model_spec import ModelSpec, load_spec
from facealign.engines.onnx import OnnxEngine
from facealign.engines.onnx_export import export_onnx
from facealign.engines.opening import files_of
from facealign.errors import FaceAlignError
from facealign.evaluation.markdown_report import validation_by_data_set
from facealign.evaluation.results_file import read_results
from facealign.inference.landmark_network import LandmarkNetwork
from facealign.io.atomic import replacing_all
from facealign.io.outputs import check_outputs
from facealign.io.unfinished import temporary_folder
from facealign.lmdb.meta import META, read_meta
from facealign.lmdb.pairs import read_part
from facealign.networks.recipes import Recipe, recipe_named
from facealign.networks.registry import BUILDERS, PROTOTXT
from facealign.release.model_card import model_card
from facealign.training.lineage import RUN, read_run
from facealign.training.log import LOG, read_log
from facealign.training.snapshots import snapshots

EXAMPLES = (
    "release --run runs/mobilenet_v2_stage1 --output out/models",
    "release --run runs/mobilenet_v2_stage3 --data data/lmdb_on_the_fly --evaluation out/stage3.json",
)
"""Command lines that its help shows."""


def options() -> argparse.ArgumentParser:
    """The parser of its command line."""
    parser = program(__doc__, EXAMPLES, json="the files and their checksums")
    source = parser.add_argument_group("input")
    source.add_argument("--run", type=Path, required=True, metavar="DIR", help="a run of facealign train")
    source.add_argument("--data", type=Path, default=Path("data/lmdb"), metavar="DIR", help="its LMDBs")
    source.add_argument(
        "--evaluation",
        type=Path,
        metavar="JSON",
        help="figures for the card, from facealign evaluate on these weights (default: the last validation "
        "in the run's log)",
    )
    output = parser.add_argument_group("output")
    output.add_argument(
        "--output", type=Path, default=Path("models"), metavar="DIR", help="folder of the released files"
    )
    output.add_argument(
        "--half",
        action="store_true",
        help="round the weights to half precision, which an archive compresses to about half",
    )
    return parser


def arguments_of(command: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    return options().parse_args(command)


def main() -> None:
    arguments = arguments_of()
    described = read_run(arguments.run)
    recipe = recipe_named(described["recipe"]["name"])
    found = snapshots(arguments.run, recipe.stage)
    if not found:
        raise FaceAlignError(f"{arguments.run}: no complete snapshot of {recipe.stage} in it")
    data = read_meta(arguments.data)
    if described.get("data_sha256") != data.digests:
        raise FaceAlignError(f"{arguments.data}: not the samples that {arguments.run} was trained on")
    weights = found[0].weights
    name = recipe.snapshot_name
    read = [*files_of(weights), arguments.run / RUN, arguments.run / LOG, arguments.data / META]
    check_outputs(
        [arguments.output / f"{name}{suffix}" for suffix in (".caffemodel", ".onnx", ".json", ".md")]
        + json_files(),
        inputs=[*read, arguments.data, *(path for path in [arguments.evaluation] if path is not None)],
    )
    measured = None
    if arguments.evaluation is not None:
        measured = figures_of(arguments.evaluation, recipe, {name, weights.stem})
    prototxt = PROTOTXT / recipe.name / "deploy.prototxt"
    spec = dataclasses.replace(
        load_spec(weights), deploy=os.path.relpath(prototxt, arguments.output.resolve())
    )
    deploy = BUILDERS[recipe.network].deploy()
    blobs = matching_weights(deploy, read_weights(weights), recipe.network, str(weights))
    if arguments.half:
        blobs = rounded(blobs, str(weights))
    model = export_onnx(deploy, blobs, spec.portable(), where=str(weights))
    spec = dataclasses.replace(spec, mirror_bias=bias_of(model, spec, arguments.data))
    model = export_onnx(deploy, blobs, spec.portable(), where=str(weights))
    contents = {
        f"{name}.caffemodel": with_weights(deploy, blobs).SerializeToString(deterministic=True),
        f"{name}.onnx": model.SerializeToString(deterministic=True),
        f"{name}.json": spec.to_json().encode(),
    }
    digests = {file: hashlib.sha256(content).hexdigest() for file, content in contents.items()}
    try:
        rows = read_log(arguments.run / LOG)
        iteration = found[0].iteration
        card = model_card(
            *(name, recipe, described, data.values, rows, iteration, spec, digests, measured),
            rounded=arguments.half,
        )
    except ValueError as error:
        raise FaceAlignError(f"{arguments.run / LOG}: {error}") from error
    except (KeyError, TypeError, AttributeError) as error:
        raise FaceAlignError(
            f"{arguments.run / RUN}, {arguments.data / META}: lack what the card says ({error!r}); make the "
            "LMDBs and the run again"
        ) from error
    contents[f"{name}.md"] = card.encode()
    with replacing_all([arguments.output / file for file in contents]) as partials:
        for partial, content in zip(partials, contents.values(), strict=True):
            partial.write_bytes(content)
    result(f"{arguments.output / name}: iteration {iteration}: {', '.join(contents)}")
    write_json(
        {
            "name": name,
            "iteration": iteration,
            "files": {
                str(arguments.output / file): {
                    "bytes": len(content),
                    "sha256": hashlib.sha256(content).hexdigest(),
                }
                for file, content in contents.items()
            },
        }
    )


def rounded(blobs: Blobs, where: str) -> Blobs:
    """Weights rounded to half precision (11 significant bits), still float32.

    Raises FaceAlignError when one is beyond the range of that. `where` names the weights in the error.
    """
    with np.errstate(over="ignore"):
        result = {
            name: [blob.astype(np.float16).astype(np.float32) for blob in arrays]
            for name, arrays in blobs.items()
        }
    if not all(np.isfinite(blob).all() for arrays in result.values() for blob in arrays):
        raise FaceAlignError(f"{where}: a weight is too large for half precision; release without --half")
    return result


def bias_of(model: onnx.ModelProto, spec: ModelSpec, data: Path) -> float:
    """`mirror_bias` on the validation images, without their landmarks; to a thousandth of a pixel."""
    images, _ = read_part(data, "val")
    with temporary_folder() as temporary:
        path = temporary / "model.onnx"
        path.write_bytes(model.SerializeToString())
        net = LandmarkNetwork(OnnxEngine(path), spec)
    return round(net.mirror_bias(list(images.transpose(0, 2, 3, 1))), 3)


def figures_of(path: Path, recipe: Recipe, names: set[str]) -> str:
    """Figures of an evaluation, in Markdown; names: accepted stems of the weights file.

    Raises FaceAlignError when `path` is not an evaluation, has no validation part, or is of other weights.
    """
    evaluation = read_results(path)
    settings = evaluation.get("settings", {})
    first, second = settings.get("weights", "?"), settings.get("cascade")
    last = first if second is None else second
    if (second is not None) != recipe.second_level or Path(last).stem not in names:
        used = first if second is None else f"{first} and {second}"
        wanted = f"{'a first stage and ' if recipe.second_level else ''}{' or '.join(sorted(names))}"
        raise FaceAlignError(f"{path}: measured with {used}, not with {wanted}")
    try:
        return validation_by_data_set(evaluation)
    except KeyError as error:
        raise FaceAlignError(f"{path}: an evaluation without {error}; evaluate again") from error
