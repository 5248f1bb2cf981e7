import signal

import pytest

from kerasptb.utils.interrupts import Signals, Terminated, uninterrupted


def test_an_interrupt_is_one_again_after_a_body_that_failed():
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job ignores it
    try:
        with pytest.raises(OSError, match="full"), uninterrupted():
            raise OSError("full")
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)


def test_what_is_delayed_comes_after_a_body_that_failed_too():
    with Signals(), pytest.raises(Terminated), uninterrupted():
        signal.raise_signal(signal.SIGTERM)
        raise OSError("full")


def test_sigterm_raises_in_a_context_and_kills_again_after_it():
    with Signals(), pytest.raises(Terminated) as raised:
        signal.raise_signal(signal.SIGTERM)
    assert raised.value.code == 143
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_what_is_delayed_comes_once_also_through_two_contexts():
    with Signals() as outer, pytest.raises(Terminated):
        with uninterrupted():
            signal.raise_signal(signal.SIGTERM)
            signal.raise_signal(signal.SIGTERM)
        pytest.fail("the signal was lost")
    assert outer.held == []


def test_only_the_first_is_delayed_where_none_may_come_to_deliver_it():
    with Signals() as signals:
        signals.hold(all_of_them=False)
        signal.raise_signal(signal.SIGTERM)
        assert signals.number == signal.SIGTERM
        with pytest.raises(Terminated):
            signal.raise_signal(signal.SIGTERM)


def test_an_ignored_signal_stays_ignored():
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        with Signals():
            signal.raise_signal(signal.SIGTERM)
    finally:
        signal.signal(signal.SIGTERM, before)
