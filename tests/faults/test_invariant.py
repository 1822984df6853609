"""The invariant itself: it must see what it is for."""

import sys

import pytest

from tests.faults.invariant import holds


def python(*lines):
    return [sys.executable, "-c", "\n".join(lines)]


def test_a_sound_program_holds(tmp_path):
    done = holds(python("open('out', 'w').write('x'); print('done')"), tmp_path, ["out"])
    assert (done.code, done.stdout, done.error) == (0, "done\n", "")


def test_one_line_of_error_holds(tmp_path):
    stderr = "skipped: a.jpg: bad\nalign: 50%|  | 1/2\rerror: b: bad\n"
    done = holds(python(f"import sys; sys.stderr.write({stderr!r}); sys.exit(1)"), tmp_path)
    assert done.error == "b: bad"


@pytest.mark.parametrize(
    "program",
    [
        ("1 / 0",),
        ("import sys; sys.exit(3)",),
        ("import sys; sys.stderr.write('error: a\\nand more\\n'); sys.exit(1)",),
        ("import sys; sys.stderr.write('oh\\n'); sys.exit(1)",),
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)",),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)",),
        ("open('beside', 'w')",),
        ("import os; os.remove('there')",),
        ("open('there', 'w').write('other')",),
        ("import tempfile; tempfile.mkdtemp()",),
        ("x = bytearray(1 << 30)",),
        ("import time; time.sleep(60)",),
    ],
)
def test_what_must_not_be_is_seen(program, tmp_path):
    (tmp_path / "there").write_text("kept")
    with pytest.raises(AssertionError):
        holds(python(*program), tmp_path, ["out"], seconds=3, memory=1 << 30)


def test_a_kill_is_allowed_where_it_is_expected(tmp_path):
    text = "import os, signal; open('.out.partial', 'w'); os.kill(os.getpid(), signal.SIGKILL)"
    assert holds(python(text), tmp_path, ["out"], may_be_killed=True).code == -9
    assert holds(python("import time; time.sleep(60)"), tmp_path, kill_after=0.2).code == -9
