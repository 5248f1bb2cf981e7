"""Texts as people have them, one file or several, compressed or not, cut into the three texts of a corpus."""

import dataclasses
import functools
import gzip
import io
import itertools
import logging
import lzma
from collections.abc import Sequence
from pathlib import Path

from kerasptb.data.errors import DataError
from kerasptb.data.sources.files import (
    SplitFile,
    SplitFiles,
    archive_errors,
    check_no_binary,
    check_regular,
    check_size,
    file_of,
    temporary_file,
)

logger = logging.getLogger(__name__)

_TEXTS = (".txt", ".md")
_COMPRESSED = {".gz": gzip.open, ".xz": lzma.open}

# Where training ends, and where validation ends, as parts of the text.
_CUTS = {"train": 0.9, "valid": 0.95, "test": 1.0}
# What a text is cut after: an empty line, a line's end, a space or a full stop of a script without spaces.
_SEPARATORS = (b"\n\n", b"\r\n\r\n", b"\n", b" ", "\u3002".encode())
_MOST_UNEVEN = 1.5  # a part is so many times as long as was asked, or as short
_CHUNK_BYTES = 1 << 16


def is_text(path: Path) -> bool:
    """Returns whether a name is that of a text: `.txt` or `.md`, or one of these and `.gz` or `.xz`."""
    name = path.name.lower()
    return name.endswith(tuple(text + suffix for text in _TEXTS for suffix in ("", *_COMPRESSED)))


def texts_of(folder: Path) -> list[Path]:
    """Returns the texts in a folder and its folders, by name; hidden ones are left out."""
    paths = sorted(path for path in folder.rglob("*") if is_text(path) and path.is_file())
    return [path for path in paths if not any(part.startswith(".") for part in path.relative_to(folder).parts)]


def read_texts(paths: Sequence[Path], name: str) -> SplitFiles:
    """Cuts texts, one after the other, into the first 90 % for training, the next 5 for validation, and the test.

    They are cut at the next end of a paragraph: an empty line. If there are too few of them for parts of about these
    lengths, at the next end of a line, else at the next space, or full stop of a script without spaces; if all of these
    are too few, where the parts come nearest, with a warning.
    """
    for path in paths:
        check_regular(path)
    [first, *others] = paths
    plain = not others and first.suffix.lower() not in _COMPRESSED
    return split_file(SplitFile.on_disk(first) if plain else _joined(paths, name))


def split_file(file: SplitFile) -> SplitFiles:
    """Cuts a text, of which what `open` returns can seek, as `read_texts` does."""
    with file.open() as opened:
        bounds = _most_even(_cut(opened, file.size, separator) for separator in _SEPARATORS)
    if bounds is None:
        raise DataError(
            "Expected a text long enough to cut off its last tenth, for validation and test. "
            f"Received: {file.path}, of {file.size:,} bytes"
        )
    if _unevenness(bounds) > _MOST_UNEVEN:
        logger.warning(
            "%s is cut into uneven parts, of %s bytes: it has few ends of paragraphs, lines and words. To cut it "
            "otherwise, name a folder with train.txt, valid.txt and test.txt.",
            file.path,
            ", ".join(f"{end - begin:,}" for begin, end in bounds),
        )
    return {
        split: file.part(begin, end, f"{file.path} (its {split} part)")
        for split, (begin, end) in zip(_CUTS, bounds, strict=True)
    }


def _cut(file, size, separator):
    """Returns where the parts of a text begin and end, cut after separators; `None` if there is nothing in one."""
    ends = [_next(file, int(share * size), separator) if share < 1 else size for share in _CUTS.values()]
    bounds = list(itertools.pairwise([0, *ends]))
    return None if any(_is_blank(file, begin, end) for begin, end in bounds) else bounds


def _most_even(cuts):
    """Returns the first of some cuts whose parts are as long as was asked, or else the nearest; `None` for none."""
    found = []
    for bounds in filter(None, cuts):
        if _unevenness(bounds) <= _MOST_UNEVEN:
            return bounds
        found.append(bounds)
    return min(found, key=_unevenness, default=None)


def _unevenness(bounds):
    """Returns how many times a part is as long as was asked, or as short, at most."""
    asked = [end - begin for begin, end in itertools.pairwise([0.0, *_CUTS.values()])]
    ratios = [(end - begin) / bounds[-1][1] / share for (begin, end), share in zip(bounds, asked, strict=True)]
    return max(max(ratio, 1 / ratio) for ratio in ratios)


def _next(file: io.BufferedIOBase | io.RawIOBase, place: int, separator: bytes) -> int:
    """Returns the place after the next separator, or the end of the file."""
    file.seek(place)
    before = b""
    while chunk := file.read(_CHUNK_BYTES):
        if (found := (before + chunk).find(separator)) >= 0:
            return place - len(before) + found + len(separator)
        place += len(chunk)
        before = chunk[len(chunk) - len(separator) + 1 :]
    return place


def _is_blank(file: io.BufferedIOBase | io.RawIOBase, begin: int, end: int) -> bool:
    """Returns whether there is nothing but white space from one place to another."""
    file.seek(begin)
    while begin < end and (chunk := file.read(min(_CHUNK_BYTES, end - begin))):
        if not chunk.isspace():
            return False
        begin += len(chunk)
    return True


def _joined(paths, name):
    """Returns the texts one after the other, an empty line between, each decoded here, where it can still be named."""
    with temporary_file() as joined:
        for path in paths:
            unpack = _COMPRESSED.get(path.suffix.lower())
            if joined.tell():
                joined.write(b"\n\n")
            begin = joined.tell()
            with archive_errors(path):
                text = dataclasses.replace(SplitFile.on_disk(path), open=functools.partial(unpack or open, path, "rb"))
                for piece in text.text():
                    check_no_binary(piece, path)
                    joined.write(piece.encode())
                    if unpack:
                        check_size(path, joined.tell() - begin)
        return file_of(joined, name)
