"""Prototxt files: read, checked and written with our own copy of Caffe's schema."""

import re
from pathlib import Path

from google.protobuf import text_format
from google.protobuf.message import Message

from facealign.caffe_files.net_shapes import LayerError, trace
from facealign.caffe_files.proto import caffe_pb2
from facealign.errors import FaceAlignError
from facealign.io.reading import read_text


def read_net(path: Path) -> caffe_pb2.NetParameter:
    """The net in a prototxt file.

    Raises FaceAlignError when it has no layer, and, with the line, when it is malformed or has an unknown
    field.
    """
    text = read_text(path, "expected a deploy prototxt")
    net = caffe_pb2.NetParameter()
    parse_net(text, net, path)
    if not net.layer:
        raise FaceAlignError(f"{path}: not a Caffe net: it has no layer")
    return net


def parse_net(text: str, net: Message, path: Path) -> None:
    """Parse the text of the prototxt `path` into `net`, a NetParameter of our schema or of Caffe's.

    Raises FaceAlignError, with the line, when that is not possible.
    """
    try:
        text_format.Parse(text, net)
    except text_format.ParseError as error:
        line, reason = error.GetLine(), one_line(error)
        if line is None:
            raise FaceAlignError(f"{path}: not a Caffe net: {reason}") from error
        reason = re.sub(r"^\d+:\d+ : ", "", reason)
        raise FaceAlignError(f"{path}, line {line}: not a Caffe net: {reason}") from error
    except (ValueError, RecursionError) as error:
        raise FaceAlignError(f"{path}: not a Caffe net: {one_line(error)}") from error


def read_deploy(path: Path) -> caffe_pb2.NetParameter:
    """The net in a deploy prototxt, checked so that it can be run, exported and given weights.

    Raises FaceAlignError as `read_net` and `trace` do, with the line where the invalid layer begins.
    """
    net = read_net(path)
    try:
        trace(net, str(path))
    except LayerError as error:
        lines = layer_lines(path.read_text(encoding="utf-8"))
        if len(lines) != len(net.layer):
            raise
        reason = str(error).removeprefix(f"{path}: ")
        raise FaceAlignError(f"{path}, line {lines[error.index]}: {reason}") from error
    return net


_TOKEN = re.compile(r"#[^\n]*|\"(?:\\.|[^\"\\\n])*\"|'(?:\\.|[^'\\\n])*'|[{}<>\n]|\w+")


def layer_lines(text: str) -> list[int]:
    """The line (from 1) on which each `layer { ... }` of a well-formed prototxt begins."""
    lines, depth, line = [], 0, 1
    for token in _TOKEN.findall(text):
        line += token == "\n"
        depth += (token in "{<") - (token in "}>")
        if token == "layer" and depth == 0:
            lines.append(line)
    return lines


def one_line(error: Exception) -> str:
    """First line of an exception's message, or its type when it has none."""
    return (str(error).splitlines() or [type(error).__name__])[0]


def text(message: Message, title: str) -> str:
    """`message` as prototxt, below comment lines: the title and how the file is made."""
    head = "".join(f"# {line}\n" for line in [*title.splitlines(), "Made by `make prototxt`: do not edit."])
    return head + str(text_format.MessageToString(message))
