"""`kerasptb correct`."""

import dataclasses
import difflib
import json
import re
import sys
from argparse import Namespace
from typing import Any

from kerasptb.cli import arguments
from kerasptb.cli.lines import read_text
from kerasptb.cli.outcome import printable
from kerasptb.keyboard import Correction, apply_corrections, open_channel
from kerasptb.utils.status_line import show_status

_FORM = """Without options a line for each correction, with tabs between: line and column, what stands there, what is
likelier, and by how much, a natural logarithm."""


def add_parser(commands: arguments.Commands) -> None:
    command = arguments.add_command(
        commands, "correct", execute, "what is likely to be wrong in a text, and what was meant", epilog=_FORM
    )
    arguments.add_shared(command, "run")
    command.add_argument("file", nargs="?", help="a text; - for standard input (default)")
    command.add_argument(
        "--channel",
        default="qwerty",
        metavar="NAME",
        help="how errors came to be: a layout of keys (azerty, portuguese, qwerty, qwertz), ocr, or the JSON file of "
        "another (default: qwerty)",
    )
    command.add_argument(
        "--margin",
        type=arguments.rate,
        metavar="X",
        help="by how much a correction must be likelier than what stands there, a natural logarithm (default: 3)",
    )
    arguments.add_shared(command, "--counts")
    arguments.add_backend(command)
    form = command.add_mutually_exclusive_group()
    form.add_argument("--diff", action="store_true", help="print a unified diff, which patch applies")
    arguments.add_shared(form, "--json")


def execute(options: Namespace) -> None:
    run, text = arguments.open_run(options), read_text(options.file)
    settings: dict[str, Any] = {"channel": open_channel(options.channel)}
    settings |= {} if options.margin is None else {"margin": options.margin}
    found: list[Correction] = []
    place, line = 0, 1
    for end, corrections in run.correct_parts(text, **settings):
        show_status("")
        for each in corrections:
            line += text.count("\n", place, each.start)
            begin = text.rfind("\n", 0, each.start) + 1
            place = each.start
            if not options.diff:
                print((_as_json if options.json else _as_text)(each, line, each.start - begin + 1), flush=True)
        found += corrections
        show_status(f"{end / len(text):4.0%}")
    show_status("")
    if options.diff:
        _print_diff(text, apply_corrections(text, found), options.file or "-")


def _as_text(each: Correction, line: int, column: int) -> str:
    return printable(f"{line}:{column}\t{each.text}\t{each.word}\t{each.log_odds:.1f}")


def _as_json(each: Correction, line: int, column: int) -> str:
    return json.dumps({"line": line, "column": column, **dataclasses.asdict(each)})


def _print_diff(before: str, after: str, name: str) -> None:
    old, new = (re.findall(r"[^\n]*\n|[^\n]+", text) for text in (before, after))
    for line in difflib.unified_diff(old, new, name, name):
        whole = line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n"
        # As it is, whatever the terminal's encoding, so that `patch` finds the same bytes; but nothing to be obeyed.
        if sys.stdout.isatty():
            print(printable(whole), end="")
        else:
            sys.stdout.buffer.write(whole.encode(errors="surrogateescape"))
