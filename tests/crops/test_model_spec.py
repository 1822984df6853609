"""The description beside the weights: it round-trips, and whatever is wrong with it is said."""

import dataclasses
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from facealign.crops.model_spec import ModelSpec, load_spec, spec_path
from facealign.errors import FaceAlignError

numbers = st.floats(-1e6, 1e6)
sides = st.integers(1, 1024)
words = st.text(st.characters(exclude_categories=["Cc", "Cs"]))
specs = st.builds(
    ModelSpec,
    network=words,
    stage=words,
    deploy=words,
    input_name=words,
    output_name=words,
    input_height=sides,
    input_width=sides,
    channels=st.sampled_from(["BGR", "RGB"]),
    mean=numbers,
    scale=st.floats(1e-6, 1e6),
    crop=st.sampled_from(["square", "published"]),
    box_scale=st.floats(0.1, 10),
    box_shift=st.tuples(st.floats(-10, 10), st.floats(-10, 10)),
    landmarks=sides,
    landmark_order=words,
    origin=st.integers(0, 1),
)


@given(specs)
def test_json_round_trip(spec):
    assert ModelSpec.from_json(spec.to_json(), "here") == spec
    assert not spec.is_second_stage


@given(st.lists(numbers, min_size=136, max_size=136, unique=True))
def test_json_round_trip_of_a_second_level(shape):
    spec = ModelSpec(crop="aligned", mean_shape=tuple(shape))
    assert ModelSpec.from_json(spec.to_json(), "here") == spec
    assert spec.is_second_stage


@pytest.mark.parametrize(
    "fields",
    [
        {"crop": "aligned"},
        {"crop": "aligned", "mean_shape": [1.0, 2.0]},
        {"crop": "aligned", "mean_shape": [5] * 136},
        {"crop": "aligned", "mean_shape": [5] * 68 + [60] * 68},
        {"crop": "aligned", "mean_shape": [1e-300 * index for index in range(136)]},
        {"crop": "square", "mean_shape": list(range(136))},
        {"crop": "aligned", "mean_shape": ["1"] * 136},
        {"crop": "aligned", "mean_shape": "1"},
    ],
    ids=str,
)
def test_a_mean_shape_goes_with_an_aligned_crop_alone(fields):
    with pytest.raises(FaceAlignError, match=r"here: mean_shape"):
        ModelSpec.from_json(json.dumps(fields), "here")


def test_the_json_has_every_field_by_its_name():
    data = json.loads(ModelSpec(box_shift=(0.25, -1.5)).to_json())
    assert set(data) == {field.name for field in dataclasses.fields(ModelSpec)}
    assert data["box_shift"] == [0.25, -1.5]
    # (value - 127.5) / 128, as the networks' data layer has it
    assert (data["mean"], 1 / data["scale"]) == (127.5, 128)


def test_a_field_left_out_has_its_default():
    assert ModelSpec.from_json('{"stage": "stage1"}', "here") == ModelSpec(stage="stage1")
    assert ModelSpec.from_json("{}", "here") == ModelSpec()


def test_whole_numbers_do_for_floats():
    spec = ModelSpec.from_json('{"mean": 128, "box_shift": [0, 1]}', "here")
    assert (spec.mean, spec.box_shift) == (128.0, (0.0, 1.0))
    assert isinstance(spec.mean, float)
    assert all(isinstance(value, float) for value in spec.box_shift)


