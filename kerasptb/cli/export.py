"""`kerasptb export`."""

import inspect

from kerasptb.cli import arguments
from kerasptb.cli.notices import import_keras
from kerasptb.export import FORMATS, function_of


def add_parser(commands):
    command = arguments.add_command(commands, "export", execute, "write a run for a server, a phone or another runtime")
    arguments.add_shared(command, "run")
    command.add_argument(
        "--format",
        choices=FORMATS,
        default="saved-model",
        help=f"{'; '.join(FORMATS.values())} (default: saved-model)",
    )
    command.add_argument("--to", metavar="PATH", required=True, help="folder or file to write; must be new")
    command.add_argument("--quantize", action="store_true", help="litert: weights in 8 bits, a quarter of the size")


def execute(options):
    import_keras(prefer_tensorflow=True)
    from kerasptb.export import ExportError
    from kerasptb.runs import load_run

    function, further = function_of(options.format), {}
    if options.quantize:
        if "quantize" not in inspect.signature(function).parameters:
            raise ExportError(f"--quantize is for --format litert. Received: --format {options.format}")
        further["quantize"] = True
    print(function(load_run(options.run), options.to, **further))
