"""What `facealign VERB --help` shows, of every verb."""

import importlib
import re
import shlex
from pathlib import Path

import pytest

import facealign
from facealign.console import VERBS

ROOT = Path(__file__).parents[2]


def module_of(verb):
    return importlib.import_module("facealign.commands." + verb.replace("-", "_"))


def shown(verb, option, capsys):
    with pytest.raises(SystemExit) as ended:
        module_of(verb).arguments_of([option])
    assert ended.value.code == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("verb", VERBS)
def test_help_ends_in_examples_that_are_right_usage(verb, capsys):
    _, _, examples = shown(verb, "--help", capsys).partition("examples:\n")
    lines = examples.replace("\\\n", "").splitlines()
    assert lines
    for line in lines:
        program, used, *words = shlex.split(line, comments=True)
        assert (program, used) == ("facealign", verb)
        words = words[: words.index(">")] if ">" in words else words
        module_of(verb).arguments_of(words)  # exits with 2 at a wrong usage


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_the_version(verb, capsys):
    assert shown(verb, "--version", capsys).split()[1] == facealign.__version__


TITLES = {
    *("options", "input", "output", "faces", "network", "video", "server", "limits", "speed"),
    *("training", "augmentation", "second cascade stage", "distillation"),
}
"""Of all groups of options: the same kind has the same title in every help."""


@pytest.mark.parametrize("verb", VERBS)
def test_options_stand_in_groups_with_titles_that_verbs_share(verb, capsys):
    text = shown(verb, "--help", capsys)
    titles = re.findall(r"^([a-z ]+):$", text.partition("\nexamples:")[0], re.MULTILINE)
    assert set(titles) <= TITLES
    assert titles[0] == "options"
    general = re.findall(r"^  (-\S+)", text.partition("options:\n")[2].partition("\n\n")[0], re.MULTILINE)
    assert general == ["-h,", "--version", "--quiet", *["--json"] * (len(general) - 3)]


@pytest.mark.parametrize("verb", VERBS)
def test_each_help_is_as_wide_as_the_terminal_and_names_no_default_twice(verb, capsys, monkeypatch):
    for columns in (80, 110):
        monkeypatch.setenv("COLUMNS", str(columns))
        usage_and_options, _, examples = shown(verb, "--help", capsys).partition("\nexamples:")
        assert max(map(len, examples.splitlines())) <= 80
        assert max(map(len, usage_and_options.splitlines())) <= columns - 2
    assert not re.search(r"default[^()]*\)\s*\(default", usage_and_options)


def test_figures_go_to_a_file_or_to_standard_output_by_one_option_of_that_name():
    """Described in the docs; evaluate's must be given; verbs that have no figure have none."""
    described = re.findall(
        r"^\| `([a-z-]+)` \|", (ROOT / "docs" / "command_line.md").read_text(), re.MULTILINE
    )
    without = {"serve", "make-prototxt", "export-onnx", "export-ncnn", "completion"}
    assert set(described) == set(VERBS) - without
    for verb in VERBS:
        by_name = {name: one for one in module_of(verb).options()._actions for name in one.option_strings}
        assert ("--json" in by_name) == (verb not in without)
        if "--json" in by_name:
            assert by_name["--json"].metavar == "FILE"
            assert "-: " in by_name["--json"].help


def test_a_default_that_the_text_does_not_name_is_added():
    parser = facealign.commands.program("Try.", ["try --size 3"])
    parser.add_argument("--size", type=int, default=40, help="of a face")
    parser.add_argument("--file", help="default: none")
    parser.add_argument("--fast", action="store_true", help="at once")
    parser.add_argument("--seed", type=int, default=0, help="of all")
    parser.add_argument("--range", type=float, nargs=2, default=(0.5, 2.0), help="of scales")
    text = parser.format_help()
    assert "of a face (default: 40)" in text
    assert "of all (default: 0)" in text
    assert "of scales (default: 0.5 2)" in text
    assert text.count("default") == 4
