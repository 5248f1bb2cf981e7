"""`kerasptb correct`."""

import dataclasses
import difflib
import json
import re
import shutil
import sys
from argparse import Namespace
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from kerasptb.cli import arguments
from kerasptb.cli.lines import read_text
from kerasptb.cli.outcome import printable
from kerasptb.data import DataError
from kerasptb.keyboard import Correction, apply_corrections
from kerasptb.utils.files import atomic_write
from kerasptb.utils.status_line import at_work, clear_status

_FORM = """Without options a line for each correction, with tabs between: line and column, what stands there, what is
likelier, and by how much, a natural logarithm. To --interactive answer y to take a correction, n to leave the word, all
to take it and the rest, quit to leave it and the rest; what was taken is written to the file at the end."""

_Located = Iterator[tuple[Correction, int, int]]  # with line and column, from 1
_ANSWERS = {"y": "y", "yes": "y", "n": "n", "no": "n", "a": "all", "all": "all", "q": "quit", "quit": "quit"}


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
        help="by how much a correction must be likelier than what stands there, a natural logarithm (default: 2.5)",
    )
    arguments.add_shared(command, "--counts")
    arguments.add_backend(command)
    form = command.add_mutually_exclusive_group()
    form.add_argument("--diff", action="store_true", help="print a unified diff, which patch applies")
    form.add_argument("--brief", action="store_true", help="print lines FILE:LINE:COLUMN: what, as editors read them")
    form.add_argument("--interactive", action="store_true", help="ask for each correction, and write the file")
    arguments.add_shared(form, "--json")


def execute(options: Namespace) -> None:
    if options.interactive and options.file in (None, "-"):
        raise DataError("Expected a file, to which --interactive writes. Received: standard input")
    run, text = arguments.open_run(options), read_text(options.file)
    settings: dict[str, Any] = {"channel": options.channel}
    settings |= {} if options.margin is None else {"margin": options.margin}
    located = _located(run.correct_parts(text, **settings), text)
    if options.diff:
        _print_diff(text, apply_corrections(text, [each for each, _, _ in located]), options.file or "-")
    elif options.interactive:
        _write(Path(options.file), text, list(_taken(located, text)))
    else:
        for each, line, column in located:
            before = f"{options.file or '-'}:" if options.brief else ""
            shown = _as_json if options.json else _as_message if options.brief else _as_text
            print(before + shown(each, line, column), flush=True)


def _located(parts: Iterable[tuple[int, list[Correction]]], text: str) -> _Located:
    """Yields corrections as they are found, and says meanwhile how far that is."""
    place, line = 0, 1
    with at_work("Correcting") as stage:
        for end, corrections in parts:
            stage.tell(end, len(text))
            for each in corrections:
                line += text.count("\n", place, each.start)
                place = each.start
                clear_status()
                yield each, line, each.start - text.rfind("\n", 0, each.start)


def _taken(located: _Located, text: str) -> Iterator[Correction]:
    """Asks about corrections on the terminal, and yields those that are taken."""
    answer = ""
    for each, line, _ in located:
        if answer != "all":
            begin, end = text.rfind("\n", 0, each.start) + 1, f"{text}\n".find("\n", each.end)
            answer = _answer_to(
                f"{line}: {text[begin : each.start]}[{each.text} -> {each.word}]{text[each.end : end].rstrip()}"
            )
        if answer == "quit":
            return
        if answer != "n":
            yield each


def _answer_to(question: str) -> str:
    while True:
        print(f"{printable(question)}\n(y, n, all, quit) ", end="", flush=True)
        answer = sys.stdin.readline()
        if not answer or answer.strip().lower() in _ANSWERS:  # its end is no answer
            return _ANSWERS[answer.strip().lower()] if answer else "quit"


def _write(path: Path, text: str, taken: list[Correction]) -> None:
    if taken:
        if read_text(str(path)) != text:
            raise DataError(f"Expected the text that was read. {path} has changed since: nothing is written to it.")
        with atomic_write(path.resolve()) as temporary:
            temporary.write_bytes(apply_corrections(text, taken).encode())
            shutil.copymode(path, temporary)
    print(f"Corrections written to {path}: {len(taken)}")


def _as_text(each: Correction, line: int, column: int) -> str:
    return printable(f"{line}:{column}\t{each.text}\t{each.word}\t{each.log_odds:.1f}")


def _as_message(each: Correction, line: int, column: int) -> str:
    return printable(f"{line}:{column}: `{each.text}` -> `{each.word}`")


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
