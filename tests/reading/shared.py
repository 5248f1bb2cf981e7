"""Fixtures that several folders have in common."""

import functools

import pytest


def shared(function):
    """A session's fixture that is made once: pytest makes that of each folder which imports it."""
    made = []

    @functools.wraps(function)
    def once(**needed):
        if not made:
            made.append(function(**needed))
        return made[0]

    return pytest.fixture(scope="session")(once)
