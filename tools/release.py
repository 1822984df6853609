"""Put a run's newest weights into models/: caffemodel, ONNX, the JSON that describes them, and a model card.

The caffemodel holds the deploy net with its weights and nothing of the machine it was trained on.
"""

import argparse
import dataclasses
import hashlib
import json
import os
from pathlib import Path

from facealign.errors import FaceAlignError
from facealign.export import export_onnx
from facealign.files import replacing
from facealign.model_card import model_card
from facealign.networks.recipes import recipe_named
from facealign.networks.registry import BUILDERS
from facealign.snapshots import snapshots
from facealign.spec import load_spec
from facealign.storage import read_meta
from facealign.training import LOG, RUN
from facealign.training_log import read_log
from facealign.weights import matching_weights, read_weights, with_weights
from tools.cli import run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", type=Path, required=True, metavar="DIR", help="a run of tools/train.py")
    parser.add_argument("--data", type=Path, default=Path("data/lmdb"), metavar="DIR", help="its LMDBs")
    parser.add_argument("--output", type=Path, default=Path("models"), metavar="DIR")
    arguments = parser.parse_args()
    try:
        described = json.loads((arguments.run / RUN).read_text(encoding="utf-8"))
        recipe = recipe_named(described["recipe"]["name"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise FaceAlignError(f"{arguments.run / RUN}: not a run of tools/train.py ({error})") from error
    found = snapshots(arguments.run, recipe.stage)
    if not found:
        raise FaceAlignError(f"{arguments.run}: no whole snapshot of {recipe.stage} in it")
    data = read_meta(arguments.data)
    if described["data_sha256"] != {name: part["sha256"] for name, part in data["parts"].items()}:
        raise FaceAlignError(f"{arguments.data}: not the samples that {arguments.run} was trained on")
    weights = found[0].weights
    name = recipe.snapshot_name
    prototxt = Path("prototxt") / recipe.name / "deploy.prototxt"
    spec = dataclasses.replace(load_spec(weights), deploy=os.path.relpath(prototxt, arguments.output))
    deploy = BUILDERS[recipe.network].deploy()
    blobs = matching_weights(deploy, read_weights(weights), recipe.network, str(weights))
    model = export_onnx(deploy, blobs, spec.portable(), where=str(weights))
    contents = {
        f"{name}.caffemodel": with_weights(deploy, blobs).SerializeToString(deterministic=True),
        f"{name}.onnx": model.SerializeToString(deterministic=True),
        f"{name}.json": spec.to_json().encode(),
    }
    digests = {file: hashlib.sha256(content).hexdigest() for file, content in contents.items()}
    try:
        card = model_card(
            name, recipe, described, data, read_log(arguments.run / LOG), found[0].iteration, spec, digests
        )
    except ValueError as error:
        raise FaceAlignError(f"{arguments.run / LOG}: {error}") from error
    contents[f"{name}.md"] = card.encode()
    for file, content in contents.items():
        with replacing(arguments.output / file) as partial:
            partial.write_bytes(content)
    print(f"{arguments.output / name}: iteration {found[0].iteration}: {', '.join(contents)}")


if __name__ == "__main__":
    run(main)
