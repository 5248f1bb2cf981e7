"""Starts the processes of `kerasptb train --workers` on this machine, and watches them.

The first one is what a user sees: it has the terminal, writes the run folder, and is told of Ctrl-C and SIGTERM. What
the others say goes to a file, whose last line is shown if one of them dies.
"""

import multiprocessing
import multiprocessing.connection
import os
import signal
import sys
import tempfile
import time
from argparse import Namespace
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from multiprocessing.context import SpawnProcess
from pathlib import Path
from types import FrameType
from typing import cast

from kerasptb.cli.outcome import run
from kerasptb.utils import children
from kerasptb.utils.extras import install_command
from kerasptb.utils.interrupts import Terminated
from kerasptb.utils.processors import available_processors

# Seconds that the others get to leave by themselves when one has ended. They wait for a lost one without end.
_GRACE_SECONDS = 15.0


def check_backend() -> None:
    """Raises if what several workers train with is not installed."""
    if find_spec("jax") is None:
        raise RuntimeError(f"Several workers train with Keras on JAX, which is not installed: {install_command('jax')}")


def run_together(options: Namespace) -> int:
    """Runs a command in processes that train together; returns the first one's status, 1 if another has ended it."""
    with tempfile.TemporaryDirectory() as folder:
        logs = [Path(folder, f"{i}.log") for i in range(options.workers)]
        processes: list[SpawnProcess] = []
        # A terminal's Ctrl-C reaches this process alone, and the first process decides with the others.
        before = {
            each: signal.signal(each, _forward_to(processes))
            for each in (signal.SIGINT, signal.SIGTERM)
            if signal.getsignal(each) is not signal.SIG_IGN
        }
        try:
            _start(processes, options, logs)
            ended_first = _wait(processes)
            return _status([process.exitcode for process in processes], ended_first, logs)
        finally:
            for process in processes:
                process.kill()
                process.join()
            for each, handler in before.items():
                signal.signal(each, handler)


def _start(processes: list[SpawnProcess], options: Namespace, logs: Sequence[Path]) -> None:
    context = multiprocessing.get_context("spawn")
    threads = max(available_processors() // len(logs), 1)
    for log, variables in zip([None, *logs[1:]], children.roles(len(logs), threads), strict=True):
        process = context.Process(target=_work, args=(options, log))
        with children.environment(variables):
            process.start()
        processes.append(process)


def _work(options: Namespace, log: Path | None) -> None:
    if hasattr(os, "setpgrp"):
        os.setpgrp()
    children.exit_with_parent()
    if log is not None:
        children.write_to(log)
    options.workers = 1
    sys.exit(run(options))


def _wait(processes: Sequence[SpawnProcess]) -> int:
    """Waits until all have ended, or one has and the others have had their time; returns the number of the one."""
    ended = multiprocessing.connection.wait([process.sentinel for process in processes])
    deadline = time.monotonic() + _GRACE_SECONDS
    for process in processes:
        process.join(max(deadline - time.monotonic(), 0))
    return next(i for i, process in enumerate(processes) if process.sentinel in ended)


def _status(codes: Sequence[int | None], ended_first: int, logs: Sequence[Path]) -> int:
    """Returns the exit status of all, and says what the first process has not said."""
    failed = [i for i in (ended_first, *range(len(codes))) if codes[i] != 0]
    if not failed or codes[0] in (128 + signal.SIGINT, 128 + signal.SIGTERM):
        return codes[0] or 0
    i = failed[0]
    said = children.last_line(logs[i])
    if codes[i] == 1 and (i == 0 or said is None):  # the first process has said why
        return 1
    how = "did not end" if codes[i] is None else f"has ended ({children.describe_exit(codes[i])})"
    print(
        f"kerasptb: worker {i} of {len(codes)} {how}{f' and said: {said}' if said else ''}. What its latest checkpoint "
        "has is kept: --resume goes on from there.",
        file=sys.stderr,
    )
    return 1


def _forward_to(processes: Sequence[SpawnProcess]) -> Callable[[int, FrameType | None], None]:
    def handle(number: int, frame: FrameType | None) -> None:
        if processes and processes[0].is_alive():
            os.kill(cast(int, processes[0].pid), number)
        else:
            raise Terminated if number == signal.SIGTERM else KeyboardInterrupt

    return handle
