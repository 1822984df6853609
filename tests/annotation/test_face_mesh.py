"""The face mesh's process: what it is shown and answers, and every way in which it can fail."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from skimage.data import astronaut

from facealign.annotation import face_mesh
from facealign.annotation.face_mesh import FaceMesh
from facealign.annotation.mesh_map import percent_apart, read_mesh_map
from facealign.errors import FaceAlignError
from facealign.inference.face_aligner import FaceAligner
from tests.annotation.stand_in import write_stand_in

ROOT = Path(__file__).parents[2]
REAL = ROOT / ".venv-mesh" / "bin" / "python"
PHOTO = np.ascontiguousarray(astronaut()[:, :, ::-1])
BOX = np.array([179.0, 63, 265, 173])
needs_mesh = pytest.mark.skipif(not (ROOT / ".venv-mesh" / "made").exists(), reason="needs `make mesh`")


@pytest.fixture(scope="module")
def real():
    with FaceMesh(REAL, read_mesh_map()) as mesh:
        yield mesh


@pytest.fixture(scope="module")
def predicted():
    return FaceAligner.open(engine="onnx", detector=False, cascade=True, flip=True).align(PHOTO, [BOX])[0]


@needs_mesh
def test_the_mesh_s_landmarks_are_those_of_the_cascade_but_for_a_little(real, predicted):
    assert real.version == "0.10.14"
    for points in real.landmarks(PHOTO, BOX):
        assert percent_apart(points, predicted.landmarks) < 6


@needs_mesh
def test_a_face_on_its_side_is_turned_upright_first(real, predicted):
    side = np.ascontiguousarray(np.rot90(PHOTO, -1))  # clockwise: (x, y) is at (height - 1 - y, x)
    height = len(PHOTO)
    box = np.array([height - 1 - BOX[3], BOX[0], height - 1 - BOX[1], BOX[2]])
    wanted = np.column_stack([height - 1 - predicted.landmarks[:, 1], predicted.landmarks[:, 0]])
    (points,) = real.landmarks(side, box, 90.0, [1.5])
    assert percent_apart(points, wanted) < 6


@needs_mesh
def test_where_there_is_no_face_there_is_no_mesh(real):
    assert real.mesh(np.full((200, 200, 3), 90, np.uint8), np.array([50.0, 50, 150, 150])) is None
    assert real.landmarks(np.full((200, 200, 3), 90, np.uint8), np.array([50.0, 50, 150, 150])) == []


def test_points_of_the_crop_come_back_to_the_image(tmp_path):
    """Edges of the crop are 0 and 256: those of a square of twice the box's longer side around it."""
    corners = np.zeros((478, 3))
    corners[:3, :2] = [(0, 0), (256, 256), (128, 128)]
    with FaceMesh(write_stand_in(tmp_path / "python", corners)) as mesh:
        assert (mesh.version, mesh.files) == ("0.0", {"mesh.tflite": "12ab"})
        points = mesh.mesh(PHOTO, np.array([100.0, 100, 140, 180]), scale=2.0)
        np.testing.assert_allclose(points[:3], [(40, 60), (200, 220), (120, 140)], atol=0.51)
        turned = mesh.mesh(PHOTO, np.array([100.0, 100, 140, 180]), 90.0, 2.0)
        np.testing.assert_allclose(turned[:3], [(200, 60), (40, 220), (120, 140)], atol=0.51)


def test_an_interpreter_in_the_working_directory_is_found(tmp_path, monkeypatch):
    write_stand_in(tmp_path / "python_of_mesh", None)
    monkeypatch.chdir(tmp_path)
    with FaceMesh(Path("python_of_mesh")) as mesh:
        assert mesh.mesh(PHOTO, BOX) is None


def test_no_interpreter_or_one_without_mediapipe_is_one_line(tmp_path):
    for python, said in (
        (tmp_path / "nowhere", "cannot be run"),
        (
            Path(sys.executable),
            "has no mediapipe that runs (ModuleNotFoundError: No module named 'mediapipe')",
        ),
        (Path("/bin/true"), "ended with code 0"),
        (Path("/bin/cat"), "ended with code 1"),
    ):
        with pytest.raises(FaceAlignError) as caught:
            FaceMesh(python)
        assert str(caught.value).startswith(f"{python}: ")
        assert said in str(caught.value)
        assert "make mesh" in str(caught.value)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("sys.exit('out of luck')", "ended with code 1: out of luck"),
        ("os.kill(os.getpid(), 9)", "ended with code -9"),
        ("print('hello', flush=True)", "does not answer as the face mesh"),
        ("print('{}', flush=True)", "points is missing"),
        ("print(json.dumps({'points': [[1, 2, 3]]}), flush=True)", "expected a list of 478"),
        ("print(json.dumps({'points': [[float('nan')] * 3] * 478}), flush=True)", "expected a number"),
    ],
)
def test_a_process_that_fails_at_a_face_is_one_line(tmp_path, body, said):
    python = write_stand_in(tmp_path / "python", body=body)
    with FaceMesh(python) as mesh, pytest.raises(FaceAlignError) as caught:
        mesh.mesh(PHOTO, BOX)
    assert str(caught.value).startswith(f"{python}: ")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_process_that_was_killed_before_is_one_line(tmp_path):
    with FaceMesh(write_stand_in(tmp_path / "python", None)) as mesh:
        assert mesh.mesh(PHOTO, BOX) is None
        os.kill(mesh._process.pid, signal.SIGKILL)
        mesh._process.wait()
        with pytest.raises(FaceAlignError, match="ended with code -9"):
            mesh.mesh(PHOTO, BOX)


def test_a_process_that_hangs_is_given_up(tmp_path, monkeypatch):
    python = write_stand_in(tmp_path / "python", body="time.sleep(1000)")
    monkeypatch.setattr(face_mesh, "ANSWER", 0.2)
    with FaceMesh(python) as mesh:
        with pytest.raises(FaceAlignError, match=r"took longer than 0\.2 s"):
            mesh.mesh(PHOTO, BOX)
        assert mesh._process.returncode == -signal.SIGKILL


def test_the_process_ends_with_the_one_that_started_it(tmp_path):
    """Killed, so that it cannot see to it."""
    python = write_stand_in(tmp_path / "python", body="pass")
    text = f"""
import os, signal, sys
from pathlib import Path
from facealign.annotation.face_mesh import FaceMesh
mesh = FaceMesh(Path({str(python)!r}))
print(mesh._process.pid, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run(
        [sys.executable, "-c", text], cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False, timeout=60
    )
    assert done.returncode == -signal.SIGKILL
    for _ in range(600):
        try:
            state = Path(f"/proc/{int(done.stdout)}/stat").read_text().rpartition(")")[2].split()[0]
        except FileNotFoundError:
            return
        if state == "Z":
            return
        subprocess.run(["sleep", "0.1"], check=True)
    pytest.fail("the process is still there")
