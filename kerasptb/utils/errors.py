"""Errors that several rooms raise."""


class ExportError(ValueError):
    """The export is not possible, or not to that path; or what is opened is no export."""
