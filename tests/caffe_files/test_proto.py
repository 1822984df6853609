"""Our schema of Caffe's messages against pycaffe's own, and the generated code against our schema."""

import re
from pathlib import Path

import pytest
from google.protobuf import text_format
from hypothesis import given
from hypothesis import strategies as st

from facealign.caffe_files.proto import caffe_pb2
from facealign.engines.pycaffe import import_caffe

SCHEMA = Path(caffe_pb2.__file__).with_name("caffe.proto")
# Ours is a part of V1LayerParameter: its layers have another enum for types, which is not needed for weights.
THEIR_NAME = {"LegacyLayerParameter": "V1LayerParameter"}


@pytest.fixture(scope="module")
def theirs():
    return import_caffe().proto.caffe_pb2


def messages():
    return dict(caffe_pb2.DESCRIPTOR.message_types_by_name)


def described(field):
    """Number, type, cardinality, packing and default of a field, with types by their plain names."""
    kind = field.message_type or field.enum_type
    name = kind.name if kind else None
    return {
        "number": field.number,
        "type": field.type,
        "of": THEIR_NAME.get(name, name),
        "repeated": field.is_repeated,
        "packed": field.is_packed,
        "default": None if field.message_type or field.is_repeated else field.default_value,
    }


@pytest.mark.parametrize("name", messages())
def test_every_field_is_caffe_s(name, theirs):
    message = messages()[name]
    other = theirs.DESCRIPTOR.message_types_by_name[THEIR_NAME.get(name, name)]
    assert message.fields
    for field in message.fields:
        assert field.name in other.fields_by_name, f"{name}.{field.name}"
        assert described(field) == described(other.fields_by_name[field.name]), f"{name}.{field.name}"


def numbers(enum):
    return {value.name: value.number for value in enum.values}


def test_every_enum_is_caffe_s(theirs):
    compared = 0
    for name, message in messages().items():
        other = theirs.DESCRIPTOR.message_types_by_name[THEIR_NAME.get(name, name)]
        for enum in message.enum_types:
            assert numbers(enum) == numbers(other.enum_types_by_name[enum.name]), f"{name}.{enum.name}"
            compared += 1
    assert compared >= 8
    ours = caffe_pb2.DESCRIPTOR.enum_types_by_name
    assert numbers(ours["Phase"]) == numbers(theirs.DESCRIPTOR.enum_types_by_name["Phase"])
    # Caffe has this one in each message of a layer with several implementations.
    for layer in ("Convolution", "Pooling", "ReLU", "Softmax"):
        other = theirs.DESCRIPTOR.message_types_by_name[f"{layer}Parameter"].enum_types_by_name["Engine"]
        assert numbers(ours["Engine"]) == numbers(other)


@pytest.mark.parametrize(
    ("field", "number"),
    [("noise_param", 207), ("weight_euclidean_loss_param", 242), ("image_float_data_param", 245)],
)
def test_the_added_layers_have_the_reference_s_numbers(field, number):
    assert caffe_pb2.LayerParameter.DESCRIPTOR.fields_by_name[field].number == number


def test_the_reference_s_messages_field_by_field():
    def fields(message):
        return {field.name: field.number for field in message.DESCRIPTOR.fields}

    assert fields(caffe_pb2.NoiseParameter) == {"gaussian_std": 1, "uniform_range": 2, "bias": 3}
    assert fields(caffe_pb2.WeightEuclideanLossParameter) == {
        "contour_weight": 1,
        "main_weight": 2,
        "coarse_weight": 3,
        "normalized": 4,
        "normalized_type": 5,
    }
    assert fields(caffe_pb2.ImageFloatDataParameter) == {
        "is_regression": 1,
        "label_dim": 2,
        "hard_sample": 3,
        "with_heatmap": 4,
        "heatmap_dir": 5,
    }
    transform = fields(caffe_pb2.TransformationParameter)
    assert (transform["crop_h"], transform["crop_w"], transform["center_crop"]) == (8, 9, 10)
    assert transform["pad_ratio"] == 11
    loss = caffe_pb2.WeightEuclideanLossParameter()
    assert (loss.contour_weight, loss.main_weight, loss.coarse_weight) == (1, 1, 1)
    assert (loss.normalized, loss.normalized_type) == (0, 0)
    image = caffe_pb2.ImageFloatDataParameter()
    assert (image.is_regression, image.label_dim, image.hard_sample) == (True, 1, False)


