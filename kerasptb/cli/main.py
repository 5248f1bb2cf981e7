"""Reads the command line and runs the command."""

import argparse

from kerasptb.cli import build, evaluate, export, generate, info, serve, suggest, train, tune
from kerasptb.cli.outcome import run


def main(arguments=None):
    """Runs a command.

    Args:
        arguments: list of strings; `None` for those of the process.

    Returns:
        Exit status: 0 success, 1 the work failed, 2 wrong arguments, 130 interrupted, 143 ended by SIGTERM.
    """
    parser = _make_parser()
    try:
        options = parser.parse_args(arguments)
    except SystemExit as error:
        return error.code
    return run(options)


def _make_parser():
    parser = argparse.ArgumentParser(
        prog="kerasptb", description="Train, evaluate and use LSTM language models on the Penn Treebank."
    )
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for command in (train, evaluate, suggest, generate, export, serve, build, tune, info):
        command.add_parser(commands)
    for command in commands.choices.values():
        command.add_argument("--debug", action="store_true", default=argparse.SUPPRESS, help=argparse.SUPPRESS)
    return parser
