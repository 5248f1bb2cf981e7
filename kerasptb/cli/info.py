"""`kerasptb info`."""

import json
from argparse import Namespace

from kerasptb.cli import arguments


def add_parser(commands: arguments.Commands) -> None:
    command = arguments.add_command(commands, "info", execute, "versions, devices, backends and why, data found")
    arguments.add_shared(command, "--json")


def execute(options: Namespace) -> None:
    from kerasptb.info import collect, describe

    information = collect()
    print(json.dumps(information) if options.json else describe(information))
