"""`kerasptb generate`."""

import itertools

from kerasptb.cli import arguments
from kerasptb.cli.lines import read_lines
from kerasptb.cli.notices import import_keras
from kerasptb.cli.outcome import printable


def add_parser(commands):
    command = arguments.add_command(commands, "generate", execute, "sample text from a run")
    arguments.add_shared(command, "run")
    command.add_argument("--prompt", default="", help="text to go on from; - for each line of standard input")
    command.add_argument("--words", type=arguments.positive, default=50, help="number of words (default: 50)")
    command.add_argument("--temperature", type=float, default=1.0, help="0 is always the most probable (default: 1)")
    command.add_argument("--top-k", type=arguments.positive, metavar="K", help="sample from the K most probable words")
    command.add_argument(
        "--top-p",
        type=arguments.probability,
        metavar="P",
        help="sample from the most probable words that have a probability of P together",
    )
    command.add_argument("--seed", type=arguments.seed, help="makes the sample repeatable")
    arguments.add_backend(command)


def execute(options):
    run = arguments.open_run(options, batch_size=1)
    import_keras()
    settings = {name: getattr(options, name) for name in ("temperature", "seed", "top_k", "top_p")}
    prompts = itertools.chain.from_iterable(read_lines(None)) if options.prompt == "-" else [options.prompt]
    for prompt in prompts:
        print(printable(run.generate(prompt, options.words, **settings)), flush=True)
