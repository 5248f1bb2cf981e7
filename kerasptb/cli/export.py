"""`kerasptb export`."""

from kerasptb.cli import arguments
from kerasptb.cli.notices import import_keras


def add_parser(commands):
    command = arguments.add_command(commands, "export", execute, "write a run for a server, a phone or another runtime")
    arguments.add_shared(command, "run")
    command.add_argument(
        "--format",
        choices=("saved-model", "litert", "onnx"),
        default="saved-model",
        help="a folder that takes text, for TensorFlow; a .tflite file; an .onnx file (default: saved-model)",
    )
    command.add_argument("--to", metavar="PATH", required=True, help="folder or file to write; must be new")
    command.add_argument("--quantize", action="store_true", help="litert: weights in 8 bits, a quarter of the size")


def execute(options):
    import_keras(prefer_tensorflow=True)
    from kerasptb.export import ExportError, export_litert, export_onnx, export_saved_model
    from kerasptb.runs import load_run

    if options.quantize and options.format != "litert":
        raise ExportError(f"--quantize is for --format litert. Received: --format {options.format}")
    run = load_run(options.run)
    if options.format == "litert":
        print(export_litert(run, options.to, quantize=options.quantize))
    elif options.format == "onnx":
        print(export_onnx(run, options.to))
    else:
        print(export_saved_model(run, options.to))
