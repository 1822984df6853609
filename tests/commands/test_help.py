"""What `facealign VERB --help` shows, of every verb."""

import importlib
import shlex

import pytest

import facealign
from facealign.console import VERBS


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
    lines = examples.splitlines()
    assert lines
    for line in lines:
        program, used, *words = shlex.split(line, comments=True)
        assert (program, used) == ("facealign", verb)
        module_of(verb).arguments_of(words)  # exits with 2 at a wrong usage


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_the_version(verb, capsys):
    assert shown(verb, "--version", capsys).split()[1] == facealign.__version__


def test_a_default_that_the_text_does_not_name_is_added():
    parser = facealign.commands.program("Try.", ["try --size 3"])
    parser.add_argument("--size", type=int, default=40, help="of a face")
    parser.add_argument("--file", help="default: none")
    parser.add_argument("--fast", action="store_true", help="at once")
    text = parser.format_help()
    assert "of a face (default: 40)" in text
    assert text.count("default") == 2
