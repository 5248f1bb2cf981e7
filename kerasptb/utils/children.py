"""Processes that this one starts on its machine."""

import contextlib
import multiprocessing
import os
import socket
import sys
import threading
from collections.abc import Iterator, Mapping
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import cast

from kerasptb.utils.types import StrPath

_uses: set[int] = set()  # this process, or one that it was forked from, if models were made there


def check_not_forked() -> None:
    """Raises a RuntimeError in a process that was forked after models were used: their threads are not in it."""
    _uses.add(os.getpid())
    if len(_uses) > 1:
        raise RuntimeError(
            'Expected a process that was begun anew, as by multiprocessing.get_context("spawn"). Received: one forked '
            "from a process that had made a model, in which TensorFlow would wait for ever"
        )


def thread_variables(threads: int) -> dict[str, str]:
    """Returns the environment variables that set a process's threads, of TensorFlow and of the native kernels."""
    names = ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OMP_NUM_THREADS", "KERASPTB_THREADS")
    return dict.fromkeys(names, str(threads))


def roles(number: int, threads: int) -> Iterator[dict[str, str]]:
    """Yields the environment variables of each process that trains with others on this machine, see `peers.join`."""
    shared = {
        "KERAS_BACKEND": "jax",
        "KERAS_DISTRIBUTION_JOB_ADDRESSES": f"127.0.0.1:{free_port()}",
        "KERAS_DISTRIBUTION_NUM_PROCESSES": str(number),
        **thread_variables(threads),
    }
    for i in range(number):
        yield {**shared, "KERAS_DISTRIBUTION_PROCESS_ID": str(i)}


@contextlib.contextmanager
def environment(variables: Mapping[str, str]) -> Iterator[None]:
    """A context in which this process, and those that it starts, have these environment variables."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name)
            else:
                os.environ[name] = value


def free_port() -> int:
    """Returns a port of 127.0.0.1 that nobody listens at."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def exit_with_parent() -> None:
    """Ends this process, one of `multiprocessing`, once its parent has gone: a parent that was killed cannot end it."""

    def watch() -> None:
        cast(BaseProcess, multiprocessing.parent_process()).join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def write_to(log: StrPath) -> None:
    """Makes this process write its output and its errors to the end of a file."""
    with Path(log).open("a") as file:
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:  # closed before Python began
                stream.flush()
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)


def last_line(log: StrPath) -> str | None:
    """Returns the last line of a file that is not blank; None if there is none, or no file."""
    lines = Path(log).read_text(errors="replace").split("\n") if Path(log).exists() else []
    return next((line.strip() for line in reversed(lines) if line.strip()), None)


def terminate(process: BaseProcess | None, seconds: float = 5) -> None:
    """Ends a process, if there is one, and kills it if it does not end in some seconds."""
    if process is None or not process.is_alive():
        return
    process.terminate()
    process.join(seconds)
    if process.is_alive():
        process.kill()
        process.join()


def describe_exit(code: int) -> str:
    """Returns a process' exit code in words."""
    return f"killed by signal {-code}" if code < 0 else f"exit status {code}"
