"""What is made of the reports of upstream's tests: nothing that failed, or did not run, counts as passed."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "custom_caffe"))

from builder import compile as compiling  # noqa: E402
from builder import source, upstream_tests  # noqa: E402

LISTED = """BlobTest/0.  # TypeParam = float
  TestReshape
  TestPointers
NetTest.
  TestSkip  # of all
"""

CPP_REPORT = """<?xml version="1.0" encoding="UTF-8"?>
<testsuites tests="3" failures="1"><testsuite name="BlobTest/0" tests="2" failures="1">
<testcase name="TestReshape" type_param="float" status="run" time="0" classname="BlobTest/0" />
<testcase name="TestPointers" type_param="float" status="run" time="0" classname="BlobTest/0">
<failure message="x.cpp:3&#x0A;Value of: 1" type=""></failure></testcase></testsuite>
<testsuite name="NetTest">
<testcase name="TestSkip" status="notrun" time="0" classname="NetTest" /></testsuite></testsuites>
"""

PYTHON_REPORT = """<testsuites><testsuite>
<testcase classname="test_io.TestDatum" name="test_one" time="0.1" />
<testcase classname="test_io.TestDatum" name="test_two"><skipped message="no">f.py</skipped></testcase>
<testcase classname="test_net" name="test_three"><error message="boom">long</error></testcase>
</testsuite></testsuites>
"""


def test_the_list_of_tests_is_read() -> None:
    names = ["BlobTest/0.TestReshape", "BlobTest/0.TestPointers", "NetTest.TestSkip"]
    assert upstream_tests.parse_list(LISTED) == names


def test_only_what_ran_and_passed_counts(tmp_path: Path) -> None:
    report = tmp_path / "r.xml"
    report.write_text(CPP_REPORT)
    planned = [*upstream_tests.parse_list(LISTED), "NetTest.TestNeverHeardOf"]
    outcome = upstream_tests.judge("C++", planned, upstream_tests.read_report(report), 0)
    assert (outcome.planned, outcome.passed) == (4, 1)
    assert outcome.lines()[-4:] == [
        "C++: FAILED BlobTest/0.TestPointers: failure: x.cpp:3",
        "C++: FAILED NetTest.TestSkip: not run",
        "C++: FAILED NetTest.TestNeverHeardOf: not run",
        "C++: 1 of 4 passed",
    ]


def test_errors_and_skips_are_failures(tmp_path: Path) -> None:
    report = tmp_path / "r.xml"
    report.write_text(PYTHON_REPORT)
    results = upstream_tests.read_report(report)
    outcome = upstream_tests.judge("Python", list(results), results, 0)
    assert outcome.failed == ("test_io.TestDatum.test_two: skipped: no", "test_net.test_three: error: boom")
    assert outcome.passed == 1


def test_exclusions_have_reasons_and_stand_in_the_readme() -> None:
    readme = (ROOT / "custom_caffe" / "README.md").read_text()
    for entry in upstream_tests.EXCLUDED:
        assert entry.reason
        assert f"`{entry.pattern}`" in readme
        assert entry.reason in readme
    assert upstream_tests.is_excluded("C++", "BlobSimpleTest/1.TestPointersCPUGPU")
    assert not upstream_tests.is_excluded("Python", "BlobSimpleTest/1.TestPointersCPUGPU")


@pytest.mark.parametrize("what", ["std::abort();", "*(volatile int*) 0 = 0;"])
def test_tests_that_end_the_program_are_named(what: str, tmp_path: Path) -> None:
    """A small program in the place of the tests: it lists three, passes one, and dies in the second."""
    (tmp_path / "t.cpp").write_text(
        '#include <cstdio>\n#include <cstdlib>\n#include <cstring>\nextern "C" int main(int n, char** v) {\n'
        'for (int i = 1; i < n; ++i) if (!strcmp(v[i], "--gtest_list_tests"))'
        ' { puts("A.\\n  One\\n  Two\\n  Three"); fflush(stdout); return 0; }\n'
        'puts("[ RUN      ] A.One\\n[       OK ] A.One\\n[ RUN      ] A.Two"); fflush(stdout);\n'
        f"{what} return 0; }}\n"
    )
    tree = tmp_path / "tree"
    (tree / "lib").mkdir(parents=True)
    compiling.run_logged(
        ["g++", "-shared", "-fPIC", "t.cpp", "-o", tree / "lib" / "test.testbin.so"],
        tmp_path / "log",
        directory=tmp_path,
    )
    interpreter = compiling.Interpreter.ask(sys.executable)
    outcome = upstream_tests.run_cpp(interpreter, tree, tmp_path)
    assert (outcome.planned, outcome.passed) == (3, 1)
    assert len(outcome.failed) == 1
    assert outcome.failed[0].startswith("A.Two: ended the program with -")


def test_what_the_tests_read_is_locked() -> None:
    lock = source.read_lock("tests")
    assert lock["files"] == ["examples", "models"]
    assert lock["sha256"] != source.read_lock()["sha256"]
    assert lock["place"] == source.read_lock()["place"]
