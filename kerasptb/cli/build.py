"""`kerasptb build`."""

import sys
from argparse import Namespace

from kerasptb.cli import arguments
from kerasptb.utils.status_line import at_work


def add_parser(commands: arguments.Commands) -> None:
    command = arguments.add_command(commands, "build", execute, "compile the native library")
    command.add_argument("--force", action="store_true", help="compile even if it is up to date")
    command.add_argument("--verbose", action="store_true", help="show the compiler's commands")


def execute(options: Namespace) -> None:
    from kerasptb.native import build

    with at_work("Compiling the kernels") as stage:
        path = build.build(force=options.force, verbose=options.verbose, report=stage.tell)
    for missing in build.levels_left_out(path):
        print(f"Without kernels for {missing}.", file=sys.stderr)
    if not build.has_kernels(path):
        print(f"Without kernels, to find words alone. {build.why_no_kernels()}", file=sys.stderr)
    elif (problem := build.cuda_problem(path)) is not None:
        print(f"Without kernels for GPUs. {problem}", file=sys.stderr)
    print(path)
