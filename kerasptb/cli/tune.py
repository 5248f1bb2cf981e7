"""`kerasptb tune`."""

from kerasptb.cli import arguments
from kerasptb.cli.notices import import_keras
from kerasptb.presets import PRESETS
from kerasptb.tuning.settings import START_ARGUMENTS, SearchArguments
from kerasptb.utils.status_line import at_work


def add_parser(commands):
    command = arguments.add_command(commands, "tune", execute, "search for a better model with KerasTuner")
    arguments.add_data(command, "auto, or the resumed search's")
    command.add_argument(
        "--preset",
        choices=sorted(PRESETS),
        help="search around this recipe: its learning rate and its regularisation (default: notebook, with its sizes, "
        "too; auto for a text in subwords or characters)",
    )
    arguments.add_fields(command, (field for field in SearchArguments.fields().values() if field.option))
    arguments.add_fields(command, START_ARGUMENTS.values())
    arguments.add_reading(command)
    command.add_argument("--from", dest="start_from", metavar="RUN", help=SearchArguments.fields()["start_from"].help)
    command.add_argument(
        "--no-early-stopping",
        dest="early_stopping",
        action="store_false",
        default=None,
        help="train trials to their last epoch even when they are hopeless",
    )
    command.add_argument(
        "--out", type=arguments.path, metavar="DIR", help="the search's folder (default: runs/search-TIME)"
    )
    command.add_argument("--resume", action="store_true", help="go on with the search in --out")


def execute(options):
    import_keras()
    with at_work("Loading KerasTuner"):
        from kerasptb.tuning import tune

    values = arguments.as_arguments(options)
    tune(space=values.pop("preset"), **values)
