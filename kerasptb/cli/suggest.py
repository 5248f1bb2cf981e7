"""`kerasptb suggest`."""

import itertools
import json
from argparse import Namespace

from kerasptb.cli import arguments
from kerasptb.cli.lines import read_lines
from kerasptb.cli.outcome import printable


def add_parser(commands: arguments.Commands) -> None:
    command = arguments.add_command(commands, "suggest", execute, "next words after a text")
    arguments.add_shared(command, "run")
    command.add_argument(
        "text",
        help="the text so far, in quotes; behind -- if it begins with a dash; - alone for each line of standard input",
    )
    command.add_argument(
        "-k",
        type=arguments.positive,
        help="number of suggestions, of subwords at most 1,000 (default: 5, or as many as there are)",
    )
    command.add_argument(
        "--complete",
        action="store_true",
        help="the last word is unfinished, unless a space follows it: suggest words that begin so",
    )
    command.add_argument(
        "--typos",
        metavar="LAYOUT",
        help="the last word is unfinished, and may be typed with errors on keys of this layout: azerty, portuguese, "
        "qwerty, qwertz, or a file (docs/keyboard.md)",
    )
    arguments.add_shared(command, "--counts")
    arguments.add_backend(command)
    arguments.add_shared(command, "--json")


def execute(options: Namespace) -> None:
    run = arguments.open_run(options, batch_size=1)
    is_one = options.text != "-"
    for text in [options.text] if is_one else itertools.chain.from_iterable(read_lines(None)):
        suggestions = run.suggest(text, options.k, complete=options.complete, typos=options.typos)
        if options.json:
            rows = [{"word": suggestion.word, "probability": suggestion.probability} for suggestion in suggestions]
            print(json.dumps({"text": text, "suggestions": rows}), flush=True)
        elif is_one:
            for suggestion in suggestions:
                print(f"{suggestion.probability:7.2%}  {printable(suggestion.word)}")
        else:
            words = (f"{printable(suggestion.word)} {suggestion.probability:.2%}" for suggestion in suggestions)
            print("\t".join(words), flush=True)
