"""The texts that are known by a name: the Penn Treebank, on the disk or downloaded, and the built-in sample."""

import logging
import os
import tempfile
from pathlib import Path
from typing import Any

from kerasptb.data.errors import DataError
from kerasptb.data.sources.download import download_ptb, has_digests
from kerasptb.data.sources.opening import OpenedText, open_source
from kerasptb.data.sources.sample import read_sample
from kerasptb.data.sources.source import Source, path_of
from kerasptb.data.sources.text_file import TextFile
from kerasptb.utils.files import user_cache

logger = logging.getLogger(__name__)

DATA_VARIABLE = "KERASPTB_DATA"

# "auto" can fall back on the sample, and a user is waiting: it gives an address 5 seconds to answer (enough for a name
# look-up and a TLS handshake over a slow line), and all of them half a minute. "ptb" has no fallback and waits longer.
AUTO_TIMEOUTS: dict[str, Any] = {"answer_timeout": 5.0, "total_timeout": 30.0}
PTB_TIMEOUTS: dict[str, Any] = {"answer_timeout": 20.0, "total_timeout": 600.0}


def open_published(name: str, cache_dir: Path | None = None) -> OpenedText:
    """Opens the text of one of `PUBLISHED`, as `load_corpus` describes; a download is kept in the cache folder."""
    if name == "sample":
        return _open_sample()
    if (path := find_local_ptb(cache_dir)) is not None:
        text = _open_local(path)
        if name == "ptb" and text.name != "ptb":
            logger.warning("The files in %s are not the published Penn Treebank files.", text.source)
        return text
    folder = ptb_cache(cache_dir)
    try:
        download_ptb(folder, **(AUTO_TIMEOUTS if name == "auto" else PTB_TIMEOUTS))
    except (OSError, DataError) as error:
        if name == "ptb":
            raise
        logger.warning(
            "%s\n*** Using the built-in sample instead: the prose of Python's own manual. "
            "Its perplexity compares with no published number. ***",
            error,
        )
        return _open_sample()
    return open_source(Source(folder))


def _open_sample() -> OpenedText:
    texts = read_sample().items()
    files = {split: TextFile.of_bytes(text.encode(), f"the sample's {split} text") for split, text in texts}
    source = "the built-in sample (pydoc_data.topics)"
    return OpenedText(files, "sample", source, "sample", is_sample=True)


def find_local_ptb(cache_dir: Path | None = None) -> Path | None:
    """Returns what `KERASPTB_DATA` names, else the cache's folder if the published files are in it whole, or None."""
    if named := os.environ.get(DATA_VARIABLE):
        return path_of(named)
    folder = ptb_cache(cache_dir)
    try:
        return folder if has_digests(folder) else None
    except PermissionError:  # a cache without access is no cache for this user
        return None


def _open_local(path: Path) -> OpenedText:
    try:
        return open_source(Source(path))
    except (OSError, DataError) as error:
        if os.environ.get(DATA_VARIABLE):
            # The user has named this path, so neither another source nor the sample may replace it.
            raise type(error)(f"The environment variable {DATA_VARIABLE} names {path}. {error}") from None
        raise


def default_cache() -> Path:
    """Returns `kerasptb` in `XDG_CACHE_HOME`, by default `~/.cache`; without a home it is among temporary files."""
    try:
        return user_cache()
    except RuntimeError:  # a user without a home
        user = f"-{os.getuid()}" if hasattr(os, "getuid") else ""  # on Windows each user has temporary files apart
        return Path(tempfile.gettempdir()) / f"kerasptb{user}"


def ptb_cache(cache_dir: Path | None = None) -> Path:
    """Returns the folder in which a download of PTB is kept, in the default cache or another."""
    return (cache_dir or default_cache()) / "ptb"
