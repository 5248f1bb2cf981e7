"""`kerasptb generate`."""

import itertools
import json
from argparse import Namespace

from kerasptb.arguments import SamplingArguments
from kerasptb.cli import arguments
from kerasptb.cli.lines import read_lines
from kerasptb.cli.outcome import printable
from kerasptb.utils.status_line import at_work


def add_parser(commands: arguments.Commands) -> None:
    command = arguments.add_command(commands, "generate", execute, "sample text from a run")
    arguments.add_shared(command, "run")
    command.add_argument("--prompt", default="", help="text to go on from; - for each line of standard input")
    arguments.add_fields(command, SamplingArguments.fields().values())
    arguments.add_shared(command, "--counts")
    arguments.add_backend(command)
    arguments.add_shared(command, "--json")


def execute(options: Namespace) -> None:
    run = arguments.open_run(options, batch_size=1)
    settings = SamplingArguments.asked(**SamplingArguments.named(vars(options)))
    prompts = itertools.chain.from_iterable(read_lines(None)) if options.prompt == "-" else [options.prompt]
    for prompt in prompts:
        with at_work("Sampling"):
            text = run.generate(prompt, **settings)
        print(json.dumps({"prompt": prompt, "text": text}) if options.json else printable(text), flush=True)
