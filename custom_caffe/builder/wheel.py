"""Packs what was compiled into a wheel, once per state of the sources."""

from __future__ import annotations

import base64
import contextlib
import fcntl
import hashlib
import json
import os
import platform
import tomllib
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TypedDict, cast

from builder import boost, source
from builder import compile as compiling
from builder.common import HERE, build_directory, hash_files, say
from builder.variants import CPU, Variant

INFO = "caffe/build_info.json"
"""The file in the wheel that tells what it was built from."""


Project = TypedDict(
    "Project",
    {
        "name": str,
        "version": str,
        "description": str,
        "readme": str,
        "requires-python": str,
        "dependencies": list[str],
        "scripts": dict[str, str],
    },
)


def project() -> Project:
    """The [project] table of pyproject.toml."""
    return cast(Project, tomllib.loads((HERE / "pyproject.toml").read_text())["project"])


def distribution(variant: Variant = CPU) -> str:
    """Name and version as wheel file names spell them."""
    return f"{project()['name'].replace('-', '_')}-{project()['version']}{variant.suffix}"


def build_key(interpreter: compiling.Interpreter, variant: Variant = CPU) -> str:
    """A hash over all that decides what the wheel holds: our files, the variant, the Python, the NumPy, the
    machine.
    """
    files = [
        path
        for path in HERE.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and not path.name.startswith(".")
    ]
    ours = hash_files(HERE, files)
    # Wherever the repository lies, the same wheel comes out.
    settings = repr(variant).replace(str(build_directory()), "")
    parts = [ours, settings, interpreter.tag, interpreter.numpy, platform.machine()]
    parts += ["names"] if compiling.keeps_names() else []
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def wheel_path(interpreter: compiling.Interpreter, variant: Variant = CPU) -> Path:
    """Where the wheel for an interpreter is put."""
    return build_directory() / f"{distribution(variant)}-{interpreter.tag}.whl"


def is_stale(interpreter: compiling.Interpreter, variant: Variant = CPU) -> bool:
    """Whether the wheel is missing or was built from another state of the sources."""
    return wheel_key(wheel_path(interpreter, variant)) != build_key(interpreter, variant)


def ensure_wheel(interpreter: compiling.Interpreter, variant: Variant = CPU) -> Path:
    """The wheel for this interpreter, built only if none of the present state exists."""
    wheel = wheel_path(interpreter, variant)
    with locked(build_directory()):
        return _ensure(wheel, interpreter, variant)


def _ensure(wheel: Path, interpreter: compiling.Interpreter, variant: Variant) -> Path:
    if not is_stale(interpreter, variant):
        say(f"{wheel.name} is up to date")
        return wheel
    key = build_key(interpreter, variant)
    tree = compiling.compile_caffe(interpreter, variant)
    write_wheel(wheel, tree, interpreter, variant, key)
    say(f"built {wheel.name}, {wheel.stat().st_size / 1e6:.1f} MB")
    return wheel