def test_the_generated_code_is_the_schema_s():
    """Every field of caffe.proto is in caffe_pb2.py and the other way round, with its default."""
    text = re.sub(r"//.*", "", SCHEMA.read_text())
    written = {}
    for name, body in re.findall(r"message (\w+) \{((?:[^{}]|\{[^{}]*\})*)\}", text):
        body = re.sub(r"enum \w+ \{[^}]*\}", "", body)
        for label, kind, field, number, options in re.findall(
            r"(optional|repeated) ([\w.]+) (\w+) = (\d+) ?(?:\[([^]]*)\])?;", body
        ):
            default = re.search(r"default = (\S+)", options)
            written[f"{name}.{field}"] = (
                label,
                kind,
                int(number),
                default and default[1],
                "packed" in options,
            )
        assert body.count("=") - body.count("default =") - body.count("packed =") == sum(
            key.startswith(f"{name}.") for key in written
        )
    generated = {}
    for name, message in messages().items():
        for field in message.fields:
            kind = field.message_type or field.enum_type
            default = None
            if field.has_default_value:
                value = field.default_value
                default = field.enum_type.values_by_number[value].name if field.enum_type else value
                if field.type == field.TYPE_STRING:
                    default = f'"{value}"'
                elif isinstance(value, bool):
                    default = str(value).lower()
            generated[f"{name}.{field.name}"] = (
                "repeated" if field.is_repeated else "optional",
                kind.name if kind else TYPES[field.type],
                field.number,
                default,
                field.is_packed,
            )
    assert written.keys() == generated.keys()
    for name, (*plain, default, packed) in written.items():
        *found, value, is_packed = generated[name]
        assert (plain, packed) == (found, is_packed), name
        if isinstance(value, int | float):
            assert float(default) == pytest.approx(value), name
        else:
            assert default == value, name


TYPES = {
    **{1: "double", 2: "float", 3: "int64", 4: "uint64", 5: "int32"},
    **{8: "bool", 9: "string", 12: "bytes", 13: "uint32"},
}

floats = st.floats(width=32, allow_nan=False, allow_infinity=False)
texts = st.text(st.characters(codec="utf-8"), max_size=8)


@given(
    data=st.binary(max_size=20),
    floats=st.lists(floats, max_size=6),
    label=st.integers(-(2**31), 2**31 - 1),
    encoded=st.booleans(),
)
def test_datums_are_the_same_bytes_in_both(data, floats, label, encoded, theirs):
    fields = {"channels": 3, "data": data, "label": label, "float_data": floats, "encoded": encoded}
    ours = caffe_pb2.Datum(**fields)
    other = theirs.Datum(**fields)
    binary = ours.SerializeToString(deterministic=True)
    assert binary == other.SerializeToString(deterministic=True)
    assert theirs.Datum.FromString(binary) == other
    assert caffe_pb2.Datum.FromString(binary) == ours


@given(name=texts, std=floats, weights=st.lists(floats, max_size=3), dims=st.lists(st.integers(0, 2**40)))
def test_nets_are_the_same_text_and_bytes_in_both(name, std, weights, dims, theirs):
    net = caffe_pb2.NetParameter(name=name)
    layer = net.layer.add(name=name, type="Noise", bottom=[name], loss_weight=weights)
    layer.noise_param.gaussian_std = std
    layer.blobs.add(data=weights).shape.dim.extend(dims)
    read = text_format.Parse(text_format.MessageToString(net), theirs.NetParameter())
    assert read.SerializeToString(deterministic=True) == net.SerializeToString(deterministic=True)
    assert text_format.Parse(text_format.MessageToString(read), caffe_pb2.NetParameter()) == net


def test_fields_that_are_not_listed_survive_a_round_trip(theirs):
    net = theirs.NetParameter()
    layer = net.layer.add(name="x", type="Python")
    layer.python_param.module = "somewhere"
    layer.lrn_param.alpha = 0.5
    through = caffe_pb2.NetParameter.FromString(net.SerializeToString())
    assert through.layer[0].name == "x"
    assert theirs.NetParameter.FromString(through.SerializeToString()) == net


def test_weights_of_the_oldest_files_are_found(theirs):
    net = theirs.NetParameter()
    layer = net.layers.add(name="conv1", type=theirs.V1LayerParameter.CONVOLUTION)
    layer.blobs.add(num=1, channels=1, height=1, width=2, data=[1, 2])
    read = caffe_pb2.NetParameter.FromString(net.SerializeToString())
    assert read.layers[0].name == "conv1"
    assert list(read.layers[0].blobs[0].data) == [1, 2]
