"""Where texts come from: PTB from the disk or a download, a folder, an archive, the built-in sample."""

import dataclasses
import functools
import hashlib
import logging
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kerasptb.data.errors import DataError
from kerasptb.data.sources.download import PTB_SHA256, download_ptb, has_digests
from kerasptb.data.sources.files import SplitFile, SplitFiles, candidates, read_files
from kerasptb.data.sources.paragraphs import is_wrapped, pieces_of
from kerasptb.data.sources.sample import read_sample
from kerasptb.data.sources.texts import is_text, read_texts, texts_of
from kerasptb.data.tokenizers.tokenizer import UNK
from kerasptb.utils.files import user_cache
from kerasptb.utils.types import Tokens

logger = logging.getLogger(__name__)

DATA_VARIABLE = "KERASPTB_DATA"

# A text is judged by so many bytes, and has a word for unknown ones if that stands once in so many.
_JUDGED, _UNKNOWN_IN = 1 << 24, 10_000

_LARGEST_OF_PTB = 10_000_000  # bytes; the training text has 5 MB

# "auto" can fall back on the sample, and a user is waiting: it gives an address 5 seconds to answer (enough for a name
# look-up and a TLS handshake over a slow line), and all of them half a minute. "ptb" has no fallback and waits longer.
AUTO_TIMEOUTS: dict[str, Any] = {"answer_timeout": 5.0, "total_timeout": 30.0}
PTB_TIMEOUTS: dict[str, Any] = {"answer_timeout": 20.0, "total_timeout": 600.0}


# What `load_corpus` takes, but a `Corpus`.
TextSource = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]


@dataclasses.dataclass(frozen=True)
class RawCorpus:
    """Three texts, opened and unpacked, not yet encoded."""

    files: SplitFiles
    name: str  # "ptb" for the published files, "sample", or that of the folder or archive
    source: str  # where the texts came from, for people to read
    location: str  # what `find_corpus` takes to read the same texts again, from any working directory
    paths: tuple[Path, ...] = ()  # the files that were read; none for the sample
    is_sample: bool = False

    @functools.cached_property
    def usual_tokens(self) -> Tokens:
        """What it is cut into if nothing is said: words if one for unknown words stands in it often, else subwords."""
        seen, size = 0, 0
        for chunk in self.files["train"].chunks():
            seen, size = seen + chunk.count(UNK.encode()), size + len(chunk)
            if size >= _JUDGED:
                break
        return "words" if seen * _UNKNOWN_IN >= size > 0 else "subwords"

    @functools.cached_property
    def is_wrapped(self) -> bool:
        """Whether all of it together is wrapped prose, whose lines are joined."""
        return is_wrapped(pieces_of(self.files.values()))

    @property
    def place(self) -> dict[str, Any]:
        """What a `Corpus` has of it, by name."""
        return {name: getattr(self, name) for name in ("name", "source", "is_sample", "location")}


def find_corpus(data: TextSource, cache_dir: Path | None = None) -> RawCorpus:
    """Opens the texts that `data` names, as `load_corpus` describes; a download is kept in the cache folder."""
    if data == "sample":
        return _read_sample()
    if data not in ("auto", "ptb"):
        return _read_named(data)
    if (path := find_local_ptb(cache_dir)) is not None:
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


def is_there(location: str) -> bool:
    """Returns whether the files of a `RawCorpus.location` exist."""
    # Several joined may be longer than a name can be, for which `Path.exists` raises.
    return os.path.exists(location) or all(map(os.path.exists, location.split(os.pathsep)))  # noqa: PTH110


def default_cache() -> Path:
    """Returns `kerasptb` in `XDG_CACHE_HOME`, by default `~/.cache`; without a home it is among temporary files."""
    try:
        return user_cache()
    except RuntimeError:  # a user without a home
        return Path(tempfile.gettempdir()) / f"kerasptb-{os.getuid()}"


def ptb_cache(cache_dir: Path | None = None) -> Path:
    """Returns the folder in which a download of PTB is kept, in the default cache or another."""
    return (cache_dir or default_cache()) / "ptb"


def find_local_ptb(cache_dir: Path | None = None) -> Path | None:
    """Returns what `KERASPTB_DATA` names, else the cache's folder if the published files are in it whole, or None."""
    if named := os.environ.get(DATA_VARIABLE):
        return Path(named).expanduser()
    folder = ptb_cache(cache_dir)
    try:
        return folder if has_digests(folder) else None
    except PermissionError:  # a cache without access is no cache for this user
        return None


def _read_named(data):
    """Reads what a user names; several paths as a sequence, or as `RawCorpus.location` has them."""
    named = [data] if isinstance(data, str | os.PathLike) else list(data)
    if len(named) == 1 and not os.path.exists(Path(named[0]).expanduser()):  # noqa: PTH110  (as in `is_there`)
        named = os.fspath(named[0]).split(os.pathsep)
    paths = [Path(name).expanduser() for name in named]
    for name, path in zip(named, paths, strict=True):
        if not os.fspath(name) or not path.exists():  # "" would be the working directory
            raise FileNotFoundError(
                "Expected 'auto', 'ptb', 'sample', a folder, an archive or texts. "
                f"Received: {os.fspath(name)!r}, which does not exist."
            )
    if len(paths) == 1:
        return read_path(paths[0])
    for path in paths:
        if not is_text(path):
            raise DataError(f"Expected several texts, whose names end in .txt or .md. Received: {path} among them.")
    return _of_texts(paths, os.pathsep.join(str(path.absolute()) for path in paths), f"{len(paths)} texts")


def read_path(path: Path) -> RawCorpus:
    """Returns the three texts of a folder or an archive, or those cut of one text or of a folder of texts."""
    if is_text(path) and path.is_file():
        return _of_texts([path], str(path.absolute()), _own_name(path))
    named = candidates(path) if path.is_dir() else []
    if path.is_dir() and not named and (texts := texts_of(path)):
        return _of_texts(texts, str(path.absolute()), _own_name(path))
    files = read_files(path)
    is_ptb = all(_is_published(split, file) for split, file in files.items())
    name = "ptb" if is_ptb else _own_name(path)
    paths = tuple(path / name for name in named) if named else (path,)
    location = str(path.absolute())
    return RawCorpus(files, name, str(path), location, paths)


def _own_name(path):
    """Returns the name of a folder or file; "auto", "ptb" and "sample" mean other texts."""
    name = path.resolve().name
    return f"own-{name}" if name in ("auto", "ptb", "sample") else name


def _of_texts(paths, location, name):
    what = str(paths[0]) if len(paths) == 1 else f"{len(paths)} texts from {paths[0]} to {paths[-1]}"
    files = read_texts(paths, what)
    source = f"{what}, of which the last tenth is half validation, half test"
    return RawCorpus(files, name, source, location, tuple(paths))


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
    texts = read_sample().items()
    files = {split: SplitFile.of_bytes(text.encode(), f"the sample's {split} text") for split, text in texts}
    source = "the built-in sample (pydoc_data.topics)"
    return RawCorpus(files, "sample", source, "sample", is_sample=True)
