"""The errors of serving."""


class ServingError(RuntimeError):
    """The model cannot be served, or not with these options."""


class BadRequestError(ValueError):
    """The request can never be answered; the message says why."""


class BusyError(RuntimeError):
    """Too many requests are waiting, or the server is stopping."""
