"""The errors of serving."""

from kerasptb.data import DataError


class ServingError(RuntimeError):
    """The model cannot be served, or not with these options."""


class StateError(DataError):
    """The state in a request is none of this model; the message says why, and to begin again without one."""


class BusyError(RuntimeError):
    """Too many requests are waiting, or the server is stopping."""
