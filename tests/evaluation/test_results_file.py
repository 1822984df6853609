"""An evaluation with any one part missing or of another type: refused in one line, or reported as it is."""

import copy
import json

import numpy as np
import pytest

from facealign.errors import FaceAlignError
from facealign.evaluation.ced_plot import curves
from facealign.evaluation.markdown_report import markdown
from facealign.evaluation.results_file import read_results, write_results
from tests.evaluation.test_measure import Oracle, evaluate, make_face, write_face


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    root = tmp_path_factory.mktemp("root")
    rng = np.random.default_rng(3)
    for folder in ("afw", "helen/testset"):
        for index in range(2):
            write_face(root / "300w" / folder, f"image_{index}", make_face(rng))
    missed = {"300w/afw/image_1.png"}
    return evaluate(root, Oracle(lambda points: points + 1, missed))


def places(value, path=()):
    """The way to every part of nested dictionaries and lists; of a long list, to its first and last."""
    keys = value.keys() if isinstance(value, dict) else ends(value) if isinstance(value, list) else ()
    for key in keys:
        yield (*path, key)
        yield from places(value[key], (*path, key))


def ends(values):
    return range(len(values)) if len(values) < 20 else (0, len(values) - 1)


def changed(text, path, how):
    other = json.loads(text)
    part = other
    for key in path[:-1]:
        part = part[key]
    if how == "gone":
        del part[path[-1]]
    else:
        part[path[-1]] = how
    return other


def test_any_part_gone_or_of_another_type_is_no_traceback(data, tmp_path):
    path = tmp_path / "evaluation.json"
    refused = []
    sound = json.dumps(data)
    ways = list(places(json.loads(sound)))
    for place in ways:
        for how in ("gone", "text", None, [], {}, True, 1e300):
            path.write_text(json.dumps(changed(sound, place, how)))
            try:
                read = read_results(path)
            except FaceAlignError as error:
                refused.append(str(error))
                continue
            markdown([read])
            for normaliser in ("inter_pupil", "inter_ocular"):
                curves([read], normaliser)
    assert len(ways) > 100
    assert len(refused) > 100
    assert all(reason.startswith(f"{path}: ") and "\n" not in reason for reason in refused)


def test_a_sound_one_comes_back(data, tmp_path):
    write_results(tmp_path / "evaluation.json", data)
    assert read_results(tmp_path / "evaluation.json") == json.loads(json.dumps(data))


def test_a_file_of_an_earlier_version_has_no_faces(data, tmp_path):
    earlier = {name: data[name] for name in data if name != "faces"}
    write_results(tmp_path / "evaluation.json", earlier)
    assert read_results(tmp_path / "evaluation.json") == json.loads(json.dumps(earlier))


def test_a_face_is_one_line(data, tmp_path):
    write_results(tmp_path / "evaluation.json", data)
    lines = [line.strip().rstrip(",") for line in (tmp_path / "evaluation.json").read_text().splitlines()]
    face = data["faces"]["300w/afw/image_0.png"]
    assert f'"300w/afw/image_0.png": {json.dumps(face)}' in lines


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda face: face.update(predicted=None), "whether it was found"),
        (lambda face: face.update(box=None), "whether it was found"),
        (lambda face: face.update(truth=[[1.0, 2.0]] * 68), "eyes in one place"),
    ],
)
def test_a_face_that_contradicts_itself_is_refused(data, tmp_path, change, said):
    other = copy.deepcopy(data)
    change(other["faces"]["300w/afw/image_0.png"])
    write_results(tmp_path / "evaluation.json", other)
    with pytest.raises(FaceAlignError, match=said):
        read_results(tmp_path / "evaluation.json")


def test_a_face_without_errors_is_refused(data, tmp_path):
    other = copy.deepcopy(data)
    del other["errors"]["300w/afw/image_0.png"], other["members"]["afw"]
    write_results(tmp_path / "evaluation.json", other)
    with pytest.raises(FaceAlignError, match="which errors lacks"):
        read_results(tmp_path / "evaluation.json")
