"""`kerasptb count`."""

import sys
from argparse import Namespace

from kerasptb.cli import arguments


def add_parser(commands: arguments.Commands) -> None:
    text = "count the training text of a run, so that its counts refine what the network says"
    command = arguments.add_command(commands, "count", execute, text)
    arguments.add_shared(command, "run")
    arguments.add_data(command, "the run's")
    arguments.add_backend(command)


def execute(options: Namespace) -> None:
    run = arguments.open_run(options)
    corpus = run.load_corpus(arguments.data_of(options))
    run.count(corpus, report=lambda line: print(line, file=sys.stderr))
