"""Reads the command line and runs the command."""

import argparse
import difflib
import re
from collections.abc import Iterable, Sequence
from typing import Any, NoReturn, cast

from kerasptb import __version__
from kerasptb.cli import build, correct, count, evaluate, export, generate, info, score, serve, suggest, train, tune
from kerasptb.cli.outcome import run


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command, of the process' arguments for `None`, and returns its status.

    0 is success, 1 that the work failed, 2 wrong arguments, 130 interrupted, 143 ended by SIGTERM.
    """
    parser = make_parser()
    try:
        options = parser.parse_args(arguments)
    except SystemExit as error:
        return cast(int, error.code)
    return run(options)


# What argparse says of a word that is not among those it may be, in all versions of Python.
_NO_CHOICE = re.compile(r"argument (.+): invalid choice: '(.*)' \(choose from (.*)\)", re.DOTALL)


class _Parser(argparse.ArgumentParser):
    """Says in a line what it does not know, and the nearest that it does; the usage is what `--help` is for."""

    def error(self, message: str) -> NoReturn:
        """Ends the process with status 2."""
        if found := _NO_CHOICE.fullmatch(message):
            name, received, known = found[1], found[2], [word.strip("' ") for word in found[3].split(",")]
            message = f"{name}: expected one of {', '.join(known)}. Received: {received}.{_nearest(received, known)}"
        self.exit(2, f"{self.prog}: {message}\n{self.prog} --help says more.\n")


class _Command(_Parser):
    """Refuses words that it does not know itself: the top level would name itself, not the command."""

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> tuple[Any, list[str]]:
        options, unknown = super().parse_known_args(args, namespace)
        if unknown:
            word = unknown[0] or "''"
            hint = _nearest(word.partition("=")[0], self._option_string_actions)
            self.error(f"there is no {word}.{hint}" if word[0] == "-" else f"{word} is one word too many.")
        return options, unknown


def _nearest(received: str, known: Iterable[str]) -> str:
    """Returns a question whether the nearest of some words was meant; "" if none is near."""
    near = difflib.get_close_matches(received, known, 1)
    return f" Did you mean {near[0]}?" if near else ""


def make_parser() -> argparse.ArgumentParser:
    """Returns the parser of all commands; tools of shells make their completion from it (docs/training.md)."""
    parser = _Parser(
        prog="kerasptb",
        description="Train, evaluate and use LSTM language models, on the Penn Treebank or a text of your own.",
    )
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    parser.add_argument("--version", action="version", version=f"kerasptb {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND", parser_class=_Command)
    for command in (train, evaluate, count, score, suggest, correct, generate, export, serve, build, tune, info):
        command.add_parser(commands)
    for command in commands.choices.values():
        command.add_argument("--debug", action="store_true", default=argparse.SUPPRESS, help=argparse.SUPPRESS)
    return parser
