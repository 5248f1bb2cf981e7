"""`kerasptb train`."""

import argparse
import textwrap

from kerasptb.arguments import TrainingArguments
from kerasptb.cli import arguments
from kerasptb.cli.notices import import_keras
from kerasptb.cli.workers import check_backend, run_together
from kerasptb.data.sources.source import is_read_again
from kerasptb.presets import PRESETS, summary_of
from kerasptb.runs import RunFolder
from kerasptb.runs.settings import PARTS, check_divides
from kerasptb.utils import children


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
    arguments.add_data(command, "auto, or the resumed run's")
    command.add_argument(
        "--preset",
        choices=sorted(PRESETS),
        help="recipe of the model and its training (default: auto for a text in subwords or characters, or "
        "with --minutes, else notebook; with --from that run's, with --resume the resumed run's)",
    )
    command.add_argument(
        "--config", metavar="FILE", help="settings of a run, or of a JSON file in the form of its config.json"
    )
    arguments.add_fields(
        command, (field for part in PARTS.values() for field in part.fields().values() if field.option)
    )
    arguments.add_reading(command)
    command.add_argument("--from", dest="start_from", metavar="RUN", help=TrainingArguments.fields()["start_from"].help)
    command.add_argument("--out", type=arguments.path, metavar="RUN", help="run folder (default: runs/PRESET-TIME)")
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


def _check_together(values, workers):
    """Raises for what several workers cannot train, as far as it is known before a text is opened."""
    with children.environment({"KERAS_BACKEND": "jax"}):
        from kerasptb.training.asked import read_request
        from kerasptb.training.draft import known_batch_size

    request = read_request(values)
    if "teacher" in request.training:
        raise ValueError(f"A teacher needs one worker. Received: --workers {workers} with a teacher")
    if not is_read_again(request.data):
        raise ValueError("Expected, with several workers, a text that each of them can read. Received: a pipe")
    resumed = RunFolder.open_resumed(values["out"]).settings if values["resume"] else None
    rows = known_batch_size(request) if resumed is None else resumed.model.batch_size
    if rows is not None:
        check_divides(rows, workers)
