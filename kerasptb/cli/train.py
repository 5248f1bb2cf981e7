"""`kerasptb train`."""

import argparse
import textwrap
from typing import Any, cast

from kerasptb.arguments import TrainingArguments
from kerasptb.cli import arguments
from kerasptb.cli.notices import import_keras
from kerasptb.cli.workers import check_backend, run_together
from kerasptb.data.sources.source import TextSource, is_read_again
from kerasptb.presets import PRESETS
from kerasptb.presets.recipe import summary_of
from kerasptb.runs import RunFolder
from kerasptb.runs.settings import PARTS, check_divides
from kerasptb.utils import children

_EXAMPLES = """examples:
  kerasptb train --data novel.txt --minutes 10
  kerasptb train --data ptb --preset small --precision bfloat16 --seed 1 --out runs/small
  kerasptb train --resume --out runs/small --epochs 60"""


def add_parser(commands: arguments.Commands) -> None:
    recipes = (textwrap.fill(f"{name}: {summary_of(name)}", 100, subsequent_indent="  ") for name in PRESETS)
    command = arguments.add_command(
        commands,
        "train",
        execute,
        "train a model into a run folder",
        epilog="\n\n".join([*recipes, _EXAMPLES]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    text = command.add_argument_group("text")
    arguments.add_data(text, "auto, or the resumed run's")
    arguments.add_reading(text)
    recipe = command.add_argument_group("recipe")
    recipe.add_argument(
        "--preset",
        choices=sorted(PRESETS),
        help="recipe of the model and its training (default: auto for a text in subwords or characters, or "
        "with --minutes, else notebook; with --from that run's, with --resume the resumed run's)",
    )
    recipe.add_argument(
        "--config", metavar="FILE", help="settings of a run, or of a JSON file in the form of its config.json"
    )
    recipe.add_argument("--from", dest="start_from", metavar="RUN", help=TrainingArguments.fields()["start_from"].help)
    for name, part in PARTS.items():
        options = [field for field in part.fields().values() if field.option]
        arguments.add_fields(command.add_argument_group(f"{name}, in place of the recipe's"), options)
    _add_run(command.add_argument_group("run"))


def _add_run(group: arguments.Group) -> None:
    """Adds the options of where and how a training runs."""
    group.add_argument("--out", type=arguments.path, metavar="RUN", help="run folder (default: runs/PRESET-TIME)")
    group.add_argument("--resume", action="store_true", help="go on with the run in --out")
    group.add_argument(
        "--checkpoint-minutes",
        type=arguments.rate,
        default=5.0,
        metavar="N",
        help="time between two checkpoints within an epoch, from which --resume goes on (default: 5)",
    )
    group.add_argument(
        "--workers",
        type=arguments.positive,
        default=1,
        metavar="N",
        help="train in N processes of this machine, each with its rows of a batch; with Keras on JAX (default: 1)",
    )


def execute(options: argparse.Namespace) -> int:
    values = arguments.as_arguments(options)
    del values["workers"]
    if options.workers > 1:
        check_backend()
        _check_together(values, options.workers)  # before the first of them begins
        return run_together(options)
    import_keras(joins=True)
    from kerasptb.training import train

    run = train(**values)
    return 130 if run.metrics["interrupted"] else 0


def _check_together(values: dict[str, Any], workers: int) -> None:
    """Raises for what several workers cannot train, as far as it is known before a text is opened."""
    with children.environment({"KERAS_BACKEND": "jax"}):
        from kerasptb.training.asked import read_request
        from kerasptb.training.draft import known_batch_size

    request = read_request(values)
    if "teacher" in request.training:
        raise ValueError(f"A teacher needs one worker. Received: --workers {workers} with a teacher")
    if not is_read_again(cast("TextSource | None", request.data)):
        raise ValueError("Expected, with several workers, a text that each of them can read. Received: a pipe")
    resumed = RunFolder.open_resumed(values["out"]).settings if values["resume"] else None
    rows = known_batch_size(request) if resumed is None else resumed.model.batch_size
    if rows is not None:
        check_divides(rows, workers)
