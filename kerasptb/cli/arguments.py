"""What the parsers of several commands share: types of arguments, and options."""

import argparse

DATA_HELP = (
    "auto (PTB where it is found or can be downloaded, else the built-in sample), ptb, sample, a folder with "
    "train, valid and test texts, an archive of them, or one .txt file, whose last tenth is half validation, half test"
)


def _number(kind, accepts, expected):
    """Returns a function that reads a number; if `accepts` refuses the number, the message says what is expected."""

    def read(text):
        try:
            value = kind(text)
        except ValueError:
            value = None
        if value is None or not accepts(value):
            raise argparse.ArgumentTypeError(f"expected {expected}, received {text}")
        return value

    return read


port = _number(int, lambda value: 0 <= value <= 65_535, "a port from 0 to 65535")
rate = _number(float, lambda value: 0 <= value < float("inf"), "a number of at least 0")
positive = _number(int, lambda value: value >= 1, "a whole number of at least 1")
above_zero = _number(float, lambda value: 0 < value < float("inf"), "a number above 0")
probability = _number(float, lambda value: 0 < value <= 1, "a number above 0 and at most 1")
seed = _number(int, lambda value: value >= 0, "a whole number of at least 0")

_SHARED = {
    "run": {"metavar": "RUN", "help": "run folder"},
    "--json": {"action": "store_true", "help": "print one JSON object"},
    "--steps-per-epoch": {"type": positive, "help": "only the first N batches of each epoch"},
    "--vocabulary-size": {
        "type": positive,
        "help": "keep the N most frequent words, <unk> and <eos> among them; the rest becomes <unk> (default: all)",
    },
}


def add_command(commands, name, execute, text, **kwargs):
    """Adds a command, of which the help says `text`, and returns its parser."""
    command = commands.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.", **kwargs)
    command.set_defaults(command=execute, name=name)
    return command


def as_arguments(options):
    """Returns the options of a command as a dict, for a function whose arguments have their names."""
    return {name: value for name, value in vars(options).items() if name not in ("command", "debug", "name")}


def add_shared(command, *names):
    """Adds options that several commands have."""
    for name in names:
        command.add_argument(name, **_SHARED[name])


def add_backend(command, backend="auto", precision="float32"):
    """Adds the options of what computes the model; the help names these defaults."""
    backends, precisions = ("auto", "reference", "keras", "native"), ("float32", "bfloat16x3", "bfloat16")
    command.add_argument("--backend", choices=backends, help=f"what runs the LSTMs and the loss (default: {backend})")
    command.add_argument("--precision", choices=precisions, help=f"of the matrix products (default: {precision})")


def overrides(options):
    """Returns those that were given: they replace the run's, such as float32 on a processor without bfloat16."""
    asked = {"backend": options.backend, "precision": options.precision}
    return {name: value for name, value in asked.items() if value is not None}
