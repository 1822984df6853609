"""Places in an LMDB's file, by the format of LMDB 0.9, at which a change ends the process that reads it."""

import struct
from pathlib import Path

PAGE = 4096
ROOT_OF_RECORDS, TRANSACTION = 128, 144
"""Offsets in a meta page."""
LOWER, FIRST_NODE = 12, 16
"""Offsets in any other page: the end of its list of nodes, and that list."""


def root_page(data: bytes) -> int:
    """Where the root page of the newest tree begins."""
    newest = max((0, PAGE), key=lambda meta: struct.unpack_from("<Q", data, meta + TRANSACTION))
    return struct.unpack_from("<Q", data, newest + ROOT_OF_RECORDS)[0] * PAGE


def first_node(data: bytes, page: int) -> int:
    return page + struct.unpack_from("<H", data, page + FIRST_NODE)[0]


def root_without_children(file: Path) -> None:
    """At which LMDB's own assertion fails."""
    data = bytearray(file.read_bytes())
    struct.pack_into("<H", data, root_page(data) + LOWER, FIRST_NODE)
    file.write_bytes(data)


def value_beyond_the_end(file: Path) -> None:
    """The first value, of pages of its own, is said to be of 2 GB: reading it is a bus error."""
    data = bytearray(file.read_bytes())
    leaf = struct.unpack_from("<I", data, first_node(data, root_page(data)))[0] * PAGE
    struct.pack_into("<I", data, first_node(data, leaf), 2**31 - PAGE)
    file.write_bytes(data)


def hole(file: Path) -> None:
    """The second half is zeros, as an interrupted copy may leave it."""
    data = file.read_bytes()
    file.write_bytes(data[: len(data) // 2] + bytes(len(data) - len(data) // 2))
