"""What the builder puts into a wheel beside the code: licences, RECORD, and the same bytes each time."""

from __future__ import annotations

import base64
import csv
import hashlib
import subprocess
import sys
import zipfile
from email import message_from_string
from importlib import metadata
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "custom_caffe"))

from builder import common, packages, portable, variants, wheel  # noqa: E402

INFO = f"{wheel.distribution(variants.CPU)}.dist-info"


def packed(path: Path) -> dict[str, bytes]:
    """A wheel with two licence texts added, as a file and as its contents."""
    contents = {
        "caffe/_caffe.so": b"code",
        f"{INFO}/METADATA": wheel.metadata(variants.CPU).encode(),
        f"{INFO}/licenses/LICENSE": b"upstream's",
        f"{INFO}/licenses/NOTICE": b"ours",
        f"{INFO}/RECORD": b"of another wheel",
    }
    wheel.add_licences(contents, {"libb.txt": "of b", "liba.txt": "of a"}, variants.CPU)
    wheel.pack(path, contents, variants.CPU)
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def test_every_licence_in_the_wheel_is_named_and_every_named_one_is_there(tmp_path: Path) -> None:
    contents = packed(tmp_path / "a.whl")
    described = message_from_string(contents[f"{INFO}/METADATA"].decode())
    named = described.get_all("License-File")
    assert named == ["liba.txt", "libb.txt", "LICENSE", "NOTICE"]
    there = {name.removeprefix(f"{INFO}/licenses/") for name in contents if "/licenses/" in name}
    assert set(named) == there
    assert contents[f"{INFO}/licenses/libb.txt"] == b"of b"
    assert "custom_caffe: a Caffe that builds today" in described.get_payload()


def test_record_tells_every_file(tmp_path: Path) -> None:
    contents = packed(tmp_path / "a.whl")
    rows = {row[0]: row[1:] for row in csv.reader(contents[f"{INFO}/RECORD"].decode().splitlines())}
    assert set(rows) == set(contents)
    assert rows.pop(f"{INFO}/RECORD") == ["", ""]
    for name, (told, size) in rows.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(contents[name]).digest()).decode().rstrip("=")
        assert (told, int(size)) == (f"sha256={digest}", len(contents[name]))


def test_the_same_contents_give_the_same_bytes(tmp_path: Path) -> None:
    packed(tmp_path / "a.whl")
    packed(tmp_path / "b.whl")
    assert (tmp_path / "a.whl").read_bytes() == (tmp_path / "b.whl").read_bytes()


def test_the_installed_caffe_has_its_licence_and_notice() -> None:
    installed = metadata.distribution("custom-caffe")
    texts = {file.name: file.read_text() for file in installed.files or [] if "licenses" in file.parts}
    assert "The Regents of the University of California" in texts["LICENSE"]
    assert "ConvolutionDepthwise" in texts["NOTICE"]


def test_the_package_that_owns_a_library_is_found() -> None:
    assert packages.owner("libc.so.6") == "libc6"
    with pytest.raises(common.BuildError, match=r"libnobody\.so\.1"):
        packages.owner("libnobody.so.1")


def test_licences_of_vendored_libraries_and_those_they_name() -> None:
    names = ["libstdc++-0a1b2c3d.so.6.0.30", "libgcc_s-00ff00ff.so.1", "liblmdb-12345678.so.0.0.0"]
    texts = portable.debian_licences(names)
    # The first two are of one source package, with one text.
    assert {"libgcc-s1+libstdc++6.txt", "liblmdb0.txt", "common-licenses-GPL-3.txt"} <= set(texts)
    assert "GCC RUNTIME LIBRARY EXCEPTION" in texts["libgcc-s1+libstdc++6.txt"]
    assert "OpenLDAP" in texts["liblmdb0.txt"]
    assert "Version 3, 29 June 2007" in texts["common-licenses-GPL-3.txt"]


def test_another_archive_than_the_locked_one_is_refused(tmp_path: Path) -> None:
    archive = tmp_path / "source.tar.gz"
    archive.write_bytes(b"other")
    with pytest.raises(common.BuildError, match=r"source\.tar\.gz: not the locked source"):
        portable.checked(archive, portable.read_lock()["hdf5"])


def test_portable_goes_with_neither_a_gpu_nor_an_environment() -> None:
    build = ROOT / "custom_caffe" / "build.py"
    for other in (["--gpu"], ["--venv", ".venv"]):
        done = subprocess.run(
            [sys.executable, build, "--portable", *other], capture_output=True, text=True, check=False
        )
        assert done.returncode == 2
        assert "--portable goes" in done.stderr
