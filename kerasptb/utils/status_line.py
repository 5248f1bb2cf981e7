"""A line on standard error that says how far something is."""

import sys


def show_status(line: str, *, is_last: bool = False, in_logs: bool = False) -> None:
    """Shows a line: on a terminal in place of the one before, unless that was the last; in a log if `in_logs`."""
    if sys.stderr.isatty():
        print(f"\r\x1b[K{line}", end="\n" if is_last else "", file=sys.stderr, flush=True)
    elif in_logs:
        print(line, file=sys.stderr, flush=True)
