"""Evaluate landmark weights on annotated photos: 300-W's validation part and test sets, or any data.

A missed face is a failure: it counts in the failure rate, the AUC and the CED, and is left out of the mean
error (NME), beside which the number of missed faces is given.
"""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from facealign.commands import add_data, add_network_options, add_strict, network_files, program
from facealign.commands.messages import (
    STANDARD_OUTPUT,
    figures,
    json_files,
    note,
    number_of,
    problem,
    progress,
    skipped,
)
from facealign.datasets.detected_boxes import read_boxes
from facealign.datasets.sample import Sample
from facealign.datasets.scan import faces_in
from facealign.datasets.validation_300w import FACES, in_held_out, in_validation
from facealign.errors import FaceAlignError
from facealign.evaluation.ced_plot import plot_ced
from facealign.evaluation.figures import results
from facealign.evaluation.markdown_report import markdown
from facealign.evaluation.measure import (
    FindBox,
    box_of_annotation,
    detected_box,
    limit_per_folder,
    listed_box,
    measure,
)
from facealign.evaluation.results_file import results_text, write_results
from facealign.inference.face_aligner import FaceAligner
from facealign.inference.model_zoo import default_weights, second_of
from facealign.io.atomic import write_together
from facealign.io.outputs import check_outputs
from facealign.lmdb.meta import META, read_meta
from facealign.networks.recipes import RECIPES
from facealign.training.held_out import knows_held_out_faces
from facealign.training.snapshots import newest_weights

EXAMPLES = (
    "evaluate --data data/300w --json out/stage3.json",
    "evaluate --data data/300w --weights models/mobilenet_v2_stage2.onnx --json out/stage2.json --plot",
    "evaluate --data data/300w --cascade --flip --json out/cascade.json --markdown",
)
"""Command lines that its help shows."""


def options() -> argparse.ArgumentParser:
    """The parser of its command line."""
    parser = program(__doc__, EXAMPLES)
    source = parser.add_argument_group("input")
    add_data(source)
    source.add_argument(
        "--boxes",
        default="mtcnn",
        metavar="mtcnn|landmarks|FILE",
        help="detected (default), derived from the annotation, or from a file of facealign detect-faces",
    )
    add_strict(source)
    output = parser.add_argument_group("output")
    output.add_argument(
        "--json",
        type=Path,
        required=True,
        metavar="FILE",
        help="file for the figures; -: standard output, the table then goes to standard error",
    )
    output.add_argument(
        "--plot",
        nargs="?",
        const=True,
        metavar="PNG",
        help="draw the CED curves (default PNG: beside the figures)",
    )
    output.add_argument(
        "--markdown", nargs="?", const=True, metavar="MD", help="write the table (default MD: beside them)"
    )
    output.add_argument("--name", help="the method's name in the table (default: network and stage)")
    faces = parser.add_argument_group("faces")
    faces.add_argument(
        "--all",
        action="store_true",
        help="include the training faces (default: only when there are no others)",
    )
    faces.add_argument(
        "--validation-of",
        type=Path,
        metavar="DIR",
        help="evaluate only the validation faces of these LMDBs (facealign make-lmdb)",
    )
    faces.add_argument(
        "--held-out",
        action="store_true",
        help="evaluate only 300-W's held-out part, by which nothing was chosen: once, before a release",
    )
    faces.add_argument("--limit", type=int, metavar="N", help="only the first N images of each folder")
    add_network_options(parser.add_argument_group("network"), "the newest trained stage, else released")
    return parser


