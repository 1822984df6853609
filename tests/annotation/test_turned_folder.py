"""The folder of turned faces: what is written there can be scanned, trained on, and made again."""

import json
import os
import signal

import cv2
import numpy as np
import pytest

from facealign.annotation.turned_faces import TurnedFace, TurnSettings
from facealign.annotation.turned_folder import (
    DESCRIPTION,
    Turn,
    check_description,
    described,
    still_to_do,
    trainable,
    turned_faces,
    write_description,
    write_turned,
)
from facealign.annotation.turned_mesh import CORNERS, surface
from facealign.datasets.pts import read_pts, write_pts
from facealign.datasets.scan import scan
from facealign.errors import FaceAlignError
from tests.made_up_mesh import made_up_mesh
from tests.upright_face import upright_face


def put(path, image, points=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), image)
    write_pts(path.with_suffix(".pts"), upright_face((100, 100), 80) if points is None else points)


@pytest.fixture
def noise():
    rng = np.random.default_rng(0)
    return lambda: cv2.GaussianBlur(rng.integers(0, 256, (200, 200, 3), dtype=np.uint8), (0, 0), 3)


class NoMesh:
    def mesh(self, image, box):
        return None


class Mesh:
    """Finds one mesh, whatever the image: the turned image then has another yaw than intended."""

    def mesh(self, image, box):
        return made_up_mesh()

    def landmarks(self, mesh):
        chosen = np.concatenate([surface().outline[::2][:17], np.arange(CORNERS)[::9][:51]])
        return mesh[chosen, :2]


def test_what_is_written_is_read_again(tmp_path, noise):
    put(tmp_path / "data" / "300w" / "helen" / "trainset" / "100032540_1.png", noise())
    (sample,) = scan(tmp_path / "data").samples
    face = TurnedFace(noise(), upright_face((90, 100), 70), 0.0, 30.0)
    turn = Turn(sample, 2, TurnSettings(), 0)
    write_turned(tmp_path / "turned", turn, face)
    (again,) = scan(tmp_path / "turned").samples
    assert again.relative == "300w_turned/helen/trainset/100032540_1_turned2.png" == turn.name
    assert again.group == sample.group
    assert not again.is_300w
    np.testing.assert_allclose(again.points, face.points, atol=1e-6)
    np.testing.assert_array_equal(cv2.imread(str(again.path)), face.image)


def test_a_pair_of_files_that_a_kill_parted_is_put_together_by_the_next_start(tmp_path, noise):
    put(tmp_path / "data" / "lfw" / "Ann_01.png", noise())
    (sample,) = scan(tmp_path / "data").samples
    turns = [Turn(sample, number, TurnSettings(), 0) for number in (1, 2, 3)]
    folder = tmp_path / "turned"
    child = os.fork()
    if child == 0:
        replace = os.replace

        def until_the_annotation(source, target):
            if str(target) == str(folder / "lfw_turned" / "Ann_01_turned1.pts"):
                os.kill(os.getpid(), signal.SIGKILL)
            replace(source, target)

        os.replace = until_the_annotation
        write_turned(folder, turns[0], TurnedFace(noise(), upright_face((90, 100), 70), 0.0, 30.0))
        os._exit(0)
    assert os.waitpid(child, 0)[1] == signal.SIGKILL
    image, annotation = (folder / "lfw_turned" / f"Ann_01_turned1{suffix}" for suffix in (".png", ".pts"))
    assert image.exists()
    assert not annotation.exists()
    (folder / turns[1].name).write_bytes(image.read_bytes())  # without its annotation
    assert still_to_do(folder, turns) == turns[1:]
    np.testing.assert_allclose(read_pts(annotation), upright_face((90, 100), 70), atol=1e-3)
    assert not [path for path in image.parent.iterdir() if path.name.startswith(".")]


def test_photos_that_are_never_trained_on_are_not_turned_nor_copies_of_them(tmp_path, noise):
    held, free = noise(), noise()
    root = tmp_path / "300w" / "helen" / "trainset"
    put(root / "1691766_1.png", held)  # of the validation part
    put(root / "10406776_1.png", noise())  # held out
    put(root / "100032540_1.png", free)
    put(tmp_path / "300w" / "ibug" / "image_003_1.png", noise())
    put(tmp_path / "mine" / "a.png", held)
    put(tmp_path / "mine" / "b.png", noise())
    # A former output among the data: neither turned again, nor taken for the original of the face.
    put(tmp_path / "out" / "300w_turned" / "helen" / "trainset" / "100032540_1_turned1.png", free)
    left = [sample.relative for sample in trainable(scan(tmp_path).samples, 1)]
    assert left == ["300w/helen/trainset/100032540_1.png", "mine/b.png"]


def test_each_turn_ends_in_a_face_a_reason_or_an_error(tmp_path, noise):
    put(tmp_path / "mine" / "a.png", noise(), Mesh().landmarks(made_up_mesh()))
    put(tmp_path / "mine" / "b.png", noise())
    samples = scan(tmp_path).samples
    (tmp_path / "mine" / "b.png").write_bytes(b"no image")
    turns = [Turn(sample, 1, TurnSettings(yaw=(30.0, 30.0)), 0) for sample in samples]
    first, second = turned_faces(turns, 1, Mesh, ())
    assert first == "another yaw than intended"
    assert isinstance(second, FaceAlignError)
    assert "b.png" in str(second)
    assert list(turned_faces(turns[:1], 1, NoMesh, ())) == ["no mesh"]


def test_a_folder_of_other_settings_is_refused(tmp_path):
    settings = described(TurnSettings(), 0, {"mediapipe": "0.10.14"})
    check_description(tmp_path, settings)
    write_description(tmp_path, settings, {"turned": 3, "no mesh": 1})
    check_description(tmp_path, json.loads(json.dumps(settings)))
    assert json.loads((tmp_path / DESCRIPTION).read_text())["counts"] == {"turned": 3, "no mesh": 1}
    with pytest.raises(FaceAlignError, match=r"turned\.json.*other settings"):
        check_description(tmp_path, described(TurnSettings(), 1, {"mediapipe": "0.10.14"}))
