"""What values read from a file must be: checks that are put together, and name what is wrong and where."""

import math
import reprlib
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

Check = Callable[[Any, str], None]
"""(value, its place) -> None; raises ValueError, a line that begins with the place, on another value."""
LARGEST = 1e9
"""Farthest from 0 that numbers may be by default."""
_short = reprlib.Repr()
_short.maxstring = _short.maxother = _short.maxlong = 60


def _refuse(value: Any, place: str, expected: str) -> ValueError:
    return ValueError(f"{place} is {_short.repr(value)}, expected {expected}")


def number(low: float = -LARGEST, high: float = LARGEST) -> Check:
    """A number from `low` to `high`, never NaN.

    >>> number(0, 1)(0.5, "share")
    >>> number(0, 1)(1e300, "share")
    Traceback (most recent call last):
    ValueError: share is 1e+300, expected a number, 0 to 1
    """
    expected = f"a number, {low:g} to {high:g}"

    def check(value: Any, place: str) -> None:
        if not isinstance(value, int | float) or isinstance(value, bool) or not low <= value <= high:
            raise _refuse(value, place, expected)

    return check


def whole(low: int, high: int = int(LARGEST)) -> Check:
    """A whole number from `low` to `high`."""
    expected = f"a whole number, {low} to {high}"

    def check(value: Any, place: str) -> None:
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise _refuse(value, place, expected)

    return check


def text(*choices: str) -> Check:
    """One of `choices`, by default any string without control characters."""
    expected = " or ".join(map(repr, choices)) or "a string of one line"

    def check(value: Any, place: str) -> None:
        wrong = not isinstance(value, str) or any(
            ord(sign) < 32 or 0xD800 <= ord(sign) < 0xE000 for sign in value
        )
        if wrong or (choices and value not in choices):
            raise _refuse(value, place, expected)

    return check


def truth(value: Any, place: str) -> None:
    """True or False."""
    if not isinstance(value, bool):
        raise _refuse(value, place, "true or false")


def string(value: Any, place: str) -> None:
    """Any string, such as a file's name, which need not be text."""
    if not isinstance(value, str):
        raise _refuse(value, place, "a string")


def anything(value: Any, place: str) -> None:
    """Any value."""


def maybe(check: Check) -> Check:
    """None, or what `check` passes."""

    def check_some(value: Any, place: str) -> None:
        if value is not None:
            check(value, place)

    return check_some


def either(*checks: Check) -> Check:
    """What one of `checks` passes; the error is that of the last."""

    def check(value: Any, place: str) -> None:
        for one in checks[:-1]:
            with suppress(ValueError):
                one(value, place)
                return
        checks[-1](value, place)

    return check


def list_of(item: Check, least: int = 0, most: float = math.inf) -> Check:
    """A list, or tuple, of `least` to `most` values that `item` passes."""
    counted = (
        ""
        if (least, most) == (0, math.inf)
        else f" of {least}"
        if least == most
        else f" of {least} to {most}"
    )

    def check(value: Any, place: str) -> None:
        if not isinstance(value, list | tuple) or not least <= len(value) <= most:
            raise _refuse(value, place, f"a list{counted}")
        for index, one in enumerate(value):
            item(one, f"{place}[{index}]")

    return check


def map_of(item: Check) -> Check:
    """An object, of any keys, whose values `item` passes."""

    def check(value: Any, place: str) -> None:
        if not isinstance(value, dict):
            raise _refuse(value, place, "an object")
        for name, one in value.items():
            item(one, f"{place}[{_short.repr(name)}]")

    return check


def record(
    required: Mapping[str, Check], optional: Mapping[str, Check] | None = None, others: bool = True
) -> Check:
    """An object with the keys of `required`, perhaps those of `optional`, and perhaps others, not looked at.

    >>> record({"box": list_of(number(), 4, 4)})({"box": [1, 2, 3]}, "face")
    Traceback (most recent call last):
    ValueError: face.box is [1, 2, 3], expected a list of 4
    """
    known = {**required, **(optional or {})}

    def check(value: Any, place: str) -> None:
        if not isinstance(value, dict):
            raise _refuse(value, place, "an object")
        for name in required:
            if name not in value:
                raise ValueError(f"{place}.{name} is missing".removeprefix("."))
        for name, one in value.items():
            if name in known:
                known[name](one, f"{place}.{name}".removeprefix("."))
            elif not others:
                raise ValueError(f"unknown field {_short.repr(name)}: made by a newer version?")

    return check


WEIGHTS = record({"weights": text(), "sha256": text()})
"""A weights file, by name and SHA-256."""
