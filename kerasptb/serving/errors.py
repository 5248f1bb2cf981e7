"""The errors of serving."""


class ServingError(RuntimeError):
    """The model cannot be served, or not with these options."""


class BadRequestError(ValueError):
    """The request can never be answered; the message says why.

    Attributes:
        status: the HTTP status that says so.
    """

    status = 422


class StateError(BadRequestError):
    """The state in a request is none of this model; the message says why, and to begin again without one."""

    status = 409


class BusyError(RuntimeError):
    """Too many requests are waiting, or the server is stopping."""
