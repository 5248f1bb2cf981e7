"""`kerasptb train`."""

import argparse
import sys
import textwrap

from kerasptb.cli import arguments
from kerasptb.cli.notices import import_keras
from kerasptb.presets import PRESETS


def add_parser(commands):
    command = arguments.add_command(
        commands,
        "train",
        execute,
        "train a model into a run folder",
        epilog="\n\n".join(
            textwrap.fill(f"{preset.name}: {preset.summary}", 100, subsequent_indent="  ")
            for preset in PRESETS.values()
        ),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.add_argument("--data", help=f"{arguments.DATA_HELP} (default: auto, or the resumed run's)")
    command.add_argument(
        "--preset",
        choices=sorted(PRESETS),
        help="recipe of the model and its training (default: notebook, or the resumed run's)",
    )
    command.add_argument("--epochs", type=arguments.positive, help="number of epochs in all (default: the preset's)")
    arguments.add_shared(command, "--steps-per-epoch")
    command.add_argument("--batch-size", type=arguments.positive, help="rows of a batch (default: the preset's)")
    command.add_argument("--num-steps", type=arguments.positive, help="words of a row (default: the preset's)")
    arguments.add_shared(command, "--vocabulary-size")
    arguments.add_backend(command)
    command.add_argument("--seed", type=arguments.seed, help="makes the run repeatable (default: drawn, and recorded)")
    command.add_argument("--out", metavar="RUN", help="run folder (default: runs/PRESET-TIME)")
    command.add_argument("--resume", action="store_true", help="go on with the run in --out")


def execute(options):
    import_keras()
    from kerasptb.training import train

    # A file that records each update of the bar grows by some 20 KB per epoch, and is hard to read.
    to_a_terminal = sys.stdout is not None and sys.stdout.isatty()
    run = train(**arguments.as_arguments(options), verbose=1 if to_a_terminal else 2)
    return 130 if run.metrics["interrupted"] else 0
