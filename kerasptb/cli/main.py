"""Reads the command line and runs the command."""

import argparse
from collections.abc import Sequence
from typing import Any, cast

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


class _Command(argparse.ArgumentParser):
    """Refuses words that it does not know itself: the top level would show its own usage, not the command's."""

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> tuple[Any, list[str]]:
        options, unknown = super().parse_known_args(args, namespace)
        if unknown:
            self.error(f"unrecognized arguments: {' '.join(unknown)}")
        return options, unknown


def make_parser() -> argparse.ArgumentParser:
    """Returns the parser of all commands; tools of shells make their completion from it (docs/training.md)."""
    parser = argparse.ArgumentParser(
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
