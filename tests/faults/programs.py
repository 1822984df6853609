"""Every program that writes, on inputs as small as can be. All of them write below `made/`."""

import os
import shutil
import subprocess
from pathlib import Path

import cv2
import numpy as np
from skimage.data import astronaut

from facealign.datasets.pts import write_pts
from tests.annotation.turnable import write_mesh_program, write_turnable
from tests.faults.invariant import ROOT, facealign
from tests.random_weights import write_model
from tests.upright_face import upright_face
from tests.video.moving_face import frames, slowly_to_the_right, write_video

MADE = "made"
PROGRAMS = {
    "detect-faces": "detect-faces --data faces --output made/boxes.json --workers 1",
    "annotate": "annotate --photos photos --output made/annotated --no-mesh --workers 1",
    "turn-faces": "turn-faces --data turnable --mesh ./mesh --output made/turned --copies 2 --yaw 20 20 "
    "--turn 10 30 --workers 1",
    "make-lmdb": "make-lmdb --data faces --boxes landmarks --output made/lmdb --copies 2 --validation 0.4 "
    "--workers 1 --keep-copies",
    "make-lmdb --on-the-fly": "make-lmdb --data faces --boxes landmarks --output made/lmdb --on-the-fly "
    "--validation 0.4 --workers 1 --keep-copies",
    "train": "train --stage 1 --data lmdb --run made/run --iterations 3 --snapshot-every 1 "
    "--validate-every 2",
    "evaluate": "evaluate --data faces --weights weights.onnx --engine onnx --boxes landmarks "
    "--json made/evaluation.json --markdown --plot",
    "export-onnx": "export-onnx --weights weights.caffemodel --output made/weights.onnx",
    "quantise": "quantise --weights weights.onnx --data faces --faces 3 --output made/int8.onnx",
    "export-ncnn": "export-ncnn --weights weights.onnx --output made/weights.param",
    "release": "release --run run --data lmdb --output made/models",
    "align": "align --images photos --boxes boxes --weights weights.onnx --engine onnx --output made/aligned",
    "align, detecting": "align --images photos --weights weights.onnx --engine onnx --output made/aligned",
    "align, a video": "align --video clip.mp4 --weights weights.onnx --engine onnx --turns never "
    "--output made/aligned",
    "make-prototxt": "make-prototxt --output made/prototxt",
    "report": "report evaluation.json --output made/report.md --plot made/report.png --html made/report.html "
    "--data faces --log run",
}
OTHERWISE = {
    "detect-faces": "--min-face 60",
    "turn-faces": "--copies 1",
    "make-lmdb": "--seed 1",
    "make-lmdb --on-the-fly": "--seed 1",
    "train": "--seed 1",
    "evaluate": "--flip --name other",
    "align": "--images faces/a.png",
    "align, detecting": "--images faces/a.png",
    "align, a video": "--no-smoothing --detect-every 3",
}
"""Options with which a program makes something else under the same name."""


def command_of(program: str, more: str = "") -> list[str]:
    return facealign(*PROGRAMS[program].split(), *more.split())


def make_photos(place: Path) -> None:
    """Make photos with annotations and boxes, and a model, in the folder `place`."""
    write_model(place)
    photo = np.ascontiguousarray(astronaut()[:300, 70:370, ::-1])
    for folder in ("photos", "faces", "boxes"):
        (place / folder).mkdir()
    for number, name in enumerate("abc"):
        image = np.roll(photo, 8 * number, axis=1)
        cv2.imwrite(str(place / "faces" / f"{name}.png"), image)
        write_pts(place / "faces" / f"{name}.pts", upright_face((153 + 8 * number, 128), 82))
        if name != "c":
            cv2.imwrite(str(place / "photos" / f"{name}.png"), image)
            (place / "boxes" / f"{name}.txt").write_text("101 66 206 191\n")
    write_video(place / "clip.mp4", frames(slowly_to_the_right, 30))


def make_turnable(place: Path) -> None:
    """Make photos of faces that can be turned, and a program that stands for the face mesh."""
    for name in "abc":
        write_turnable(place / "turnable" / f"{name}.png")
    write_mesh_program(place / "mesh")


def make_inputs(place: Path) -> None:
    """Make all that the programs read in the folder `place`."""
    make_photos(place)
    make_turnable(place)
    for command in (
        PROGRAMS["make-lmdb"].replace("made/lmdb", "lmdb").replace("--copies 2", "--copies 8"),
        "train --stage 1 --data lmdb --run run --iterations 1 --validate-every 1",
        "evaluate --data faces --weights weights.onnx --engine onnx --boxes landmarks --json evaluation.json",
    ):
        subprocess.run(
            facealign(*command.split()), cwd=place, env=environment(), check=True, capture_output=True
        )


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT)}


def made_in(place: Path) -> dict[str, bytes]:
    """Contents of all files below made/, hidden ones too; of a folder, nothing."""
    root = place / MADE
    return {
        str(path.relative_to(root)): b"" if path.is_dir() else _timeless(path) for path in root.rglob("*")
    }


def _timeless(path: Path) -> bytes:
    """A file's contents without what depends on the time that its making took."""
    content = path.read_bytes()
    if path.name == "log.csv":
        rows = [line.split(",") for line in content.decode().splitlines()]
        return "\n".join(",".join([row[0], *row[2:]]) for row in rows).encode()
    return content


def restore(place: Path, kept: Path) -> None:
    """Make made/ what it was: the folder `kept`, which need not exist."""
    shutil.rmtree(place / MADE, ignore_errors=True)
    if kept.exists():
        shutil.copytree(kept, place / MADE, symlinks=True)
