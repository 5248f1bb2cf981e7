"""Texts as people have them, one file or several, compressed or not, cut into the three texts of a corpus."""

import dataclasses
import functools
import gzip
import io
import itertools
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

_TEXTS = (".txt", ".md")
_COMPRESSED = {".gz": gzip.open, ".xz": lzma.open}

# Where training ends, and where validation ends, as parts of the text.
_CUTS = {"train": 0.9, "valid": 0.95, "test": 1.0}
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

    They are cut at the next end of a paragraph: an empty line. If there are too few of them, at the next end of a line,
    and else at the next space.
    """
    for path in paths:
        check_regular(path)
    [first, *others] = paths
    plain = not others and first.suffix.lower() not in _COMPRESSED
    return split_file(SplitFile.on_disk(first) if plain else _joined(paths, name))


def split_file(file: SplitFile) -> SplitFiles:
    """Cuts a text, of which what `open` returns can seek, as `read_texts` does."""
    with file.open() as opened:
        for separator in (b"\n\n", b"\r\n\r\n", b"\n", b" "):
            ends = [
                _next(opened, int(share * file.size), separator) if share < 1 else file.size for share in _CUTS.values()
            ]
            bounds = list(itertools.pairwise([0, *ends]))
            if not any(_is_blank(opened, begin, end) for begin, end in bounds):
                break
        else:
            raise DataError(
                "Expected a text long enough to cut off its last tenth, for validation and test. "
                f"Received: {file.path}, of {file.size:,} bytes"
            )
    return {
        split: file.part(begin, end, f"{file.path} (its {split} part)")
        for split, (begin, end) in zip(_CUTS, bounds, strict=True)
    }


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
