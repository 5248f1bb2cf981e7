"""`kerasptb tune`."""

from kerasptb.cli import arguments
from kerasptb.cli.notices import import_keras
from kerasptb.presets import PRESETS


def add_parser(commands):
    positive = arguments.positive
    command = arguments.add_command(commands, "tune", execute, "search for a better model with KerasTuner")
    command.add_argument("--data", help=f"{arguments.DATA_HELP} (default: auto, or the resumed search's)")
    command.add_argument(
        "--preset", choices=sorted(PRESETS), help="search around this recipe: its learning rate and its regularisation"
    )
    command.add_argument("--trials", type=positive, help="number of trials (default: 20)")
    command.add_argument("--epochs", type=positive, help="epochs of a trial that is not stopped early (default: 15)")
    command.add_argument(
        "--workers",
        type=positive,
        help="a chief and N worker processes, each with its share of the cores (default: one trial after another here)",
    )
    command.add_argument("--tuner", choices=("random", "bayesian", "hyperband"), help="(default: bayesian)")
    command.add_argument(
        "--max-parameters", type=positive, help="no model has more (default: 3955088, the notebook's number)"
    )
    command.add_argument("--max-hours", type=float, help="time limit, from this start on")
    arguments.add_shared(command, "--steps-per-epoch", "--vocabulary-size")
    arguments.add_backend(command)
    command.add_argument(
        "--seed", type=arguments.seed, help="of the draws and of every training (default: drawn, and recorded)"
    )
    command.add_argument(
        "--no-early-stopping",
        dest="early_stopping",
        action="store_false",
        default=None,
        help="train trials to their last epoch even when they are hopeless",
    )
    command.add_argument(
        "--max-failures", type=positive, help="trials failing for one reason that end the search (default: 3)"
    )
    command.add_argument("--out", metavar="DIR", help="the search's folder (default: runs/search-TIME)")
    command.add_argument("--resume", action="store_true", help="go on with the search in --out")


def execute(options):
    import_keras()
    from kerasptb.tuning import LanguageModelSpace, tune

    given = arguments.as_arguments(options)
    preset = given.pop("preset")
    tune(space=None if preset is None else LanguageModelSpace.around(preset), **given)
