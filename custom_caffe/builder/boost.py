"""Finds the Boost.Python of a Python version, or compiles it if the system has none."""

from __future__ import annotations

import os
import re
import shutil
import tomllib
from pathlib import Path
from typing import cast

from builder import source
from builder.common import HERE, BuildError, build_directory, capture, hash_files, run_logged, say

_NAME = "libboost_python"
_FILES = HERE / "boost-python"


def directories() -> list[Path]:
    """Where Boost's libraries are looked for."""
    roots = [Path(root) for root in os.environ.get("BOOST_LIBRARY_DIR", "").split(":") if root]
    return [*roots, Path("/usr/local/lib"), *sorted(Path("/usr/lib").glob("*-linux-gnu")), Path("/usr/lib64")]


def find(version: tuple[int, int]) -> Path | None:
    """The system's Boost.Python library for this minor version of Python, or None."""
    name = f"{_NAME}{version[0]}{version[1]}.so"
    return next((root / name for root in directories() if (root / name).exists()), None)


def bundled(version: tuple[int, int]) -> Path | None:
    """The library that we compiled, which a wheel has to bring along, or None if the system has one."""
    if find(version) is not None:
        return None
    return _build_tree(version) / f"{_NAME}{version[0]}{version[1]}.so.{read_lock()['commit']}"


class BoostLock(source.Lock):
    """Also the version of the headers, as they spell it."""

    headers: str


def read_lock() -> BoostLock:
    """The contents of boost.lock."""
    return cast(BoostLock, tomllib.loads((_FILES / "boost.lock").read_text()))


def definitions(version: tuple[int, int]) -> list[str]:
    """Compiler options with which Boost.Python's headers work for this version of Python."""
    if version < (3, 13):
        return []
    # Removed from Python. What replaces them does the same where the format is a tuple's, as it always is.
    return ["-DPyEval_CallFunction=PyObject_CallFunction", "-DPyEval_CallMethod=PyObject_CallMethod"]


def ensure(version: tuple[int, int], include: Path) -> Path:
    """The Boost.Python library for a Python with its headers in `include`; compiled if the system has none.

    Raises BuildError if it cannot be.
    """
    found = find(version)
    if found is not None:
        return found
    lock = read_lock()
    have = headers()
    if have != lock["headers"]:
        others = sorted(
            {file.stem.removeprefix(_NAME) for root in directories() for file in root.glob(f"{_NAME}3*.so")}
        )
        there = ", ".join(f"{other[0]}.{other[1:]}" for other in others) or "none"
        raise BuildError(
            f"no Boost.Python for Python {version[0]}.{version[1]} here (there is one for: {there}),"
            f" and none can be compiled: Boost's headers are {have or 'missing'}, not {lock['headers']};"
            " use such a Python, or name a directory with the library in BOOST_LIBRARY_DIR"
        )
    tree = _build_tree(version)
    library = tree / f"{_NAME}{version[0]}{version[1]}.so"
    key = hash_files(_FILES, _FILES.iterdir())
    made = tree / "made_from"
    if library.exists() and made.exists() and made.read_text() == key:
        return library
    code = build_directory() / "boost"
    try:
        source.verify(code, str(code), lock)
    except BuildError:
        source.fetch(code, lock)
    patched = tree / "source"
    if patched.exists():
        shutil.rmtree(patched)
    shutil.copytree(code, patched)
    capture(
        ["patch", "--strip=1", "--fuzz=0", "--batch", f"--input={_FILES / 'current-python.patch'}"],
        directory=patched,
    )
    name = f"{version[0]}.{version[1]}"
    say(f"the system's Boost has no library for Python {name}: compiling Boost.Python {lock['commit']}")
    settings = {
        "CMAKE_BUILD_TYPE": "Release",
        "CMAKE_CXX_FLAGS": " ".join(definitions(version)),
        "CMAKE_SHARED_LINKER_FLAGS": "-Wl,--as-needed -Wl,-s",
        "SOURCE": patched,
        "PYTHON_INCLUDE_DIR": include,
        "SUFFIX": name.replace(".", ""),
        "BOOST_VERSION": lock["commit"],
    }
    options = [f"-D{key}={value}" for key, value in settings.items()]
    run_logged(["cmake", *options, _FILES], tree / "cmake.log", directory=tree)
    run_logged(
        ["cmake", "--build", tree, f"-j{len(os.sched_getaffinity(0))}"], tree / "make.log", directory=tree
    )
    made.write_text(key)
    return library


def headers() -> str | None:
    """The version of the system's Boost headers, such as 1_74, or None if there are none."""
    file = Path("/usr/include/boost/version.hpp")
    if not file.exists():
        return None
    found = re.search(r'#define BOOST_LIB_VERSION "([0-9_]+)"', file.read_text())
    return found.group(1) if found else None


def _build_tree(version: tuple[int, int]) -> Path:
    tree = build_directory() / f"boost-python-cp{version[0]}{version[1]}"
    tree.mkdir(parents=True, exist_ok=True)
    return tree
