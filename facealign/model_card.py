"""The card that goes with released weights: what they are, what they were made from, how good they are."""

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from facealign.networks.recipes import Recipe
from facealign.spec import ModelSpec
from facealign.training_log import LogRow

SOURCES = {
    "afw": "AFW, annotated by 300-W",
    "helen/trainset": "HELEN train, annotated by 300-W",
    "lfpw/trainset": "LFPW train, annotated by 300-W",
    "300w_lp_afw": "AFW turned by a 3-D model (300W-LP)",
    "helen_256": "HELEN train, from copies of 256 pixels",
    "youtube_faces": "YouTube Faces, points from a tracker",
}
"""What is known of a folder of training faces; any other is named only."""


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
) -> str:
    """The Markdown of a card.

    run, data: run.json of the training and meta.json of its LMDBs; rows: the training's log; files: name ->
    SHA-256 of the released files; measured: figures of an evaluation, in Markdown; without, the log's last
    validation up to `iteration` is quoted.
    Raises ValueError when there is neither.
    """
    figures = _quoted(rows, iteration, "after" in data) if measured is None else measured
    train, val = data["parts"]["train"], data["parts"]["val"]
    augmentation = data["augmentation"]
    seconds = max(row.seconds for row in rows if row.iteration <= iteration)
    folders = "".join(
        f"| {folder} | {count} | {val['faces'].get(folder, 0)} | {SOURCES.get(folder, '')} |\n"
        for folder, count in train["faces"].items()
    )
    start = f"the weights of {recipe.starts_from}" if recipe.starts_from else "random weights"
    digests = "".join(f"- `{file}`: sha256 {digest}\n" for file, digest in sorted(files.items()))
    schedule = (
        f"{iteration} iterations of Adam from {start}: batch {recipe.batch_size}, "
        f"base rate {recipe.base_lr:g}, policy {recipe.lr_policy}, weight decay {recipe.weight_decay:g}, "
        f"{_loss(recipe)}, seed {run['seed']}; {seconds / 60:.0f} minutes"
    )
    variation = (
        f"{train['samples']} samples, {_copies(data, run.get('fresh'))}, seed {data['seed']}: "
        f"flip {augmentation['flip']:g}, shift {augmentation['shift']:g} of the crop's side, "
        f"scale {_range(augmentation['scale_range'])}, "
        f"rotation {_range(augmentation['rotate_range'])} degrees, "
        f"noise {_range(augmentation['noise_std'])} grey levels"
    )
    if "after" in data:
        variation += "; so varies the first network's crop, but for noise, which is on the second's"
    return f"""# {name}

68 facial landmarks of a {spec.input_width}x{spec.input_height} crop; network {spec.network}, {recipe.name}.

{recipe.description}
{_first_net(data)}
## Figures

Mean error on the validation part: {val["samples"]} faces (below), none of whose photos, or pictures made from
them, was trained on. {figures}
Not measured on 300-W's test sets: they were not at hand.

## Training

{textwrap.fill(schedule + ".", 110)}

{textwrap.fill(variation + ".", 110)}

| Folder | Faces trained on | Faces for validation | What it is |
| --- | --- | --- | --- |
{folders}
SHA-256 of the training samples: {train["sha256"]},
of the validation samples: {val["sha256"]},
of photos, annotations and boxes: {data["source_sha256"]}.

## Files

{digests}
How to crop for these weights and how to read their output stands in the JSON file, and in the ONNX file's
metadata.

## Use

The faces of 300-W and of the other sets are for research, not for commercial use. So are these weights.
They were trained on photos of mostly adult, well-lit faces; expect larger errors on children, on faces turned
far away or covered, and on groups of people that such photos show less often.
"""


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


def _first_net(data: Mapping[str, Any]) -> str:
    """Which first network a second one is for, if it is one."""
    after = data.get("after")
    if after is None:
        return ""
    return f"""
It comes second, on crops by the landmarks of a first network, and was trained on the errors of that one:
`{after["weights"]}`, sha256 {after["sha256"]}.
"""


def _loss(recipe: Recipe) -> str:
    if recipe.function is not None:
        return f"LandmarkLoss ({recipe.function}, over the inter-pupil distance)"
    return f"Euclidean loss ({'divided by the eye distance' if recipe.normalized else 'plain'})"


def _copies(data: Mapping[str, Any], fresh: Mapping[str, Any] | None) -> str:
    if data.get("fresh"):
        told = fresh or {}
        shares = [f"{folder} {weight:g}" for folder, weight in told.get("weights", {}).items()]
        drawn = f", drawn from the folders in the ratio {', '.join(shares)}" if shares else ""
        changes = f", changed in {', '.join(told['changes'])} at times" if told.get("changes") else ""
        return f"varied anew each time{drawn}{changes}"
    others = [f"{count} of {folder}" for folder, count in sorted(data.get("copies_of", {}).items())]
    return f"{data['copies']} a face" + (f" ({', '.join(others)})" if others else "")


def _range(values: Sequence[float]) -> str:
    return f"{values[0]:g} to {values[1]:g}"
