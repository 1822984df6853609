"""Write the script with which a shell completes verbs, options and files when TAB is pressed.

It holds all options as they are in this version, so that nothing runs while one types.
"""

import argparse
import importlib
from collections.abc import Sequence
from pathlib import Path

import shtab

from facealign.commands import program
from facealign.commands.messages import figures
from facealign.commands.verbs import VERBS

EXAMPLES = (
    "completion bash > ~/.local/share/bash-completion/completions/facealign",
    "completion zsh > ~/.zfunc/_facealign  # a folder of $fpath",
)
"""Command lines that its help shows."""
SHELLS = ("bash", "zsh")
"""Those, of shtab's, in which it was tried."""
JOINED = """\
# bash gives --option=value as three words, of which shtab's function expects two.
_facealign() {
  local words=() index current=$COMP_CWORD
  for index in "${!COMP_WORDS[@]}"; do
    if [[ ${COMP_WORDS[index]} == = && ${COMP_WORDS[index - 1]} == --* ]]; then
      if (( index < COMP_CWORD )); then
        (( current -= 1 ))
      elif (( index == COMP_CWORD )); then
        words+=("")  # nothing typed after it yet
      fi
    else
      words+=("${COMP_WORDS[index]}")
    fi
  done
  local COMP_WORDS=("${words[@]}") COMP_CWORD=$current
  _shtab_facealign
}

complete -o bashdefault -F _facealign facealign
"""
FOLDERS, FILES = {"DIR", "ROOT"}, {"FILE", "RUN", "PYTHON", "JSON", "PNG", "MD", "PATTERN"}
"""Values, by their names in the help, that are folders, and files."""


def options() -> argparse.ArgumentParser:
    """The parser of its command line."""
    parser = program(__doc__, EXAMPLES)
    parser.add_argument_group("output").add_argument("shell", choices=SHELLS, help="its name")
    return parser


def arguments_of(command: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    return options().parse_args(command)


def main() -> None:
    arguments = arguments_of()
    figures(script(arguments.shell))


def script(shell: str) -> str:
    """The script for a shell, of all verbs."""
    parser = argparse.ArgumentParser("facealign")
    parser.add_argument("--version", action="version")
    verbs = parser.add_subparsers()
    for verb, what in VERBS.items():
        module = importlib.import_module("facealign.commands." + verb.replace("-", "_"))
        one = module.options()
        for action in one._actions:
            values = set(action.metavar.split("|")) if isinstance(action.metavar, str) else set()
            if values & FILES or (action.type is Path and not values):
                action.complete = shtab.FILE
            elif values & FOLDERS:
                action.complete = shtab.DIRECTORY
        verbs.add_parser(verb, help=what, parents=[one], add_help=False)
    text = str(shtab.complete(parser, shell))
    return f"{text}\n{JOINED}" if shell == "bash" else text