def arguments_of(command: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = options()
    arguments = parser.parse_args(command)
    if arguments.limit is not None and arguments.limit < 1:
        parser.error("--limit: expected 1 or more")
    if arguments.held_out and (arguments.all or arguments.validation_of is not None):
        parser.error("--held-out: not with --all or --validation-of")
    if arguments.json == STANDARD_OUTPUT:
        for option in ("plot", "markdown"):
            if getattr(arguments, option) is True:
                parser.error(
                    f"--{option}: name its file, as --json {STANDARD_OUTPUT} names none to be beside"
                )
    return arguments


def main() -> None:
    arguments = arguments_of()
    json_file = arguments.json
    table = json_file.with_suffix(".md") if arguments.markdown is True else arguments.markdown
    plot = json_file.with_suffix(".png") if arguments.plot is True else arguments.plot
    is_chosen = arguments.weights is None
    arguments.weights = arguments.weights or newest()
    read = [arguments.data, Path(arguments.boxes), *network_files(arguments)]
    if arguments.validation_of is not None:
        read += [arguments.validation_of, arguments.validation_of / META]
    outputs = [*json_files(), *[Path(path) for path in (table, plot) if path is not None]]
    check_outputs(outputs, inputs=read)
    found = faces_in(arguments.data, strict=arguments.strict)
    for file, reason in found.skipped:
        skipped(file, reason)
    if arguments.held_out:
        samples, validation, whole = held_out(found.samples, arguments.data), frozenset[str](), FACES
    else:
        samples, validation, whole = chosen(found.samples, arguments.validation_of, arguments.all)
    samples = limit_per_folder(samples, arguments.limit)
    if is_chosen:
        note(f"weights: {arguments.weights}")

    detects = arguments.boxes == "mtcnn"
    second = second_of(arguments.cascade, arguments.engine)
    aligner = FaceAligner.open(
        arguments.weights,
        arguments.engine,
        detector=detects,
        published=arguments.published,
        flip=arguments.flip,
        cascade=second,
    )
    if aligner.cascade_mismatch:
        problem("warning", f"{second}: {aligner.cascade_mismatch}")
    with progress(samples, total=len(samples), unit="images", what="evaluate") as bar:
        measured = measure(
            bar,
            finder(arguments.boxes, aligner),
            aligner.landmarks_in,
            strict=arguments.strict,
            on_skip=skipped,
        )
    measured.skipped = [*found.skipped, *measured.skipped]
    if not measured.errors:
        raise FaceAlignError(
            f"{arguments.data}: none of the {number_of(len(samples), 'image')} could be used"
        )

    spec = aligner.spec
    name = method(arguments.name, aligner)
    known = [path.name for path in (arguments.weights, second) if path and knows_held_out_faces(path)]
    if known and any(map(in_held_out, samples)):
        problem("warning", f"{', '.join(known)}: trained on the held-out faces: says nothing of other faces")
        name += " (trained on the held-out faces)"
    data: dict[str, Any] = results(
        samples,
        measured,
        {
            "method": name,
            "input": f"{spec.input_height}x{spec.input_width}",
            "weights": arguments.weights.name,
            "engine": type(aligner.engine).__name__,
            "boxes": arguments.boxes,
            "crop": spec.crop,
            "flip": arguments.flip,
            "cascade": None if second is None else second.name,
            "limit": arguments.limit,
        },
        validation,
        whole,
    )
    text = markdown([data])
    writers: dict[Path, Callable[[Path], object]] = {
        file: lambda path: write_results(path, data) for file in json_files()
    }
    if table is not None:
        writers[Path(table)] = lambda path: path.write_text(text, encoding="utf-8")
    if plot is not None:
        writers[Path(plot)] = lambda path: plot_ced(path, [data])
    write_together(writers)
    figures(text)
    if json_file == STANDARD_OUTPUT:
        sys.stdout.write(results_text(data))


def method(name: str | None, aligner: FaceAligner) -> str:
    """Name of the method in the tables, with cascade and flip averaging."""
    parts = [name or aligner.spec.name]
    if aligner.second is not None:
        parts.append(f"cascade with {aligner.second.spec.name}")
    if aligner.net.flip:
        parts.append("flip-averaged")
    return ", ".join(parts)


def newest() -> Path:
    """The newest trained weights, of the last recipe that has any, else the released ones.

    Weights of a second cascade stage are not considered.
    """
    for recipe in reversed(list(RECIPES.values())):
        if recipe.network == "mobilenet_v2" and not recipe.second_level:
            weights = newest_weights(Path(recipe.run_directory), recipe.stage)
            if weights is not None:
                return weights
    return default_weights("auto")


def chosen(
    samples: list[Sample], lmdbs: Path | None, everything: bool
) -> tuple[list[Sample], frozenset[str], int]:
    """Samples to evaluate, the paths (`Sample.relative`) of the validation faces among them, and the number
    of those in the whole validation part.

    The samples are 300-W's validation part and test sets, or, where there are none, all.
    """
    if lmdbs is not None:
        kept, number = set_apart(samples, lmdbs)
        return kept, frozenset(sample.relative for sample in kept), number
    validation = frozenset(sample.relative for sample in samples if in_validation(sample))
    kept = [sample for sample in samples if sample.is_test or sample.relative in validation]
    if everything or not kept:
        return samples, validation, FACES
    if len(kept) < len(samples):
        left_out = number_of(len(samples) - len(kept), "training face")
        note(f"left out: {left_out} (--all includes them)")
    return kept, validation, FACES


def held_out(samples: list[Sample], root: Path) -> list[Sample]:
    """The samples of 300-W's held-out part. Raises FaceAlignError when there is none."""
    kept = [sample for sample in samples if in_held_out(sample)]
    if not kept:
        raise FaceAlignError(
            f"{root}: none of 300-W's held-out faces, which are of helen/trainset and lfpw/trainset"
        )
    return kept


def set_apart(samples: list[Sample], directory: Path) -> tuple[list[Sample], int]:
    """The samples in the validation part of the LMDBs in `directory`, and the number of faces in that."""
    names = read_meta(directory).validation_faces
    kept = [sample for sample in samples if sample.relative in names]
    if not kept:
        raise FaceAlignError(f"{directory}: none of its validation faces is in this data")
    return kept, len(names)


def finder(boxes: str, aligner: FaceAligner) -> FindBox:
    """The finder of boxes that `--boxes` selects."""
    if boxes == "landmarks":
        return box_of_annotation
    if boxes == "mtcnn":
        if aligner.detector is None:
            raise FaceAlignError("--boxes mtcnn: the aligner was opened without a detector")
        return detected_box(aligner.detector.detect)
    _, faces = read_boxes(Path(boxes))
    return listed_box(faces, boxes)
