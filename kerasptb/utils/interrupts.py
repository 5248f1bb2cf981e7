"""Delays Ctrl-C while something must not be interrupted."""

import contextlib
import signal
import threading


@contextlib.contextmanager
def uninterrupted():
    """Delays Ctrl-C until the body has ended."""
    handler = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(handler):
        yield
        return
    interrupts = []
    signal.signal(signal.SIGINT, lambda *arguments: interrupts.append(arguments))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)
    if interrupts:
        handler(*interrupts[0])
