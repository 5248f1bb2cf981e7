"""Where texts come from: PTB from the disk or a download, a folder, an archive, the built-in sample."""

import dataclasses
import hashlib
import logging
import os
import tempfile
from pathlib import Path
from typing import Any

from kerasptb.data.download import PTB_SHA256, download_ptb, has_digests
from kerasptb.data.errors import DataError
from kerasptb.data.files import SPLITS, SplitFile, SplitFiles, read_files
from kerasptb.data.sample import read_sample
from kerasptb.data.single import split_file
from kerasptb.utils.files import user_cache

logger = logging.getLogger(__name__)

DATA_VARIABLE = "KERASPTB_DATA"

_LARGEST_OF_PTB = 10_000_000  # bytes; the training text has 5 MB

# "auto" can fall back on the sample, and a user is waiting: it gives an address 5 seconds to answer (enough for a name
# look-up and a TLS handshake over a slow line), and all of them half a minute. "ptb" has no fallback and waits longer.
AUTO_TIMEOUTS: dict[str, Any] = {"answer_timeout": 5.0, "total_timeout": 30.0}
PTB_TIMEOUTS: dict[str, Any] = {"answer_timeout": 20.0, "total_timeout": 600.0}


@dataclasses.dataclass(frozen=True)
class RawCorpus:
    """Three texts, not yet encoded.

    Attributes:
        train: the training text.
        valid: the validation text.
        test: the test text.
        name: "ptb" for the published files, "sample", or the name of the folder or archive.
        source: where the texts came from, for people to read.
        is_sample: True for the built-in sample.
        location: what `find_corpus` takes to read the same texts again, from any working directory.
    """

    train: SplitFile
    valid: SplitFile
    test: SplitFile
    name: str
    source: str
    is_sample: bool
    location: str

    @property
    def files(self) -> SplitFiles:
        """The texts by split."""
        return {split: getattr(self, split) for split in SPLITS}

    @property
    def place(self) -> dict[str, Any]:
        """The other attributes by name."""
        return {name: getattr(self, name) for name in ("name", "source", "is_sample", "location")}


def find_corpus(data: str | os.PathLike, cache_dir: Path | None = None) -> RawCorpus:
    """Reads the texts that `data` names, as `load_corpus` describes.

    Args:
        data: "auto", "ptb", "sample", a folder, an archive or a text.
        cache_dir: where a download is kept, or None for the default.

    Raises:
        DataError: an archive is damaged, or PTB is nowhere.
        FileNotFoundError: a file is missing.
    """
    if data == "sample":
        return _read_sample()
    if data not in ("auto", "ptb"):
        path = Path(data).expanduser()
        if not os.fspath(data) or not path.exists():  # "" would be the working directory
            raise FileNotFoundError(
                "Expected 'auto', 'ptb', 'sample', a folder, an archive or a .txt file. "
                f"Received: {os.fspath(data)!r}, which does not exist."
            )
        return read_path(path)
    path = find_local_ptb(cache_dir)
    if path is not None:
        raw = _read_local_ptb(path)
        if data == "ptb" and raw.name != "ptb":
            logger.warning("The files in %s are not the published Penn Treebank files.", raw.source)
        return raw
    folder = ptb_cache(cache_dir)
    try:
        download_ptb(folder, **(AUTO_TIMEOUTS if data == "auto" else PTB_TIMEOUTS))
    except (OSError, DataError) as error:
        if data == "ptb":
            raise
        logger.warning(
            "%s\n*** Using the built-in sample instead: the prose of Python's own manual. "
            "Its perplexity compares with no published number. ***",
            error,
        )
        return _read_sample()
    return read_path(folder)


def default_cache() -> Path:
    """Returns `kerasptb` in `XDG_CACHE_HOME`, by default `~/.cache`; without a home it is among temporary files."""
    try:
        return user_cache()
    except RuntimeError:  # a user without a home
        return Path(tempfile.gettempdir()) / f"kerasptb-{os.getuid()}"


def ptb_cache(cache_dir: Path | None = None) -> Path:
    """Returns the folder in which a download of PTB is kept.

    Args:
        cache_dir: the cache, or None for the default.
    """
    return (cache_dir or default_cache()) / "ptb"


def find_local_ptb(cache_dir: Path | None = None) -> Path | None:
    """Returns the path from which PTB would be read without a download, or None.

    Args:
        cache_dir: the cache, or None for the default.

    Returns:
        The path in `KERASPTB_DATA`, whatever it holds; else the cache, if it holds the published files undamaged.
    """
    named = os.environ.get(DATA_VARIABLE)
    if named:
        return Path(named).expanduser()
    folder = ptb_cache(cache_dir)
    try:
        return folder if has_digests(folder) else None
    except PermissionError:  # a cache without access is no cache for this user
        return None


def read_path(path: Path) -> RawCorpus:
    """Reads the texts of a folder or an archive, or cuts those of one text.

    Args:
        path: the folder, the archive or the text, whose name ends in `.txt`.

    Raises:
        DataError: an archive is damaged.
        FileNotFoundError: a file is missing.
    """
    if path.suffix.lower() == ".txt" and path.is_file():
        source = f"{path}, of which the last tenth is half validation, half test"
        name = path.resolve().name
        return RawCorpus(**split_file(path), name=name, source=source, is_sample=False, location=str(path.absolute()))
    files = read_files(path)
    is_ptb = all(_is_published(split, file) for split, file in files.items())
    name = "ptb" if is_ptb else path.resolve().name
    if not is_ptb and name in ("auto", "ptb", "sample"):
        name = f"own-{name}"  # these three names mean other texts
    return RawCorpus(**files, name=name, source=str(path), is_sample=False, location=str(path.absolute()))


def _read_local_ptb(path: Path) -> RawCorpus:
    try:
        return read_path(path)
    except (OSError, DataError) as error:
        if os.environ.get(DATA_VARIABLE):
            # The user has named this path, so neither another source nor the sample may replace it.
            raise type(error)(f"The environment variable {DATA_VARIABLE} names {path}. {error}") from None
        raise


def _is_published(split: str, file: SplitFile) -> bool:
    if file.size > _LARGEST_OF_PTB:
        return False
    with file.open() as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest() == PTB_SHA256[f"ptb.{split}.txt"]


def _read_sample() -> RawCorpus:
    texts = {
        split: SplitFile.of_bytes(text.encode(), f"the sample's {split} text") for split, text in read_sample().items()
    }
    source = "the built-in sample (pydoc_data.topics)"
    return RawCorpus(**texts, name="sample", source=source, is_sample=True, location="sample")
