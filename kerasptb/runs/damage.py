"""Files of a run that are not what was written: one message, with the file and the remedy."""

import contextlib
import errno
import json
from collections.abc import Iterator
from pathlib import Path

from kerasptb.utils.files import DAMAGE, check_regular


class RunError(ValueError):
    """The folder is not a run, or the run does not allow what was asked."""


@contextlib.contextmanager
def damage(path: Path, remedy: str) -> Iterator[None]:
    """Makes a `RunError` with the remedy, a sentence, of what reading a damaged file raises; no pipe is waited for."""
    try:
        check_regular(path)
        yield
    except DAMAGE as error:
        # EINVAL: a place before the file's beginning, which a damaged archive named.
        if isinstance(error, RunError) or getattr(error, "errno", None) not in (None, errno.EINVAL):
            raise  # it is told already, or the disk's, not the file's
        text = " ".join(str(error).split()) or type(error).__name__
        if isinstance(error, json.JSONDecodeError):
            text = f"no JSON, {text}"
        raise RunError(f"{path} is damaged ({text:.200}). {remedy}") from None
