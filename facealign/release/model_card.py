"""Model card of released weights: what they are, their training data, their figures."""

import dataclasses
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any

from facealign.crops.model_spec import ModelSpec
from facealign.datasets.validation_300w import FACES
from facealign.networks.recipes import CHOICES, FIELDS_LEFT_OUT, NUMBERS, Recipe
from facealign.training.lineage import runs_before
from facealign.training.log import LogRow

SOURCES = {
    "afw": "AFW, annotated by 300-W",
    "helen/trainset": "HELEN train, annotated by 300-W",
    "lfpw/trainset": "LFPW train, annotated by 300-W",
    "300w_lp_afw": "AFW turned by a 3-D model (300W-LP)",
    "helen_256": "HELEN train, from copies of 256 pixels",
    "lfw": "Labeled Faces in the Wild, points by two predictors, no annotator",
    "youtube_faces": "YouTube Faces, points from a tracker",
}
"""Descriptions of known folders of training faces; others are only named."""
ROUNDED = "\nThe weights are rounded to half precision, which an archive compresses to about half.\n"


def model_card(
    name: str,
    recipe: Recipe,
    run: Mapping[str, Any],
    data: Mapping[str, Any],
    rows: Sequence[LogRow],
    iteration: int,
    spec: ModelSpec,
    files: Mapping[str, str],
    measured: str | None = None,
    rounded: bool = False,
) -> str:
    """A model card in Markdown.

    run, data: run.json of the training and meta.json of its LMDBs; rows: the training's log; files: name ->
    SHA-256 of the released files; measured: figures of an evaluation, in Markdown; without them, the log's
    last validation up to `iteration` is quoted; rounded: whether the weights are, to half precision.
    Raises ValueError when there are no figures and no validation.
    """
    figures = _quoted(rows, iteration, "after" in data) if measured is None else measured
    train, val = data["parts"]["train"], data["parts"]["val"]
    seconds = max(row.seconds for row in rows if row.iteration <= iteration)
    folders = "".join(
        f"| {folder} | {count} | {val['faces'].get(folder, 0)} | {_source(folder)} |\n"
        for folder, count in train["faces"].items()
    )
    digests = "".join(f"- `{file}`: sha256 {digest}\n" for file, digest in sorted(files.items()))
    last = {**run, "iteration": iteration, "seconds": seconds, "samples": data}
    return f"""# {name}

68 facial landmarks of a {spec.input_width}x{spec.input_height} crop; network {spec.network}, {recipe.name}.

{recipe.description}
{_changes(run["recipe"], recipe)}{_first_net(data, spec.share)}
## Figures

Mean error on the validation part: {_validated(data)} faces (below), none of whose photos, or images made from
them, was trained on. {figures}
Not measured on 300-W's test sets: they were not at hand.

## Training

{_runs([*runs_before(run), last], train["samples"])}
| Folder | Faces trained on | Faces for validation | What it is |
| --- | --- | --- | --- |
{folders}
SHA-256 of the training samples: {train["sha256"]},
of the validation samples: {val["sha256"]},
of photos, annotations and boxes: {data["source_sha256"]}.

## Files
{ROUNDED if rounded else ""}
{digests}
The JSON file and the ONNX file's metadata describe how to crop for these weights and how to read their
output.

## Use

The faces of 300-W and of the other sets are for research, not for commercial use, and so are these weights.
They were trained on photos of mostly adult, well-lit faces; expect larger errors on children, on faces turned
far away or covered, and on groups of people that such photos show less often.
"""


def _source(folder: str) -> str:
    """What a folder of training faces is; "" if nothing is known of it."""
    first, *others = folder.split("/")
    if first.endswith("_turned"):
        return f"faces of {'/'.join([first.removesuffix('_turned'), *others])}, turned by a face mesh"
    return SOURCES.get(folder, "")


def _validated(data: Mapping[str, Any]) -> str:
    """Number of the validation faces: "300", or, where some of 300-W's are missing, "10 of 300"."""
    number = data["parts"]["val"]["samples"]
    return f"{number} of {FACES}" if data.get("validation_is_fixed") and number < FACES else str(number)


def _changes(trained: Mapping[str, Any], recipe: Recipe) -> str:
    """A sentence on the settings of a training, of run.json, that are not the recipe's; "" if none."""
    own = dataclasses.asdict(recipe)
    changes = [
        f"{name} {trained[name]} (the recipe's: {'none' if own[name] is None else own[name]})"
        for name in (*CHOICES, *NUMBERS)
        if name in trained and trained[name] != own[name]
    ]
    text = f"Trained with other settings: {', '.join(changes)}."
    return f"\n{textwrap.fill(text, 110, break_on_hyphens=False)}\n" if changes else ""


def _quoted(rows: Sequence[LogRow], iteration: int, second: bool) -> str:
    """The log's last validation up to `iteration`. Raises ValueError when there is none."""
    validated = [row for row in rows if row.nme_inter_pupil is not None and row.iteration <= iteration]
    if not validated:
        raise ValueError("the log holds no validation to quote")
    last = validated[-1]
    return f"""Boxes by MTCNN, one run of {"each network" if second else "the network"}.

| NME, % of the inter-pupil distance | NME, % of the inter-ocular distance |
| --- | --- |
| {last.nme_inter_pupil:.2f} | {last.nme_inter_ocular:.2f} |
"""


