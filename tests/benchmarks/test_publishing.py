"""What may be published, and what of it stands in the docs."""

import subprocess

import pytest

from benchmarks import publishing
from benchmarks.measure import Measurement
from benchmarks.publishing import BEGIN, END, commit, insert
from facealign.errors import FaceAlignError


def git(root, *arguments):
    settings = ["-c", "user.name=n", "-c", "user.email=n@example.org", "-c", "commit.gpgsign=false"]
    done = subprocess.run(
        ["git", "-C", str(root), *settings, *arguments], check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


@pytest.fixture
def repository(tmp_path):
    (tmp_path / "benchmarks" / "results").mkdir(parents=True)
    (tmp_path / "docs").mkdir()
    for name in ("code.py", "benchmarks/results/some_v4.csv", "docs/benchmarks.md"):
        (tmp_path / name).write_text("old\n")
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-q", "-m", "first")
    return tmp_path


def test_figures_are_of_a_commit(repository):
    assert git(repository, "rev-parse", "HEAD").startswith(commit(repository))
    assert len(commit(repository)) >= 10


def test_what_a_run_writes_is_no_reason_against_the_next(repository):
    for name in ("benchmarks/results/some_v4.csv", "docs/benchmarks.md", "scratch.txt"):
        (repository / name).write_text("new\n")
    assert git(repository, "rev-parse", "HEAD").startswith(commit(repository))


@pytest.mark.parametrize("staged", [False, True])
def test_changed_code_is_of_no_commit(repository, staged):
    (repository / "code.py").write_text("new\n")
    if staged:
        git(repository, "add", "code.py")
    with pytest.raises(FaceAlignError, match=r"not committed, .*: code\.py$"):
        commit(repository)


def test_a_copy_without_git_is_of_no_commit(tmp_path):
    with pytest.raises(FaceAlignError, match="no git commit here"):
        commit(tmp_path)


HEAD = {"cpu": "Some CPU", "cores": "2", "level": "v4", "commit": "0123456789", "load before": "0.1"}


def measured(name, *milliseconds):
    rounds = tuple(value / 1e3 for value in milliseconds)
    return Measurement("training iteration, 2 threads", name, rounds)


def test_docs_have_a_section_for_each_processor_and_level(tmp_path):
    docs, results = tmp_path / "benchmarks.md", tmp_path / "results"
    docs.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    for level, ours in (("v4", 20.0), ("v3", 40.0)):
        head = HEAD | {"level": level, "commit": f"commit_of_{level}"}
        path = publishing.write(
            [measured("facealign", ours, ours), measured("PyTorch", 100, 100)],
            head,
            f"some_{level}",
            results,
            docs,
        )
        assert path == results / f"some_{level}.csv"
    text = docs.read_text()
    assert text.startswith(f"before\n{BEGIN}\n")
    assert text.endswith(f"\n{END}\nafter\n")
    assert "old" not in text
    at_v3, at_v4 = text.split("## Some CPU, 2 cores, level v")[1:]
    for level, section, ratio in (("v3", at_v3, "0.400"), ("v4", at_v4, "0.200")):
        assert f"of commit commit_of_{level};" in section
        assert f"{ratio} ({ratio} to {ratio})" in section
        assert "| Target" not in section
        assert section.count(f"commit_of_{'v3' if level == 'v4' else 'v4'}") == 0
    # The same run again changes nothing.
    publishing.write(
        [measured("facealign", 40, 40), measured("PyTorch", 100, 100)], head, "some_v3", results, docs
    )
    assert docs.read_text() == text


def test_figures_that_do_not_say_of_what_they_are_do_not_get_into_the_docs(tmp_path):
    (tmp_path / "docs.md").write_text(f"{BEGIN}\n{END}\n")
    head = {name: value for name, value in HEAD.items() if name != "commit"}
    with pytest.raises(FaceAlignError, match=r"results/some_v4\.csv: names no commit; measure it anew"):
        publishing.write([measured("facealign", 1, 1)], head, "some_v4", tmp_path, tmp_path / "docs.md")


def test_docs_keep_what_is_around_the_figures():
    text = f"before\n{BEGIN}\nold\n{END}\nafter\n"
    assert insert(text, "new\n\n") == f"before\n{BEGIN}\n\nnew\n\n{END}\nafter\n"
    assert insert(insert(text, "once"), "new") == insert(text, "new")
    with pytest.raises(FaceAlignError, match="lacks the lines"):
        insert("nothing", "new")


def test_the_docs_show_what_the_committed_results_hold():
    """As `make bench` wrote them; fails when either was edited or merged by hand."""
    text = publishing.DOCS.read_text(encoding="utf-8")
    files = sorted(publishing.RESULTS.glob("*.csv"))
    assert insert(text, publishing.figures(files)) == text
