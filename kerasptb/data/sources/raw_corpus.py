"""Where texts come from: PTB from the disk or a download, files of many kinds, the built-in sample."""

import dataclasses
import functools
import hashlib
import itertools
import logging
import os
import tempfile
from pathlib import Path
from typing import Any

from kerasptb.data.errors import DataError
from kerasptb.data.sources.download import PTB_SHA256, download_ptb, has_digests
from kerasptb.data.sources.files import SplitFile, SplitFiles, candidates, choose_names, is_corpus_name
from kerasptb.data.sources.formats import has_messages
from kerasptb.data.sources.paragraphs import is_wrapped, pieces_of
from kerasptb.data.sources.sample import read_sample
from kerasptb.data.sources.source import Source, TextSource, exists, path_of
from kerasptb.data.sources.texts import file_at, is_pipe, members_at, read_text, read_texts
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


@dataclasses.dataclass(frozen=True)
class RawCorpus:
    """Three texts, opened and unpacked, not yet encoded."""

    files: SplitFiles
    name: str  # "ptb" for the published files, "sample", or that of the folder or archive
    source: str  # where the texts came from, for people to read
    location: str | None  # what `find_corpus` takes to read them again, from any working directory; None for a pipe
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
        return _read(Source.of(data))
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
    return all(map(exists, Source.of(location).paths))


def is_read_again(data: TextSource | None) -> bool:
    """Returns whether another process can read what `data` names: it has no pipe."""
    return data is None or not any(map(is_pipe, Source.of(data).paths))


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
        return path_of(named)
    folder = ptb_cache(cache_dir)
    try:
        return folder if has_digests(folder) else None
    except PermissionError:  # a cache without access is no cache for this user
        return None


def read_path(path: Path) -> RawCorpus:
    """Returns the three texts of a folder or an archive, or those cut of what else a path names."""
    return _read(Source(path))


def _read(source):
    source.check_there()
    members = [members_at(path) for path in source.paths]
    if len(members) == 1 and members[0] and (names := _names_of_splits(source.paths[0], members[0])):
        return _of_splits(source, members[0], names)
    several = zip(source.paths, members, strict=True)
    files = [[file_at(path)] if found is None else found.values() for path, found in several]
    return _of_texts(source, list(itertools.chain.from_iterable(files)))


def _names_of_splits(path, members):
    """Returns the names of a corpus' texts, near the top of a folder, anywhere in an archive; {} if none is there."""
    place = path_of(path)
    names = candidates(place) if place.is_dir() else [name for name in members if is_corpus_name(name)]
    return choose_names(names, str(place)) if names else {}


def _of_splits(source, members, names):
    files = {split: members[name] for split, name in names.items()}
    is_ptb = all(_is_published(split, file) for split, file in files.items())
    if source.choices or not is_ptb:
        files = {split: read_text([file], source, file.path) for split, file in files.items()}
    path = path_of(source.paths[0])
    paths = tuple(path / name for name in names.values()) if path.is_dir() else (path,)
    return RawCorpus(files, "ptb" if is_ptb else _own_name(path), str(path), source.absolute().location, paths)


def _of_texts(source, files):
    if not files:
        raise FileNotFoundError(f"Expected a text. Received: {source.paths[0]}, which holds none.")
    what = files[0].path if len(files) == 1 else f"{len(files)} texts from {files[0].path} to {files[-1].path}"
    splits = read_texts(files, source, what)
    location = source.absolute().location if is_read_again(source) else None
    paths = sorted({path for file in files if (path := _on_disk(file))})
    name, cut = _name_of(source, files), "of which the last tenth is half validation, half test"
    return RawCorpus(splits, name, f"{what}, {cut}", location, tuple(paths))


def _name_of(source, files):
    if any(map(has_messages, files)):
        return "messages"
    return f"{len(source.paths)} texts" if len(source.paths) > 1 else _own_name(path_of(source.paths[0]))


def _on_disk(file):
    """Returns the path of a file, or of the archive that it is in; `None` for a pipe."""
    path = Path(file.path)
    return next((each for each in (path, *path.parents) if each.is_file()), None)


def _own_name(path):
    """Returns the name of a folder or file; "auto", "ptb" and "sample" mean other texts."""
    name = path.resolve().name
    return f"own-{name}" if name in ("auto", "ptb", "sample") else name


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