def _first_net(data: Mapping[str, Any], share: float) -> str:
    """Paragraph on the first cascade stage, for weights of a second one; else empty."""
    after = data.get("after")
    if after is None:
        return ""
    trained = "crops augmented about as far as it errs" if data.get("fresh") else "its errors"
    blend = f"Blend weight of its prediction {share:g}, of the first stage's {1 - share:g}.\n"
    return f"""
Second cascade stage, on crops by the landmarks of a first stage, trained on
{trained}:
`{after["weights"]}`, sha256 {after["sha256"]}.
{blend if share < 1 else ""}"""


def _runs(runs: Sequence[Mapping[str, Any]], samples: int) -> str:
    """Description of the training, run by run; samples: their number in the last run's LMDBs."""
    if len(runs) == 1:
        return "".join(
            f"{textwrap.fill(sentence, 110)}\n\n" for sentence in _run(runs[0], None, f"{samples} samples")
        )
    lines = ["In runs one after another:\n"]
    for number, run in enumerate(runs, 1):
        start = None if number == 1 else "the run before"
        many = f"{samples} samples" if number == len(runs) else "Samples"
        described = " ".join(_run(run, start, many))
        lines.append(textwrap.fill(described, 110, initial_indent=f"{number}. ", subsequent_indent="   "))
    return "\n".join(lines) + "\n"


def _run(run: Mapping[str, Any], start: str | None, many: str) -> list[str]:
    """Schedule and samples of a run, as far as run.json has them, a sentence each."""
    sentences = [f"{_schedule(run, start)}."]
    if "samples" in run:
        sentences.append(f"{many}, {_augmentation(run['samples'], run.get('fresh'))}.")
    return sentences


def _schedule(run: Mapping[str, Any], start: str | None) -> str:
    """Iterations and solver of a run; start: what it started from, if not as run.json says."""
    recipe = Recipe(**{**FIELDS_LEFT_OUT, **run["recipe"]})
    return (
        f"{run['iteration']} iterations of Adam from {start or _start(recipe, run.get('start'))}: "
        f"batch {recipe.batch_size}, base rate {recipe.base_lr:g}, policy {recipe.lr_policy}, "
        f"weight decay {recipe.weight_decay:g}, {_loss(recipe)}, seed {run['seed']}; "
        f"{run['seconds'] / 60:.0f} minutes"
    )


def _start(recipe: Recipe, start: Mapping[str, Any] | str | None) -> str:
    if start is None:
        return "random weights" if recipe.starts_from is None else f"the weights of {recipe.starts_from}"
    if isinstance(start, str):  # older versions kept the path only
        return f"`{PurePath(start).name}`"
    return f"`{start['weights']}` (sha256 {start['sha256']})"


def _augmentation(data: Mapping[str, Any], on_the_fly: Mapping[str, Any] | None) -> str:
    augmentation = data["augmentation"]
    described = (
        f"{_copies(data, on_the_fly)}, seed {data['seed']}: "
        f"flip {augmentation['flip']:g}, shift {augmentation['shift']:g} of the crop's side, "
        f"scale {_range(augmentation['scale_range'])}, "
        f"rotation {_range(augmentation['rotate_range'])} degrees, "
        f"noise {_range(augmentation['noise_std'])} grey levels"
    )
    if "after" in data and not data.get("fresh"):
        described += "; applied to the first stage's crop, except noise, which is on the second stage's"
    if "teacher" in data:
        described += f"; {_teacher(data['teacher'])}"
    return described


def _teacher(teacher: Mapping[str, Any]) -> str:
    distilled = f"landmarks distilled with weight {teacher['share']:g} from"
    if "points" in teacher:
        return f"{distilled} {_points(teacher['points'])}"
    return f"{distilled} the predictions of {' and '.join(map(_file, teacher['networks']))}"


def _points(points: Mapping[str, Any]) -> str:
    """A folder of predicted landmarks: what made it, and for how many faces it has any."""
    members = f" the predictions of {' and '.join(points['members'])} in" if points.get("members") else ""
    described = f", described by {_file(points['description'])}" if "description" in points else ""
    faces = points["moved"] + points["kept"]
    return (
        f"{members} a folder of landmarks{described}, which has {points['moved']} of the {faces} faces; the "
        "others keep their annotation"
    ).lstrip()


def _file(file: Mapping[str, str]) -> str:
    return f"`{file['weights']}` (sha256 {file['sha256']})"


def _loss(recipe: Recipe) -> str:
    if recipe.function is not None:
        return f"LandmarkLoss ({recipe.function}, over the inter-pupil distance)"
    return f"Euclidean loss ({'divided by the eye distance' if recipe.normalized else 'plain'})"


def _copies(data: Mapping[str, Any], on_the_fly: Mapping[str, Any] | None) -> str:
    if data.get("fresh"):
        settings = on_the_fly or {}
        weights = [f"{folder} {weight:g}" for folder, weight in settings.get("weights", {}).items()]
        drawn = f", drawn from the folders in the ratio {', '.join(weights)}" if weights else ""
        changes = f", changed at times by {', '.join(settings['changes'])}" if settings.get("changes") else ""
        return f"augmented on the fly{drawn}{changes}"
    others = [f"{count} of {folder}" for folder, count in sorted(data.get("copies_of", {}).items())]
    return f"{data['copies']} a face" + (f" ({', '.join(others)})" if others else "")


def _range(values: Sequence[float]) -> str:
    return f"{values[0]:g} to {values[1]:g}"
