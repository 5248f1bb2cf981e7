"""Imports Keras without TensorFlow's notices, for the command line."""

import contextlib
import os
import re
import signal
import sys
from collections.abc import Iterator
from importlib.util import find_spec

from kerasptb.utils.status_line import at_work

_LEVEL = "TF_CPP_MIN_LOG_LEVEL"

# The log level does not affect these, because they are written before TensorFlow's logging is set up. The last one
# appears on machines without an NVIDIA driver: 303 is CUDA's "shared object not found". Any other GPU failure is shown.
# TensorFlow 2.20 begins lines with the time.
_NOTICE = re.compile(
    rb"(?:\d{4}-\d\d-\d\d [\d:.]+: )?"
    rb"(?:WARNING: All log messages before absl::InitializeLog\(\)|[IW](?:\d{4})? "
    rb"|E(?:\d{4})? .*failed call to cuInit.*\(303\)"
    rb"|\[Gloo\] Rank)"
)


def import_keras(prefer_tensorflow: bool = False, joins: bool = False) -> None:
    """Imports Keras and its backend and finds the devices, without TensorFlow's notices on standard error.

    With `TF_CPP_MIN_LOG_LEVEL` below 2 in the environment they are all shown. Keras runs on TensorFlow, if that is
    preferred and installed; with `joins` the process may train with others (`peers.join`).
    """
    if prefer_tensorflow and find_spec("tensorflow"):
        os.environ["KERAS_BACKEND"] = "tensorflow"
    backend = os.environ.get("KERAS_BACKEND")
    if backend and backend not in ("tensorflow", "jax", "torch"):
        raise RuntimeError(f"Expected KERAS_BACKEND=tensorflow, jax or torch. Received: KERAS_BACKEND={backend}")
    if backend and find_spec(backend) is None:
        raise RuntimeError(
            f"Keras is to run on {backend}, which is not installed. Install it, or set KERAS_BACKEND to another. "
            f"Received: KERAS_BACKEND={backend}"
        )
    # The descriptor was closed before Python began; or, on Windows, no process can sort the lines.
    unseen = sys.stderr is None or not hasattr(os, "fork")
    shown = unseen or os.environ.get(_LEVEL) in ("0", "1")
    with at_work("Loading Keras"), contextlib.nullcontext() if shown else without_notices():
        os.environ.setdefault(_LEVEL, "2")
        from kerasptb.ops.platform import visible_gpus
        from kerasptb.trainers import peers

        if joins:
            peers.join()
        visible_gpus()


@contextlib.contextmanager
def without_notices() -> Iterator[None]:
    """Keeps TensorFlow's notices off standard error while the body runs, by another process: a crash loses no line."""
    sys.stderr.flush()
    screen = os.dup(2)
    reading, writing = os.pipe()
    sorter = os.fork()
    if sorter == 0:
        try:
            os.close(writing)
            _sort(reading, screen)
        finally:
            os._exit(0)
    os.close(reading)
    os.dup2(writing, 2)
    os.close(writing)
    try:
        yield
    finally:
        sys.stderr.flush()
        os.dup2(screen, 2)
        os.close(screen)
        os.waitpid(sorter, 0)


def _sort(reading: int, screen: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent process handles Ctrl-C; this process ends with it
    with os.fdopen(reading, "rb") as lines:
        for line in lines:
            if not _NOTICE.match(line):
                os.write(screen, line)