@contextlib.contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Wait until no other process builds in the directory, and keep others waiting."""
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("another build is running: waiting for it")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def wheel_key(wheel: Path) -> str | None:
    """The key a wheel was built under, or None if there is no such wheel."""
    try:
        with zipfile.ZipFile(wheel) as packed:
            return str(json.loads(packed.read(INFO))["key"])
    except (OSError, KeyError, ValueError, zipfile.BadZipFile):
        return None


def installed_key(interpreter: compiling.Interpreter) -> str | None:
    """The key of the Caffe installed for an interpreter, or None."""
    try:
        return str(json.loads((interpreter.site_packages / INFO).read_text())["key"])
    except (OSError, KeyError, ValueError):
        return None


def metadata(variant: Variant) -> str:
    """The METADATA file."""
    table = project()
    lines = [
        "Metadata-Version: 2.4",
        f"Name: {table['name']}",
        f"Version: {table['version']}{variant.suffix}",
        f"Summary: {table['description']}",
        f"Requires-Python: {table['requires-python']}",
        *(f"Requires-Dist: {dependency}" for dependency in [*table["dependencies"], *variant.requirements]),
        "License-File: LICENSE",
        "License-File: NOTICE",
        "Description-Content-Type: text/markdown",
    ]
    return "\n".join(lines) + "\n\n" + (HERE / table["readme"]).read_text()


def write_wheel(
    wheel: Path, tree: Path, interpreter: compiling.Interpreter, variant: Variant, key: str
) -> None:
    """Write the wheel from what was compiled."""
    upstream = build_directory() / "source"
    info = f"{distribution(variant)}.dist-info"
    facts = {
        "key": key,
        "upstream": source.read_lock()["commit"],
        "python": ".".join(str(part) for part in interpreter.version),
        "numpy": interpreter.numpy,
        **variant.facts,
    }
    contents: dict[str, bytes] = {INFO: json.dumps(facts, indent=1).encode()}
    for path in sorted((upstream / "python" / "caffe").rglob("*")):
        name = path.relative_to(upstream / "python").as_posix()
        if path.suffix in (".py", ".npy") and not name.startswith("caffe/test/"):
            contents[name] = path.read_bytes()
    contents["caffe/proto/__init__.py"] = b""
    contents["caffe/proto/caffe_pb2.py"] = (tree / "include/caffe/proto/caffe_pb2.py").read_bytes()
    contents["caffe/libcaffe.so.1.0.0"] = (tree / "lib/libcaffe.so.1.0.0").read_bytes()
    contents["caffe/libcaffe_program.so"] = _first(tree, "libcaffe_program.so").read_bytes()
    contents["caffe/_caffe.so"] = (tree / "lib/_caffe.so").read_bytes()
    bundled = boost.bundled(interpreter.version)
    if bundled is not None:
        contents[f"caffe/{bundled.name}"] = bundled.read_bytes()
    contents["caffe_program.py"] = (HERE / "program/caffe_program.py").read_bytes()
    contents[f"{info}/licenses/LICENSE"] = (upstream / "LICENSE").read_bytes()
    contents[f"{info}/licenses/NOTICE"] = (HERE / "NOTICE").read_bytes()
    contents[f"{info}/METADATA"] = metadata(variant).encode()
    if bundled is not None:
        licence = bundled.parent / "source" / "LICENSE_1_0.txt"
        add_licences(contents, {"boost.txt": licence.read_text()}, variant)
    kind = [
        "Wheel-Version: 1.0",
        "Generator: custom_caffe",
        "Root-Is-Purelib: false",
        f"Tag: {interpreter.tag}",
    ]
    contents[f"{info}/WHEEL"] = "\n".join([*kind, ""]).encode()
    scripts = "".join(f"{name} = {target}\n" for name, target in project()["scripts"].items())
    contents[f"{info}/entry_points.txt"] = f"[console_scripts]\n{scripts}".encode()
    pack(wheel, contents, variant)


def add_licences(contents: dict[str, bytes], texts: Mapping[str, str], variant: Variant) -> None:
    """Add licence texts, by file name, to the contents of a wheel, and to those its METADATA lists."""
    info = f"{distribution(variant)}.dist-info"
    described = contents[f"{info}/METADATA"].decode()
    lines = "".join(f"License-File: {name}\n" for name in sorted(texts))
    contents[f"{info}/METADATA"] = described.replace("License-File:", f"{lines}License-File:", 1).encode()
    for name, text in sorted(texts.items()):
        contents[f"{info}/licenses/{name}"] = text.encode()


def pack(wheel: Path, contents: Mapping[str, bytes], variant: Variant) -> None:
    """Write a wheel and its RECORD, under a temporary name first, so that under its own name it is whole."""
    record_name = f"{distribution(variant)}.dist-info/RECORD"
    files = {name: data for name, data in contents.items() if name != record_name}
    record = [f"{name},sha256={_record_hash(data)},{len(data)}" for name, data in files.items()]
    files[record_name] = "\n".join([*record, f"{record_name},,", ""]).encode()
    wheel.parent.mkdir(parents=True, exist_ok=True)
    unfinished = wheel.with_name(f".{wheel.name}.{os.getpid()}")
    try:
        with zipfile.ZipFile(unfinished, "w", zipfile.ZIP_DEFLATED) as packed:
            for name, data in files.items():
                # A fixed time: the same sources give the same wheel.
                entry = zipfile.ZipInfo(name, (2020, 1, 1, 0, 0, 0))
                entry.external_attr = (0o755 if ".so" in name else 0o644) << 16
                entry.compress_type = zipfile.ZIP_DEFLATED
                packed.writestr(entry, data)
        unfinished.replace(wheel)
    finally:
        unfinished.unlink(missing_ok=True)


def _first(tree: Path, name: str) -> Path:
    return next(path for path in sorted(tree.rglob(name)) if path.is_file())


def _record_hash(data: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
