"""What can go wrong between a request and its answer."""


class ServingError(RuntimeError):
    """A model cannot be served, or not as asked."""


class BadRequestError(ValueError):
    """A request that can never be answered; the message says why."""


class BusyError(RuntimeError):
    """So many requests are waiting that another would wait too long."""
