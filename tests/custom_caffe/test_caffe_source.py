"""Fetching and verifying the source, and when the wheel is built again."""

from __future__ import annotations

import io
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "custom_caffe"))

from builder import boost, common, packages, source, wheel  # noqa: E402
from builder import compile as compiling  # noqa: E402

FILES = ["CMakeLists.txt", "LICENSE", "cmake", "include", "python", "src", "tools"]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A small tree with every entry of the lock."""
    root = tmp_path / "tree"
    for name in FILES:
        path = root / name if "." in name or name.isupper() else root / name / "deeper" / "file.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{name}\n")
    return root


@pytest.fixture
def locked(tree: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
    """A lock that accepts that tree, with the local place only."""
    lock = {
        "name": "Caffe",
        "commit": "99bd997",
        "files": FILES,
        "sha256": source.tree_hash(tree, FILES),
        "place": [{"kind": "local", "variable": "CAFFE_SOURCE"}],
    }
    monkeypatch.setattr(source, "read_lock", lambda: lock)
    return lock


def test_the_lock_is_complete() -> None:
    lock = source.read_lock()
    assert lock["files"] == FILES
    assert len(lock["sha256"]) == 64
    assert [place["kind"] for place in lock["place"]] == ["local", "debian", "url", "url"]


def test_readme_and_other_files_do_not_count(tree: Path) -> None:
    before = source.tree_hash(tree, FILES)
    (tree / "README.md").write_text("another")
    (tree / "scripts").mkdir()
    (tree / "scripts" / "cpp_lint.py").write_text("another")
    assert source.tree_hash(tree, FILES) == before


@pytest.mark.parametrize("change", ["edit", "add", "remove", "rename"])
def test_any_change_of_what_is_used_counts(change: str, tree: Path) -> None:
    before = source.tree_hash(tree, FILES)
    file = tree / "src" / "deeper" / "file.txt"
    if change == "edit":
        file.write_text("other")
    elif change == "add":
        (tree / "src" / "new").write_text("")
    elif change == "remove":
        file.unlink()
    else:
        file.rename(file.with_name("file2.txt"))
    assert source.tree_hash(tree, FILES) != before


@pytest.mark.parametrize("form", ["directory", "tar.gz", "zip", "flat tar.gz"])
def test_a_local_source_in_any_form(
    form: str, tree: Path, locked: dict[str, object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tree
    if form == "tar.gz":
        place = Path(shutil.make_archive(str(tmp_path / "a"), "gztar", tmp_path, "tree"))
    elif form == "zip":
        place = Path(shutil.make_archive(str(tmp_path / "a"), "zip", tmp_path, "tree"))
    elif form == "flat tar.gz":
        place = Path(shutil.make_archive(str(tmp_path / "a"), "gztar", tree))
    monkeypatch.setenv("CAFFE_SOURCE", str(place))
    (tmp_path / "out" / "fetch-killed" / "half").mkdir(parents=True)
    source.fetch(tmp_path / "out" / "upstream")
    assert source.tree_hash(tmp_path / "out" / "upstream", FILES) == locked["sha256"]
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["upstream"]


@pytest.mark.parametrize("fault", ["tampered", "incomplete", "missing", "broken archive"])
def test_a_wrong_local_source_is_refused_by_name(
    fault: str, tree: Path, locked: dict[str, object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tree
    if fault == "tampered":
        (tree / "src" / "deeper" / "file.txt").write_text("src;\n")
    elif fault == "incomplete":
        shutil.rmtree(tree / "tools")
    elif fault == "missing":
        place = tmp_path / "nowhere"
    else:
        place = tmp_path / "broken.tar.gz"
        place.write_bytes(b"\x1f\x8b broken")
    monkeypatch.setenv("CAFFE_SOURCE", str(place))
    with pytest.raises(common.BuildError) as raised:
        source.fetch(tmp_path / "upstream")
    message = str(raised.value)
    assert place.name in message
    assert "\n" not in message
    assert not (tmp_path / "upstream").exists()


def test_archives_are_unpacked_by_a_python_without_filters(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(tarfile, "data_filter", raising=False)
    archive = Path(shutil.make_archive(str(tmp_path / "a"), "gztar", tmp_path, "tree"))
    assert source.tree_hash(source.unpack(archive, tmp_path / "out"), FILES) == source.tree_hash(tree, FILES)


@pytest.mark.parametrize("filters", [True, False], ids=["filters", "as in Python 3.11.2"])
def test_archives_that_reach_outside_are_refused(
    filters: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not filters:
        monkeypatch.delattr(tarfile, "data_filter", raising=False)
    archive = tmp_path / "evil.tar"
    with tarfile.open(archive, "w") as packed:
        entry = tarfile.TarInfo("../outside")
        entry.size = 1
        packed.addfile(entry, io.BytesIO(b"x"))
    with pytest.raises(common.BuildError, match=r"evil\.tar"):
        source.unpack(archive, tmp_path / "out")
    assert not (tmp_path / "outside").exists()


def test_places_are_tried_in_order_and_the_remedy_is_named(
    tree: Path, locked: dict[str, object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CAFFE_SOURCE", raising=False)
    good = Path(shutil.make_archive(str(tmp_path / "good"), "gztar", tmp_path, "tree")).as_uri()
    (tree / "src" / "deeper" / "file.txt").write_text("tampered")
    bad = Path(shutil.make_archive(str(tmp_path / "bad"), "gztar", tmp_path, "tree")).as_uri()
    absent = (tmp_path / "absent.tar.gz").as_uri()
    local = {"kind": "local", "variable": "CAFFE_SOURCE"}
    locked["place"] = [local, *({"kind": "url", "url": url} for url in (absent, bad, good))]
    source.fetch(tmp_path / "upstream")
    assert source.tree_hash(tmp_path / "upstream", FILES) == locked["sha256"]

    locked["place"] = [local, {"kind": "url", "url": absent}, {"kind": "url", "url": bad}]
    with pytest.raises(common.BuildError, match=r"absent\.tar\.gz.*bad\.tar\.gz.*set CAFFE_SOURCE"):
        source.fetch(tmp_path / "other")


def test_the_built_source_is_the_locked_one() -> None:
    upstream = common.build_directory() / "upstream"
    source.verify(upstream, "build/caffe/upstream", source.read_lock())


def test_the_installed_wheel_is_of_the_present_sources() -> None:
    """Fails when custom_caffe changed after the wheel was built: run the build again."""
    interpreter = compiling.Interpreter.ask(sys.executable)
    assert interpreter.numpy == np.__version__
    assert wheel.installed_key(interpreter) == wheel.build_key(interpreter)


def test_a_second_build_does_nothing() -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "custom_caffe" / "build.py"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "is up to date" in done.stderr
    assert Path(done.stdout.strip()).exists()


def test_wrong_use_is_told_in_a_line(tmp_path: Path) -> None:
    program = [sys.executable, str(ROOT / "custom_caffe" / "build.py"), "--venv", str(tmp_path / "none")]
    done = subprocess.run(program, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "no Python in it" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_python_without_boost_is_told_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(boost, "headers", lambda: "1_60")
    with pytest.raises(
        common.BuildError, match=r"no Boost\.Python for Python 3\.99.*headers are 1_60, not 1_74"
    ):
        boost.ensure((3, 99), tmp_path)


def test_the_library_of_a_named_directory_is_taken(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "libboost_python399.so").touch()
    monkeypatch.setenv("BOOST_LIBRARY_DIR", f"/nowhere:{tmp_path}")
    assert boost.ensure((3, 99), tmp_path) == tmp_path / "libboost_python399.so"
    assert boost.bundled((3, 99)) is None


def test_missing_packages_are_named_with_the_command_and_not_installed(monkeypatch):
    wanted = [*packages.required(), "no-such-package"]
    monkeypatch.setattr(packages, "required", lambda: wanted)
    with pytest.raises(
        common.BuildError, match=r"missing: no-such-package; as root: apt-get install .*make deps"
    ):
        packages.require()


def test_packages_are_named_once_and_installed() -> None:
    names = packages.required()
    assert len(names) == len(set(names)) > 10
    assert packages.missing() == []
