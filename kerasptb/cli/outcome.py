"""Runs a command, and turns what was raised into a message and an exit status."""

import contextlib
import os
import re
import signal
import sys
import warnings
from argparse import Namespace
from pathlib import Path
from typing import Any

from kerasptb.utils.interrupts import Terminated
from kerasptb.utils.processors import available_processors
from kerasptb.utils.registration import choose_backend
from kerasptb.utils.status_line import Watching

_TRAINING = ("train", "tune")


def run(options: Namespace) -> int:
    """Runs a command whose arguments have been read; returns the status as `main`."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # closed before Python began (`>&-`)
            setattr(sys, name, Path(os.devnull).open("w"))  # noqa: SIM115  (for as long as the process lives)
        elif hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # a terminal may not know every character
    choose_backend()
    # TensorFlow does not know a container's quota and would start one thread for each processor of the host.
    for name in ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"):
        os.environ.setdefault(name, str(available_processors()))
    try:
        watching = contextlib.nullcontext() if options.name == "serve" else Watching()
        with warnings.catch_warnings(), watching:
            if not options.debug:
                warnings.showwarning = _tell
            status = options.command(options) or 0
        sys.stdout.flush()  # here, not at the process' end, where nobody would tell of an error
        return status
    except (KeyboardInterrupt, Terminated) as error:
        is_ended = isinstance(error, Terminated)
        print(f"kerasptb: {'ended by SIGTERM' if is_ended else 'interrupted'}", file=sys.stderr)
        return 128 + (signal.SIGTERM if is_ended else signal.SIGINT)
    except BrokenPipeError:
        _discard_output()
        if options.name not in _TRAINING:
            return 0  # the reader (`| head`) has seen enough, and nothing is wrong
        print("kerasptb: stopped, because what read the output has ended", file=sys.stderr)
        return 1
    except Exception as error:
        if options.debug or not _is_plain(error):
            raise
        print(f"kerasptb: {printable(_one_line(error, trains=options.name in _TRAINING))}", file=sys.stderr)
        try:
            sys.stdout.flush()
        except OSError:
            _discard_output()
        return 1


def _tell(message: Warning | str, *_: Any, **__: Any) -> None:
    """Prints a warning in a line, without the place in the code that it is about."""
    print(f"kerasptb: {printable(' '.join(str(message).split()))}", file=sys.stderr)


# What a terminal obeys instead of showing it: control characters but tab and line feed, and marks of direction.
_OBEYED = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def printable(text: str) -> str:
    r"""Returns a text that may hold words of others, with what a terminal obeys as Python writes it: `\x1b`."""
    return _OBEYED.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def _discard_output() -> None:
    """Lets Python not try to flush again what could not be written."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _is_plain(error: Exception) -> bool:
    """Whether an error's text says what was expected and received, so that a traceback would add nothing."""
    plain = isinstance(error, ValueError | OSError | ArithmeticError | RuntimeError)
    return plain or _missing_package(error) is not None or _is_memory(error)


def _is_memory(error: Exception) -> bool:
    """Whether the memory was not enough, Python's, TensorFlow's or JAX's."""
    of_jax = isinstance(error, RuntimeError) and str(error).startswith("RESOURCE_EXHAUSTED")
    return isinstance(error, MemoryError) or of_jax or type(error).__name__ == "ResourceExhaustedError"


def _missing_package(error: Exception) -> str | None:
    """The name of the third-party package that is not installed, if that is the error; else None."""
    package = (getattr(error, "name", None) or "").partition(".")[0]
    return package if isinstance(error, ModuleNotFoundError) and package not in ("", "kerasptb") else None


def _one_line(error: Exception, trains: bool) -> str:
    if package := _missing_package(error):
        return f"This command needs the package {package}, which is not installed."
    if _is_memory(error):
        advice = " Smaller batches (--batch-size) or layers (--units) need less." if trains else ""
        return f"The memory is not enough.{advice}"
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror}: {error.filename}" if error.filename else error.strerror
    text = str(error)
    if wrapped := re.search("\x1b\\[1m(.*)\x1b\\[0m", text, re.DOTALL):
        text = wrapped[1]  # Keras has added the layer's name before the text and all of its arguments after it
    text = re.sub(r"([^:]+: )\1+", r"\1", text)  # XLA names each of its steps that an error has passed
    return " ".join(text.split()) or type(error).__name__
