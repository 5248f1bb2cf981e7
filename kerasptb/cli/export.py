"""`kerasptb export`."""

import contextlib
import inspect
from argparse import Namespace
from pathlib import Path
from typing import Any

from kerasptb.cli import arguments
from kerasptb.cli.formats import FORMATS, format_of, function_of, needs_keras
from kerasptb.cli.notices import import_keras
from kerasptb.utils.status_line import at_work


def add_parser(commands: arguments.Commands) -> None:
    command = arguments.add_command(commands, "export", execute, "write a run for a server, a phone or another runtime")
    arguments.add_shared(command, "run")
    command.add_argument(
        "--format",
        choices=FORMATS,
        help=f"{'; '.join(FORMATS.values())} (default: by what PATH ends in, else saved-model)",
    )
    command.add_argument("--to", metavar="PATH", required=True, help="folder or file to write; must be new")
    command.add_argument(
        "--quantize", action="store_true", default=None, help="litert: weights in 8 bits, a quarter of the size"
    )
    command.add_argument(
        "--float", dest="float32", action="store_true", default=None, help="c: weights in float32, not in 8 bits"
    )
    command.add_argument(
        "--without-state",
        dest="stateful",
        action="store_false",
        default=None,
        help="sherpa-onnx: for whole utterances, in place of streams",
    )
    command.add_argument("--tokens", metavar="FILE", help="sherpa-onnx: check the ids against this tokens.txt")


def execute(options: Namespace) -> None:
    options.format = options.format or format_of(options.to)
    is_model = Path(options.run).suffix == ".keras"
    if is_model or needs_keras(options.format):
        # A keyboard's pack does without the part that TensorFlow writes.
        with contextlib.suppress(ImportError) if options.format == "keyboard" else contextlib.nullcontext():
            import_keras(prefer_tensorflow=True)
    from kerasptb.run import load_run
    from kerasptb.utils.errors import ExportError

    function = function_of(options.format)
    further = {name: getattr(options, name) for name in ("quantize", "float32", "stateful", "tokens")}
    further = {name: value for name, value in further.items() if value is not None}
    if wrong := [name for name in further if name not in inspect.signature(function).parameters]:
        named = {"stateful": "--without-state", "float32": "--float"}.get(wrong[0], f"--{wrong[0]}")
        of = next(name for name in FORMATS if wrong[0] in inspect.signature(function_of(name)).parameters)
        raise ExportError(f"{named} is for --format {of}. Received: --format {options.format}")
    with at_work(f"Writing {options.to}"):
        source = _load_model(options.run, options.format) if is_model else load_run(options.run)
        written = function(source, options.to, **further)
    print(written)


def _load_model(path: str, format: str) -> Any:
    """Returns the model of a `.keras` file: a `LanguageModel`, or any other for C."""
    import keras

    import kerasptb
    from kerasptb.utils.errors import ExportError

    try:
        model = keras.saving.load_model(path, compile=False)
    except (ImportError, KeyError, OSError, TypeError, ValueError) as error:
        raise ExportError(f"Expected a model that Keras loads. Received: {path}: {error}".split("\n")[0]) from error
    if format != "c" and not isinstance(model, kerasptb.LanguageModel):
        raise ExportError(f"Expected --format c for a model that is no LanguageModel. Received: --format {format}")
    return model
