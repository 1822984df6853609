"""Changed contents of sound files, as hypothesis draws them: bytes, words and numbers, JSON, messages."""

import copy
import json
import re

from hypothesis import strategies as st

NUMBERS = (
    *(
        0,
        -1,
        1,
        2,
        67,
        136,
        255,
        65536,
        2**31 - 1,
        2**31,
        -(2**31),
        2**32 - 1,
        2**53,
        2**63 - 1,
        2**63,
        2**64,
    ),
    *(10**18, 10**30, 10**400, -(10**400), 0.5, -0.5, 1e-300, 1e6, 1e18, 1e38, 1e300, -1e300, 1.7e308),
    *(float("nan"), float("inf"), float("-inf")),
)
WORDS = (
    "",
    "x",
    "0",
    "nan",
    "\0",
    "a\nb",
    "\x1b[31m",
    "\ud800",
    "../../..",
    "/dev/zero",
    "é" * 300,
    "mobilenet_v2",
)
DEEP = "\0deep\0"
"""Stands for a value nested many times, which no JSON writer writes."""
VALUES = (*NUMBERS, *WORDS, None, True, False, [], {}, [[]], {"": None}, [1] * 200, ["x"], DEEP)
NESTED = b"[" * 3000 + b"]" * 3000


@st.composite
def changed_bytes(draw, sound: bytes) -> bytes:
    """Bytes changed, inserted, cut out, repeated or cut off: mostly at the beginning, where headers are."""
    data = bytearray(sound)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, max(0, min(len(data), draw(st.sampled_from([8, 64, 512, len(data)]))) - 1)))
        length = draw(st.sampled_from([1, 1, 1, 2, 4, 16, 200]))
        way = draw(st.integers(0, 6))
        if way == 0:
            data[at : at + length] = draw(st.binary(min_size=1, max_size=length))
        elif way == 1 and at < len(data):
            data[at] ^= 1 << draw(st.integers(0, 7))
        elif way == 2:
            data[at:at] = draw(st.binary(min_size=1, max_size=8))
        elif way == 3:
            del data[at : at + length]
        elif way == 4:
            data[at : at + length] = draw(st.sampled_from([b"\0", b"\xff", b"\x7f"])) * length
        elif way == 5:
            data[at:at] = data[at : at + length] * draw(st.integers(1, 50))
        else:
            del data[draw(st.integers(0, len(data))) :]
    return bytes(data)


@st.composite
def changed_text(draw, sound: str) -> bytes:
    """Numbers and words replaced, lines gone, twice or elsewhere."""
    text = sound
    for _ in range(draw(st.integers(1, 3))):
        places = list(re.finditer(r"-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?|\w+|[{}:;,]", text))
        if draw(st.booleans()) and places:
            place = places[draw(st.integers(0, len(places) - 1))]
            new = str(
                draw(st.sampled_from([*NUMBERS, *WORDS, "{", "}", "{" * 2000, "9" * 5000, "-", ":", "1_0"]))
            )
            text = text[: place.start()] + new + text[place.end() :]
        else:
            lines = text.split("\n")
            at = draw(st.integers(0, len(lines) - 1))
            other = draw(st.integers(0, len(lines) - 1))
            lines[at : at + 1] = draw(st.sampled_from([[], [lines[at]] * 2, [lines[other]], [lines[at] * 3]]))
            text = "\n".join(lines)
    return text.encode("utf-8", "surrogatepass")


def _places(value, place=()):
    """The way to every part of nested dictionaries and lists."""
    keys = value.keys() if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for key in keys:
        yield (*place, key)
        yield from _places(value[key], (*place, key))


@st.composite
def changed_json(draw, sound: dict) -> bytes:
    """Parts replaced by values of any type, gone, renamed or put elsewhere."""
    values = json.loads(json.dumps(sound))
    for _ in range(draw(st.integers(1, 3))):
        places = list(_places(values))
        if not places:
            break
        *way, last = places[draw(st.integers(0, len(places) - 1))]
        parent = values
        for key in way:
            parent = parent[key]
        what = draw(st.integers(0, 5))
        if what == 0:
            del parent[last]
        elif what == 1 and isinstance(parent, dict):
            parent[draw(st.sampled_from(WORDS))] = parent.pop(last)
        elif what == 2:
            other = values
            for key in places[draw(st.integers(0, len(places) - 1))]:
                other = other[key]
            parent[last] = json.loads(json.dumps(other))
        else:
            parent[last] = copy.deepcopy(draw(st.sampled_from(VALUES)))
    return json.dumps(values).encode().replace(json.dumps(DEEP).encode(), NESTED)


