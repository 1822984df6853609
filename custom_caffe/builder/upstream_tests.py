"""Runs upstream's own tests, C++ and Python, against what we built and installed."""

from __future__ import annotations

import os
import re
import subprocess
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from builder import compile as compiling
from builder import source, wheel
from builder.common import BuildError, build_directory, capture, say
from builder.variants import CPU


@dataclass(frozen=True)
class Exclusion:
    """Tests that are not run.

    suite: "C++" or "Python".
    pattern: a shell pattern of their names.
    """

    suite: str
    pattern: str
    reason: str


EXCLUDED = (
    Exclusion(
        "C++", "BlobSimpleTest/*.TestPointersCPUGPU", "asks for the GPU's memory, which this build has not"
    ),
    Exclusion(
        "C++", "CommonTest.TestBrewMode", "wants the GPU's mode kept; ours becomes the CPU's without a GPU"
    ),
)


@dataclass(frozen=True)
class Outcome:
    """What a suite did.

    planned: the names of the tests that should have run.
    passed: of those, how many did, and passed.
    failed: for each other test its name and what it said, in a line.
    excluded: how many were left out by the table.
    """

    suite: str
    planned: int
    passed: int
    failed: tuple[str, ...]
    excluded: int

    def lines(self) -> list[str]:
        """The report."""
        left_out = f", {self.excluded} excluded" if self.excluded else ""
        head = f"{self.suite}: {self.passed} of {self.planned} passed{left_out}"
        reasons = [
            f"{self.suite}: excluded {entry.pattern}: {entry.reason}"
            for entry in EXCLUDED
            if entry.suite == self.suite
        ]
        return [*reasons, *(f"{self.suite}: FAILED {line}" for line in self.failed), head]


def is_excluded(suite: str, name: str) -> bool:
    """Whether the table leaves a test out."""
    return any(entry.suite == suite and fnmatchcase(name, entry.pattern) for entry in EXCLUDED)


def compile_cpp(interpreter: compiling.Interpreter) -> Path:
    """Compile the C++ tests; returns the directory of the build."""
    with wheel.locked(build_directory()):
        tree = compiling.configure(interpreter, CPU)
        say("compiling upstream's C++ tests (the first time takes minutes)")
        compiling.make(tree, ["caffe", "test.testbin"])
    return tree


def gather() -> Path:
    """Gather what the tests read, in a directory to run them in; needs the sources that a build leaves.

    It holds no package named caffe: the tests find the installed one.
    """
    root = build_directory() / "upstream-tests"
    lock = source.read_lock("tests")
    with wheel.locked(build_directory()):
        try:
            source.verify(root, str(root), lock)
        except BuildError:
            source.fetch(root, lock)
        for folder in ("python/caffe/test", "src/caffe/test/test_data"):
            compiling.synchronise(build_directory() / "source" / folder, root / folder)
    return root


_LAUNCHER = """
import ctypes, sys
arguments = [argument.encode() for argument in sys.argv[1:]]
array = (ctypes.c_char_p * (len(arguments) + 1))(*arguments, None)
sys.exit(ctypes.CDLL(sys.argv[1]).main(len(arguments), array))
"""


