"""`kerasptb build`."""

import sys

from kerasptb.cli import arguments


def add_parser(commands):
    command = arguments.add_command(commands, "build", execute, "compile the native library")
    command.add_argument("--force", action="store_true", help="compile even if it is up to date")
    command.add_argument("--verbose", action="store_true", help="show the compiler's commands")


def execute(options):
    from kerasptb.ops.native import build

    on_one_line = sys.stderr.isatty() and not options.verbose

    def report(done, total):
        if on_one_line:
            end = "\n" if done == total else ""
            print(f"\rCompiling the kernels: {done} of {total} files", end=end, file=sys.stderr, flush=True)
        elif done == 0:
            print(f"Compiling the kernels: {total} files, about a minute", file=sys.stderr)

    path = build.build(force=options.force, verbose=options.verbose, report=report)
    for missing in build.levels_left_out(path):
        print(f"Without kernels for {missing}.", file=sys.stderr)
    if (problem := build.cuda_problem(path)) is not None:
        print(f"Without kernels for GPUs. {problem}", file=sys.stderr)
    print(path)