RANGES = {"int32": (-(2**31), 2**31 - 1), "int64": (-(2**63), 2**63 - 1), "uint32": (0, 2**32 - 1)}
KINDS = {1: "float", 2: "float", 3: "int64", 4: "uint32", 5: "int32", 13: "uint32", 17: "int32", 18: "int64"}
"""Types of a protobuf field's descriptor."""


def _fields(message):
    """(message, field) of every field that is set, in the message and those within it."""
    for field, value in message.ListFields():
        yield message, field
        for part in value if _repeated(field) else [value]:
            if field.message_type is not None:
                yield from _fields(part)


def _repeated(field) -> bool:
    return bool(field.is_repeated) if hasattr(field, "is_repeated") else field.label == field.LABEL_REPEATED


@st.composite
def changed_message(draw, sound) -> bytes:
    """Fields of a protobuf message changed within their types, gone, or twice; then perhaps its bytes."""
    message = type(sound)()
    message.CopyFrom(sound)
    for _ in range(draw(st.integers(1, 3))):
        places = list(_fields(message))
        if not places:
            break
        # Kinds of fields first: else most draws would be among the many numbers of weights.
        names = sorted({(owner.DESCRIPTOR.name, field.name) for owner, field in places})
        name = draw(st.sampled_from(names))
        those = [place for place in places if (place[0].DESCRIPTOR.name, place[1].name) == name]
        owner, field = those[draw(st.integers(0, len(those) - 1))]
        _change(draw, owner, field)
    data = message.SerializeToString()
    return draw(changed_bytes(data)) if draw(st.integers(0, 9)) == 0 else data


def _change(draw, owner, field) -> None:
    way = draw(st.integers(0, 4))
    values = getattr(owner, field.name)
    if way == 0:
        owner.ClearField(field.name)
    elif _repeated(field) and way == 1:
        del values[draw(st.integers(0, len(values))) :]
    elif _repeated(field) and way == 2:
        values.extend(list(values)[:1000])
    elif field.message_type is None:
        new = _value(draw, field)
        if new is None:
            return
        if _repeated(field):
            values[draw(st.integers(0, len(values) - 1))] = new
        else:
            setattr(owner, field.name, new)


def _value(draw, field):
    kind = KINDS.get(field.type)
    if kind in RANGES:
        low, high = RANGES[kind]
        chosen = [int(number) for number in NUMBERS if number == number and abs(number) < 2**70]
        return min(high, max(low, draw(st.sampled_from(chosen))))
    if kind == "float":
        return draw(st.sampled_from([0.0, -1.0, 0.5, 1e-38, 1e6, 3e38, -3e38, float("nan"), float("inf")]))
    if field.type == field.TYPE_STRING:
        return draw(st.sampled_from([word for word in WORDS if word.isprintable() or word == "\0"]))
    if field.type == field.TYPE_BYTES:
        return draw(st.binary(max_size=40))
    if field.type == field.TYPE_BOOL:
        return draw(st.booleans())
    if field.type == field.TYPE_ENUM:
        return draw(st.sampled_from([value.number for value in field.enum_type.values]))
    return None


def lines_or_bytes(sound: str) -> st.SearchStrategy[bytes]:
    return st.one_of(changed_text(sound), changed_text(sound), changed_bytes(sound.encode()))


def json_or_bytes(sound: dict) -> st.SearchStrategy[bytes]:
    text = json.dumps(sound, indent=1)
    return st.one_of(changed_json(sound), changed_json(sound), changed_bytes(text.encode()))


def message_or_bytes(sound) -> st.SearchStrategy[bytes]:
    return st.one_of(changed_message(sound), changed_message(sound), changed_bytes(sound.SerializeToString()))
