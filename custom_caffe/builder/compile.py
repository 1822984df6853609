"""Patches the source, adds our layers and compiles, touching only what changed since the last time."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from builder import boost, source
from builder.common import HERE, BuildError, build_directory, capture, run_logged, say, scratch
from builder.variants import Variant

_QUESTIONS = """
import json, sys, sysconfig
try:
    import numpy
    found = numpy.get_include(), numpy.__version__
except ImportError:
    found = "", ""
print(json.dumps({
    "version": list(sys.version_info[:3]), "tag": sys.implementation.cache_tag, "gil": bool(
        not sysconfig.get_config_var("Py_GIL_DISABLED")),
    "include": sysconfig.get_path("include"), "platform": sysconfig.get_platform(),
    "purelib": sysconfig.get_path("purelib"), "numpy_include": found[0], "numpy": found[1],
}))
"""


@dataclass(frozen=True)
class Interpreter:
    """What a build has to know of the Python it is for."""

    executable: Path
    version: tuple[int, int]
    include: Path
    site_packages: Path
    platform: str
    numpy: str
    numpy_include: Path

    @classmethod
    def ask(cls, executable: str | Path) -> Interpreter:
        """Ask an interpreter about itself.

        Raises BuildError if it cannot be run, is not CPython 3.11 or later, has no NumPy 2 or no headers.
        """
        answer = json.loads(capture([executable, "-c", _QUESTIONS]))
        version = (answer["version"][0], answer["version"][1])
        name = f"Python {version[0]}.{version[1]} ({executable})"
        if not answer["tag"].startswith("cpython") or not answer["gil"] or version < (3, 11):
            raise BuildError(f"{name}: CPython 3.11 or later, not free-threaded, is needed")
        if not answer["numpy"] or int(answer["numpy"].split(".")[0]) < 2:
            raise BuildError(f"{name} has no NumPy 2: install it with 'pip install \"numpy>=2\"'")
        return cls(
            Path(executable),
            version,
            Path(answer["include"]),
            Path(answer["purelib"]),
            answer["platform"],
            answer["numpy"],
            Path(answer["numpy_include"]),
        )

    @property
    def tag(self) -> str:
        """The wheel tag, such as cp311-cp311-linux_x86_64."""
        python = f"cp{self.version[0]}{self.version[1]}"
        return f"{python}-{python}-{self.platform.replace('-', '_').replace('.', '_')}"


def keeps_names() -> bool:
    """Whether the libraries keep the names of their functions, which perf shows: CAFFE_SYMBOLS=1."""
    return os.environ.get("CAFFE_SYMBOLS") == "1"


def compile_caffe(interpreter: Interpreter, variant: Variant) -> Path:
    """Compile libcaffe, pycaffe and the command; returns the directory they are in."""
    tree = configure(interpreter, variant)
    make(tree, ["caffe", "pycaffe", "caffe_program"])
    return tree


def configure(interpreter: Interpreter, variant: Variant) -> Path:
    """Bring the sources up to date and run CMake on them; returns the directory to build in."""
    if not (interpreter.include / "Python.h").exists():
        raise BuildError(
            f"no Python headers in {interpreter.include}: install this Python's development files"
        )
    boost_python = boost.ensure(interpreter.version, interpreter.include)
    root = build_directory()
    prepare_source(root)
    numpy_headers = root / f"numpy-{interpreter.numpy}"
    # Under a lasting name: the path an isolated build gives is new each time, and all would compile anew.
    synchronise(interpreter.numpy_include, numpy_headers)
    tree = root / f"build-{variant.name}-cp{interpreter.version[0]}{interpreter.version[1]}"
    tree.mkdir(exist_ok=True)
    bundled = boost.bundled(interpreter.version)
    if bundled is not None:  # beside what is linked to it
        (tree / "lib").mkdir(exist_ok=True)
        shutil.copy2(bundled, tree / "lib")
    names = "" if keeps_names() else " -Wl,-s"
    settings: dict[str, object] = {
        "CMAKE_BUILD_TYPE": "Release",
        "CMAKE_EXPORT_NO_PACKAGE_REGISTRY": "ON",
        # The libraries of the wheel find each other beside themselves.
        "CMAKE_BUILD_WITH_INSTALL_RPATH": "ON",
        "CMAKE_INSTALL_RPATH": ";".join(["$ORIGIN", *(f"$ORIGIN/{path}" for path in variant.library_path)]),
        "CMAKE_INSTALL_RPATH_USE_LINK_PATH": "OFF",
        "CMAKE_SHARED_LINKER_FLAGS": f"-Wl,--as-needed{names}",
        "CMAKE_PREFIX_PATH": ";".join(variant.search),
        "BLAS": "Open",
        "BUILD_docs": "OFF",
        "USE_LEVELDB": "OFF",
        # For ConvolutionDepthwise and threads/; nothing else in Caffe uses it.
        "USE_OPENMP": "ON",
        "PYTHON_INCLUDE_DIR": interpreter.include,
        "NUMPY_INCLUDE_DIR": numpy_headers,
        "BOOST_PYTHON_LIBRARY": boost_python,
        "CMAKE_CXX_FLAGS": " ".join([*boost.definitions(interpreter.version), *variant.compiler_options]),
        **variant.settings,
    }
    python = f"{interpreter.version[0]}.{interpreter.version[1]}"
    say(f"compiling for Python {python}, NumPy {interpreter.numpy}, {variant.name}")
    definitions = [f"-D{name}={value}" for name, value in settings.items()]
    run_logged(["cmake", *definitions, root / "source"], tree.with_suffix(".cmake.log"), directory=tree)
    return tree


def make(tree: Path, targets: list[str], log: Path | None = None) -> None:
    """Build targets in a configured directory; the output goes to `log`, or to a file beside that."""
    # Without the shell's make flags: make is often what started this, and its jobs are not ours.
    made = ("MAKEFLAGS", "MFLAGS", "MAKELEVEL")
    environment = {name: value for name, value in os.environ.items() if name not in made}
    command = ["make", f"-j{len(os.sched_getaffinity(0))}", *targets]
    run_logged(command, log or tree.with_suffix(".make.log"), directory=tree, environment=environment)


def prepare_source(root: Path) -> None:
    """Bring root/source up to date: upstream, our patches, our layers. Unchanged files keep their times."""
    upstream = root / "upstream"
    lock = source.read_lock()
    try:
        source.verify(upstream, str(upstream), lock)
    except BuildError:
        source.fetch(upstream)
    with scratch("patch", root) as made:
        tree = made / "source"
        shutil.copytree(upstream, tree)
        for patch in sorted((HERE / "patches").glob("*.patch")):
            try:
                capture(["patch", "--strip=1", "--fuzz=0", "--batch", f"--input={patch}"], directory=tree)
            except BuildError as error:
                raise BuildError(f"{patch.name} does not apply: {error}") from error
        for part in ("layers", "fusion", "steps", "threads", "kernels", "errors"):
            for file in sorted((HERE / part).iterdir()):
                root_of = "include" if file.suffix in (".hpp", ".inl") else "src"
                folder = tree / root_of / "caffe" / part
                folder.mkdir(exist_ok=True)
                shutil.copy2(file, folder / file.name)
        (tree / "tools" / "program").mkdir()
        shutil.copy2(HERE / "program" / "caffe_program.cc", tree / "tools" / "program")
        synchronise(tree, root / "source")


def _files(directory: Path) -> Iterator[Path]:
    return (path for path in directory.rglob("*") if path.is_file())


def synchronise(origin: Path, copy: Path) -> None:
    """Make `copy` hold the files of `origin` and no others, writing only those whose bytes differ."""
    wanted = {path.relative_to(origin) for path in _files(origin)}
    for path in list(_files(copy)) if copy.exists() else []:
        if path.relative_to(copy) not in wanted:
            path.unlink()
    for name in sorted(wanted):
        content = (origin / name).read_bytes()
        target = copy / name
        if not target.exists() or target.read_bytes() != content:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
