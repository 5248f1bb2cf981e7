import signal

import pytest

from kerasptb.utils.interrupts import uninterrupted


def test_an_interrupt_is_one_again_after_a_body_that_failed():
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job ignores it
    try:
        with pytest.raises(OSError, match="full"), uninterrupted():
            raise OSError("full")
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)
