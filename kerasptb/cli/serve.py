"""`kerasptb serve`."""

from argparse import Namespace
from pathlib import Path

from kerasptb.cli import arguments
from kerasptb.cli.notices import import_keras


def add_parser(commands: arguments.Commands) -> None:
    command = arguments.add_command(
        commands, "serve", execute, "a page with a keyboard's suggestions, and their JSON API"
    )
    command.add_argument("run", metavar="RUN", help="run folder, english, or a SavedModel that `kerasptb export` wrote")
    command.add_argument("--host", default="127.0.0.1", help="address to listen at (default: this machine alone)")
    command.add_argument("--port", type=arguments.port, default=8000, help="0 takes a free one (default: 8000)")
    command.add_argument(
        "--rate",
        type=arguments.rate,
        metavar="N",
        help="requests a second from one address, 0 for any number (default: 100)",
    )
    command.add_argument(
        "--allow-host",
        action="append",
        default=[],
        metavar="NAME",
        help="a name by which requests may ask for the server, besides localhost; may be repeated",
    )
    command.add_argument(
        "--allow-origin",
        action="append",
        default=[],
        metavar="ORIGIN",
        help="a site whose pages may ask the server, such as https://example.org; may be repeated",
    )
    command.add_argument(
        "--proxy",
        action="append",
        default=[],
        metavar="ADDRESS",
        help="a proxy, or a network of them, whose X-Forwarded-For names the client (default: none is believed); "
        "may be repeated",
    )
    arguments.add_shared(command, "--counts")


def execute(options: Namespace) -> None:
    if Path(options.run, "saved_model.pb").exists():  # which TensorFlow reads
        import_keras(prefer_tensorflow=True)
    from kerasptb.serving import serve

    serve(
        options.run,
        options.host,
        options.port,
        options.rate,
        options.allow_host,
        options.proxy,
        options.counts != "none",
        options.allow_origin,
    )
