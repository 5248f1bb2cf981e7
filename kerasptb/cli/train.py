"""`kerasptb train`."""

import argparse
import sys
import textwrap

from kerasptb.cli import arguments
from kerasptb.cli.notices import import_keras
from kerasptb.cli.workers import run_together
from kerasptb.presets import PRESETS, summary_of


def add_parser(commands):
    command = arguments.add_command(
        commands,
        "train",
        execute,
        "train a model into a run folder",
        epilog="\n\n".join(
            textwrap.fill(f"{name}: {summary_of(name)}", 100, subsequent_indent="  ") for name in PRESETS
        ),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.add_argument("--data", help=f"{arguments.DATA_HELP} (default: auto, or the resumed run's)")
    command.add_argument(
        "--preset",
        choices=sorted(PRESETS),
        help="recipe of the model and its training (default: notebook, or the resumed run's)",
    )
    command.add_argument(
        "--config", metavar="FILE", help="settings of a run, or of a JSON file in the form of its config.json"
    )
    command.add_argument("--epochs", type=arguments.positive, help="number of epochs in all (default: the preset's)")
    arguments.add_shared(command, "--steps-per-epoch")
    command.add_argument("--batch-size", type=arguments.positive, help="rows of a batch (default: the preset's)")
    command.add_argument("--num-steps", type=arguments.positive, help="words of a row (default: the preset's)")
    arguments.add_shared(command, "--vocabulary-size")
    command.add_argument(
        "--units",
        type=arguments.positive,
        nargs="+",
        metavar="H",
        help="sizes of the LSTM layers (default: the preset's); where embeddings are tied, the last is the embedding's",
    )
    command.add_argument(
        "--embedding-size", type=arguments.positive, help="size of a word's vector (default: the preset's)"
    )
    command.add_argument(
        "--keep-prob",
        type=arguments.probability,
        help="probability of keeping a unit in dropout (default: the preset's)",
    )
    command.add_argument(
        "--optimizer",
        help="sgd, adamw or another Keras optimizer, in place of the preset's; name its --learning-rate too",
    )
    command.add_argument(
        "--learning-rate", type=arguments.above_zero, help="largest learning rate (default: the preset's)"
    )
    command.add_argument(
        "--early-stopping",
        type=arguments.positive,
        metavar="N",
        help="end after N epochs without a lower validation perplexity",
    )
    command.add_argument(
        "--from",
        dest="start_from",
        metavar="RUN",
        help="begin with the weights of a run, word by word, in a model of its sizes",
    )
    command.add_argument(
        "--freeze", nargs="+", metavar="LAYER", help="layers whose weights stay, such as embedding lstm_0"
    )
    arguments.add_backend(command)
    command.add_argument("--seed", type=arguments.seed, help="makes the run repeatable (default: drawn, and recorded)")
    command.add_argument("--out", metavar="RUN", help="run folder (default: runs/PRESET-TIME)")
    command.add_argument("--resume", action="store_true", help="go on with the run in --out")
    command.add_argument(
        "--checkpoint-minutes",
        type=arguments.rate,
        default=5.0,
        metavar="N",
        help="time between two checkpoints within an epoch, from which --resume goes on (default: 5)",
    )
    command.add_argument(
        "--workers",
        type=arguments.positive,
        default=1,
        metavar="N",
        help="train in N processes of this machine, each with its rows of a batch; with Keras on JAX (default: 1)",
    )


def execute(options):
    if options.workers > 1:
        return run_together(options)
    import_keras(joins=True)
    from kerasptb.runs.settings import arguments_of
    from kerasptb.training import train

    given = arguments.as_arguments(options)
    del given["workers"]
    if (config := given.pop("config")) is not None:
        given = arguments_of(config, **given)
    # A file that records each update of the bar grows by some 20 KB per epoch, and is hard to read.
    to_a_terminal = sys.stdout is not None and sys.stdout.isatty()
    run = train(**given, verbose=1 if to_a_terminal else 2)
    return 130 if run.metrics["interrupted"] else 0
