"""turn-faces from photos to a folder that make-lmdb reads, with a program that stands for the face mesh."""

import json
import os
import sys

import cv2
import numpy as np
import pytest

from facealign.annotation.turned_mesh import head_yaw, turn_mesh
from facealign.commands.turn_faces import main
from facealign.console import run
from facealign.datasets.scan import scan
from facealign.errors import FaceAlignError
from tests.annotation.made_up_mesh_program import FRONTAL, LANDMARKS, NOSE, TURN
from tests.annotation.turnable import write_mesh_program, write_turnable


@pytest.fixture
def mesh(tmp_path):
    """A program that answers as the face mesh's process."""
    return write_mesh_program(tmp_path / "python")


@pytest.fixture
def data(tmp_path):
    write_turnable(tmp_path / "data" / "lfw" / "Ann_01.png")
    write_turnable(tmp_path / "data" / "lfw" / "Bob_01.png")
    write_turnable(tmp_path / "data" / "lfw" / "Cem_01.png", red=False)
    write_turnable(
        tmp_path / "data" / "300w" / "helen" / "trainset" / "1691766_1.png"
    )  # of the validation part
    return tmp_path / "data"


def turn_faces(monkeypatch, *options):
    angles = ["--yaw", TURN, TURN, "--turn", 10, 30, "--workers", 1]
    monkeypatch.setattr(sys, "argv", ["turn-faces", *map(str, [*options, *angles])])
    main()


def test_a_folder_of_something_else_is_refused(data, mesh, tmp_path, monkeypatch):
    with pytest.raises(FaceAlignError, match=r"holds 300w and no turned\.json: a folder of something else"):
        turn_faces(monkeypatch, "--data", data, "--mesh", mesh, "--output", data)
    assert not (data / "turned.json").exists()


def test_photos_become_turned_faces_that_are_scanned_with_their_landmarks(
    data, mesh, tmp_path, monkeypatch, capsys
):
    output = tmp_path / "turned"
    numbers = tmp_path / "numbers.json"
    options = ("--data", data, "--mesh", mesh, "--output", output, "--copies", 2, "--json", numbers)
    turn_faces(monkeypatch, *options)
    assert "4 turned faces of 6; not turned: no mesh 2" in capsys.readouterr().out
    assert json.loads(numbers.read_text()) == {
        "output": str(output),
        "turned": 4,
        "not_turned": {"no mesh": 2},
        "left_out": 1,
    }
    found = scan(output).samples
    names = [f"lfw_turned/{name}_01_turned{number}.png" for name in ("Ann", "Bob") for number in (1, 2)]
    assert [sample.relative for sample in found] == names
    assert {sample.group for sample in found} == {"lfw Ann", "lfw Bob"}
    for sample in found:
        image = cv2.imread(str(sample.path)).astype(int)
        nose = np.argwhere(image @ [-1, -1, 1] > 100).mean(axis=0)[::-1]
        side = np.sign(nose[0] - FRONTAL[NOSE, 0])
        turned = turn_mesh(FRONTAL, side * TURN - head_yaw(FRONTAL)).mesh
        np.testing.assert_allclose(nose, turned[NOSE, :2], atol=1.5)
        assert np.sign(sample.points[30, 0] - LANDMARKS[30, 0]) == side
    assert json.loads((output / "turned.json").read_text())["counts"] == {"turned": 4, "no mesh": 2}


def test_an_interrupted_run_goes_on_and_gives_the_same(data, mesh, tmp_path, monkeypatch, capsys):
    output = tmp_path / "turned"
    options = ["--data", data, "--mesh", mesh, "--output", output]
    turn_faces(monkeypatch, *options)
    made = {path.name: path.read_bytes() for path in (output / "lfw_turned").iterdir()}
    for name in ("Bob_01_turned1.png", "Bob_01_turned1.pts"):
        os.remove(output / "lfw_turned" / name)
    capsys.readouterr()
    turn_faces(monkeypatch, *options)
    said = capsys.readouterr()
    assert "has 1 turned face already" in said.err
    assert "2 turned faces of 3" in said.out
    assert {path.name: path.read_bytes() for path in (output / "lfw_turned").iterdir()} == made


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (["--mesh", "nowhere/python"], "nowhere/python"),
        (["--mesh", "/bin/false"], "/bin/false"),
    ],
)
def test_a_mesh_that_cannot_be_run_is_one_line(data, options, line, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(
        sys, "argv", ["turn-faces", "--data", str(data), "--output", str(tmp_path / "o"), *options]
    )
    with pytest.raises(SystemExit) as end:
        run(main)
    assert end.value.code == 1
    said = capsys.readouterr().err
    assert line in said
    assert "make mesh" in said
    assert said.count("\n") == 1


def test_a_folder_of_other_settings_is_left_alone(data, mesh, tmp_path, monkeypatch, capsys):
    options = ["--data", data, "--mesh", mesh, "--output", tmp_path / "turned"]
    turn_faces(monkeypatch, *options)
    monkeypatch.setattr(sys, "argv", ["turn-faces", *map(str, options), "--seed", "1"])
    with pytest.raises(SystemExit) as end:
        run(main)
    assert end.value.code == 1
    assert "other settings" in capsys.readouterr().err


def test_where_no_face_can_be_turned_it_is_said(mesh, tmp_path, monkeypatch, capsys):
    write_turnable(tmp_path / "data" / "lfw" / "Cem_01.png", red=False)
    monkeypatch.setattr(
        sys,
        "argv",
        [
            "turn-faces",
            "--data",
            str(tmp_path / "data"),
            "--mesh",
            str(mesh),
            "--output",
            str(tmp_path / "o"),
        ],
    )
    with pytest.raises(SystemExit) as end:
        run(main)
    assert end.value.code == 1
    assert "no face could be turned (no mesh 1)" in capsys.readouterr().err


@pytest.mark.parametrize("options", [["--yaw", "30", "20"], ["--copies", "0"], ["--seed", "-1"]])
def test_wrong_options_are_wrong_usage(options, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["turn-faces", "--data", "x", *options])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 2
    assert options[0].lstrip("-") in capsys.readouterr().err
