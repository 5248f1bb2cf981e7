"""Processes that this one starts on its machine."""

import contextlib
import multiprocessing
import os
import socket
import sys
import threading
from pathlib import Path


def thread_variables(threads):
    """Returns the environment variables that set a process's number of threads.

    Args:
        threads: number of threads, for TensorFlow's operations and for the native kernels.
    """
    names = ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OMP_NUM_THREADS", "KERASPTB_THREADS")
    return dict.fromkeys(names, str(threads))


def roles(number, threads):
    """Yields the environment variables of each of the processes that train together on this machine, see `peers.join`.

    Args:
        number: number of processes.
        threads: number of threads of each.
    """
    shared = {
        "KERAS_BACKEND": "jax",
        "KERAS_DISTRIBUTION_JOB_ADDRESSES": f"127.0.0.1:{free_port()}",
        "KERAS_DISTRIBUTION_NUM_PROCESSES": str(number),
        **thread_variables(threads),
    }
    for i in range(number):
        yield {**shared, "KERAS_DISTRIBUTION_PROCESS_ID": str(i)}


@contextlib.contextmanager
def environment(variables):
    """A context in which this process, and those that it starts, have these environment variables.

    Args:
        variables: dict.
    """
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


def free_port():
    """Returns a port of 127.0.0.1 that nobody listens at."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def exit_with_parent():
    """Ends this process, one of `multiprocessing`, once its parent has gone: a parent that was killed cannot end it."""

    def watch():
        multiprocessing.parent_process().join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def write_to(log):
    """Makes this process write its output and its errors to the end of a file.

    Args:
        log: path of the file.
    """
    with Path(log).open("a") as file:
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:  # closed before Python began
                stream.flush()
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)


def last_line(log):
    """Returns the last line of a file that is not blank; None if there is none.

    Args:
        log: path of the file, which need not exist.
    """
    lines = Path(log).read_text(errors="replace").split("\n") if Path(log).exists() else []
    return next((line.strip() for line in reversed(lines) if line.strip()), None)


def terminate(process, seconds=5):
    """Ends a process, and kills it if it does not end.

    Args:
        process: a `multiprocessing.Process`, or None.
        seconds: time that it has to end.
    """
    if process is None or not process.is_alive():
        return
    process.terminate()
    process.join(seconds)
    if process.is_alive():
        process.kill()
        process.join()


def describe_exit(code):
    """Returns a process' exit code in words."""
    return f"killed by signal {-code}" if code < 0 else f"exit status {code}"