def run_cpp(interpreter: compiling.Interpreter, tree: Path, root: Path) -> Outcome:
    """Run the C++ tests. Raises BuildError if they do not even start."""
    suite = "C++"
    log, report = tree.with_suffix(".tests.log"), tree.with_suffix(".tests.xml")
    program: list[str | Path] = [
        interpreter.executable,
        "-I",
        "-c",
        _LAUNCHER,
        tree / "lib" / "test.testbin.so",
    ]
    names = parse_list(capture([*program, "--gtest_list_tests"], directory=root))
    if not names:
        raise BuildError(f"{program[-1]} holds no tests")
    planned = [name for name in names if not is_excluded(suite, name)]
    say(f"running {len(planned)} C++ tests")
    report.unlink(missing_ok=True)
    patterns = ":".join(entry.pattern for entry in EXCLUDED if entry.suite == suite)
    command = [*program, f"--gtest_output=xml:{report}", f"--gtest_filter=-{patterns}"]
    with log.open("w") as stream:
        code = subprocess.run(
            command, cwd=root, stdout=stream, stderr=subprocess.STDOUT, check=False
        ).returncode
    if not report.exists():
        started = re.findall(r"^\[ RUN      \] (\S+)", log.read_text(errors="replace"), re.MULTILINE)
        last = started[-1] if started else "the first test"
        return Outcome(
            suite,
            len(planned),
            max(len(started) - 1, 0),
            (f"{last}: ended the program with {code} (all of it: {log})",),
            len(names) - len(planned),
        )
    return judge(suite, planned, read_report(report), len(names) - len(planned))


def run_python(
    interpreter: compiling.Interpreter,
    root: Path,
    tests: Path = Path("python/caffe/test"),
    suite: str = "Python",
) -> Outcome:
    """Run pycaffe tests with the Caffe that is installed for the interpreter; it needs pytest."""
    report = build_directory() / "python-tests.xml"
    environment = {**os.environ, "GLOG_minloglevel": "2"}
    environment.pop("PYTHONPATH", None)
    where = capture(
        [interpreter.executable, "-P", "-c", "import caffe; print(caffe.__file__)"], directory=root
    )
    if not Path(where.strip()).is_relative_to(interpreter.site_packages):
        raise BuildError(f"import caffe takes {where.strip()}, not the one in {interpreter.site_packages}")
    say(f"running {tests} with {where.strip()}")
    report.unlink(missing_ok=True)
    # Of the project's settings for pytest none are meant for these.
    pytest: list[str | Path] = [
        interpreter.executable,
        "-P",
        "-m",
        "pytest",
        "-q",
        "-c",
        os.devnull,
        "-p",
        "no:cacheprovider",
    ]
    done = subprocess.run(
        [*pytest, "--rootdir", root, f"--junitxml={report}", tests],
        cwd=root,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if not report.exists():
        lines = (done.stderr.strip() or done.stdout.strip() or "no message").splitlines()
        return Outcome(suite, 0, 0, (f"the tests ended with {done.returncode}: {lines[-1]}",), 0)
    results = read_report(report)
    planned = [name for name in results if not is_excluded(suite, name)]
    return judge(suite, planned, results, len(results) - len(planned))


def parse_list(text: str) -> list[str]:
    """The full names in what --gtest_list_tests prints: a class's line, then its tests, indented."""
    names, group = [], ""
    for line in text.splitlines():
        word = line.split("#")[0].rstrip()
        if word.startswith("  "):
            names.append(group + word.strip())
        elif word.endswith("."):
            group = word
    return names


def read_report(report: Path) -> dict[str, str]:
    """For each test in an XML report, of pytest or googletest, an empty text or why it did not pass."""
    results = {}
    for case in ElementTree.parse(report).getroot().iter("testcase"):
        name = f"{case.get('classname')}.{case.get('name')}"
        # googletest names what was compiled in, but left out by the filter or disabled, too.
        bad = next(
            (case.find(tag) for tag in ("failure", "error", "skipped") if case.find(tag) is not None), None
        )
        why = "" if case.get("status", "run") == "run" else "not run"
        if bad is not None:
            why = f"{bad.tag}: {(bad.get('message') or bad.text or '').strip()}".splitlines()[0]
        results[name] = why
    return results


def judge(suite: str, planned: list[str], results: dict[str, str], excluded: int) -> Outcome:
    """Compare what was to run with what did."""
    failed = [f"{name}: {results.get(name, 'not run')}" for name in planned if results.get(name, "-")]
    return Outcome(suite, len(planned), len(planned) - len(failed), tuple(failed), excluded)
