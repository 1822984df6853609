"""tools/debian_packages.sh, with a dpkg and an apt-get made here: names what is missing, or installs it."""

import os
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "tools" / "debian_packages.sh"


@pytest.fixture
def run(tmp_path):
    """(arguments, installed packages) -> the finished script, and what apt-get was called with."""
    calls = tmp_path / "calls"
    programs = {
        "dpkg-query": 'shift 3; case " $INSTALLED " in *" $1 "*) echo installed;; esac',
        "apt-get": f'echo "$@" >> "{calls}"',
        "sudo": 'exec "$@"',
    }
    for name, body in programs.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{body}\n")
        (tmp_path / name).chmod(0o755)

    def call(*arguments, installed=""):
        environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "INSTALLED": installed}
        done = subprocess.run(
            [SCRIPT, *arguments], env=environment, capture_output=True, text=True, check=False
        )
        return done, calls.read_text().splitlines() if calls.exists() else []

    return call


def test_what_is_missing_is_one_line_with_the_command_and_nothing_is_installed(run):
    done, calls = run("arm", installed="qemu-user")
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "missing: g++-aarch64-linux-gnu; `make deps`" in done.stderr
    assert "apt-get install --no-install-recommends g++-aarch64-linux-gnu\n" in done.stderr
    assert calls == []


def test_install_installs_just_what_is_missing(run):
    done, calls = run("--install", "arm", installed="qemu-user")
    assert done.returncode == 0, done.stderr
    assert calls[-1].split()[-1] == "g++-aarch64-linux-gnu"
    assert "qemu-user" not in calls[-1]


def test_nothing_missing_is_silence(run):
    done, calls = run("--install", "arm", installed="qemu-user g++-aarch64-linux-gnu")
    assert (done.returncode, done.stdout, done.stderr, calls) == (0, "", "", [])


def test_the_build_s_packages_are_those_of_its_list(run):
    names = [line for line in (SCRIPT.parents[1] / "custom_caffe/apt-packages.txt").read_text().splitlines()]
    names = [name for name in names if not name.startswith("#")]
    done, _ = run("caffe", installed=" ".join(name for name in names if name != "cmake"))
    assert "missing: cmake; " in done.stderr


def test_an_unknown_part_is_wrong_usage(run):
    done, calls = run("--install", "windows")
    assert done.returncode == 2
    assert calls == []
