"""Completion by the TAB key: the script that is written, asked in a real bash."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ASK = """
source "$1"; shift
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMP_LINE="$*"; COMP_POINT=${#COMP_LINE}
complete -p facealign >/dev/null || exit 3
function=$(complete -p facealign | sed 's/.*-F \\([^ ]*\\).*/\\1/')
"$function" facealign "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.fixture(scope="module")
def script(tmp_path_factory):
    path = tmp_path_factory.mktemp("completion") / "facealign.bash"
    with path.open("w") as output:
        command = [sys.executable, "-m", "facealign", "completion", "bash"]
        subprocess.run(command, cwd=ROOT, stdout=output, check=True)
    return path


def completed(script, folder, *words):
    """What bash offers for the last of these words, typed in a folder, without facealign being run."""
    done = subprocess.run(
        ["bash", "--norc", "-c", ASK, "bash", str(script), "facealign", *words],
        cwd=folder,
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    return set(done.stdout.split())


def test_verbs_and_options(script, tmp_path):
    assert completed(script, tmp_path, "make") == {"make-lmdb", "make-prototxt"}
    assert completed(script, tmp_path, "train", "--st") == {"--stage"}
    assert {"--stage", "--recipe", "--quiet", "--json"} <= completed(script, tmp_path, "train", "--")


def test_values_and_files(script, tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "weights.onnx").touch()
    assert completed(script, tmp_path, "train", "--stage", "") == {"1", "2", "3", "cascade"}
    assert completed(script, tmp_path, "align", "--engine", "n") == {"ncnn"}
    assert completed(script, tmp_path, "align", "--weights", "w") == {"weights.onnx"}
    assert completed(script, tmp_path, "detect-faces", "--data", "") == {"photos"}


def test_values_and_files_after_an_equals_sign(script, tmp_path):
    """bash makes it a word of its own, and the value after it another."""
    (tmp_path / "weights.onnx").touch()
    formats = {"json", "jsonl", "csv", "pts"}
    assert completed(script, tmp_path, "align", "--format", "=") == formats
    assert completed(script, tmp_path, "align", "--format", "=", "js") == {"json", "jsonl"}
    assert completed(script, tmp_path, "align", "--weights", "=", "w") == {"weights.onnx"}
    assert completed(script, tmp_path, "align", "--format", "=", "csv", "--engine", "=", "nc") == {"ncnn"}
    assert completed(script, tmp_path, "align", "--format", "=", "csv", "--montag") == {"--montage"}


def test_only_the_standard_package_is_needed(tmp_path):
    """No package of an extra, be it of verbs that need one."""
    code = (
        "import sys\n"
        "for name in ('lmdb', 'matplotlib', 'jinja2', 'fastapi', 'uvicorn', 'skimage', 'caffe'):\n"
        "    sys.modules[name] = None\n"
        "from facealign.commands.completion import script\n"
        "print(len(script('zsh')))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