WRONG = {
    "network": [None, 3, True, ["a"], {}, "a\nb", "\ud800"],
    "deploy": [None, 1.5, False],
    "input_height": [None, True, "64", 64.0, [64], 0, -64, 10**6, 10**30],
    "input_width": [False, 0, {}],
    "origin": [True, 1.0, "1", None, 2, 10**400, -(10**400)],
    "mirror_bias": ["0", None, [0.2], 1e300],
    "share": [0, -0.5, 1.5, "1", None],
    "landmarks": [0, -68, "68", True, 10**9],
    "mean": [None, True, "127.5", [127.5], {}, float("nan"), float("inf"), 10**400],
    "scale": ["1", False, float("-inf"), 0, 1e300],
    "box_scale": [0, -1.2, True, "1.2", None, 1e300, 1e-300, 10**400],
    "box_shift": [
        None,
        0.1,
        "12",
        [0.1],
        [0.1, 0.2, 0.3],
        [],
        [0.1, "0.2"],
        [True, 0.1],
        [None, 0.1],
        {"0": 1},
        [1e308, 0],
        [0, -1e18],
        [10**400, 0],
    ],
    "crop": ["", "round", None, 1],
    "channels": ["GBR", "bgr", True],
}


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name, values in WRONG.items() for value in values], ids=str
)
def test_a_wrong_value_is_named(name, value):
    with pytest.raises(FaceAlignError, match=r"model\.json") as caught:
        ModelSpec.from_json(json.dumps({name: value}), "model.json")
    assert name.split("_")[0] in str(caught.value)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", "3", '"network"', "true", '["mean"]', "\x00", "[" * 10**5]
)
def test_what_is_no_json_object_is_refused(text):
    with pytest.raises(FaceAlignError, match=r"model\.json: not a model description"):
        ModelSpec.from_json(text, "model.json")


def test_an_unknown_field_is_named():
    with pytest.raises(FaceAlignError, match=r"model\.json: unknown field 'dropout'"):
        ModelSpec.from_json('{"dropout": 0.2, "mean": "x"}', "model.json")


def test_a_portable_spec_lacks_the_deploy_net_only():
    spec = ModelSpec(deploy="deploy.prototxt", stage="stage1")
    assert spec.portable() == ModelSpec(stage="stage1")
    assert spec.deploy == "deploy.prototxt"


@pytest.fixture
def weights(tmp_path):
    (tmp_path / "nets").mkdir()
    (tmp_path / "nets" / "deploy.prototxt").write_text("name: 'net'\n")
    (tmp_path / "models").mkdir()
    path = tmp_path / "models" / "net_iter_100.v2.caffemodel"
    path.write_bytes(b"")
    return path


def test_the_file_of_the_same_name_comes_before_model_json(weights):
    own, shared = weights.with_name("net_iter_100.v2.json"), weights.with_name("model.json")
    with pytest.raises(FaceAlignError, match=r"net_iter_100\.v2\.caffemodel: no net_iter_100\.v2\.json"):
        spec_path(weights)
    own.mkdir()  # a folder is no description
    shared.write_text("{}")
    assert spec_path(weights) == shared
    own.rmdir()
    own.write_text("{}")
    assert spec_path(weights) == own


def test_the_deploy_net_is_found_from_the_description_s_folder(weights, tmp_path, monkeypatch):
    spec = ModelSpec(deploy="../nets/deploy.prototxt", stage="étape 1")
    # as an editor saves it: UTF-8, and not escaped as `to_json` does
    by_editor = json.dumps(dataclasses.asdict(spec), ensure_ascii=False)
    weights.with_name("model.json").write_text(by_editor, encoding="utf-8")
    monkeypatch.chdir(tmp_path / "nets")
    found = load_spec(weights)
    assert found.deploy == str((tmp_path / "nets" / "deploy.prototxt").resolve())
    assert dataclasses.replace(found, deploy=spec.deploy) == spec


@pytest.mark.parametrize("deploy", ["", "../nets/absent.prototxt", "../nets"])
def test_a_missing_deploy_net_is_named(weights, tmp_path, deploy):
    description = weights.with_name("model.json")
    description.write_text(ModelSpec(deploy=deploy).to_json())
    with pytest.raises(FaceAlignError) as caught:
        load_spec(weights)
    named = (
        f"deploy net {(tmp_path / 'models' / deploy).resolve()} does not exist" if deploy else "no deploy net"
    )
    # Said behind the file: its path holds the test's name, and so "deploy net".
    assert named in str(caught.value).removeprefix(f"{description}: ")


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b"\x89PNG", b"{", b'{"mean": null}'])
def test_a_damaged_description_is_named(weights, content):
    weights.with_name("model.json").write_bytes(content)
    with pytest.raises(
        FaceAlignError,
        match=r"model\.json: (not a text file .*|not a) model description|mean is None",
    ):
        load_spec(weights)
