"""Texts as people have them, of one file or several, cut into the three texts of a corpus."""

import contextlib
import io
import itertools
import logging
import operator
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from kerasptb.data.errors import DataError, UnreadError
from kerasptb.data.sources.encodings import is_utf8
from kerasptb.data.sources.files import (
    SplitFile,
    SplitFiles,
    archive_errors,
    check_regular,
    check_size,
    file_of,
    open_archive,
    temporary_file,
)
from kerasptb.data.sources.formats import check_column, epub, format_of, plain, texts_of
from kerasptb.data.sources.source import STANDARD_INPUT, Source, path_of

logger = logging.getLogger(__name__)

# Where training ends, and where validation ends, as parts of the text.
_CUTS = {"train": 0.9, "valid": 0.95, "test": 1.0}
# What a text is cut after: an empty line, a line's end, a space or a full stop of a script without spaces.
_SEPARATORS = (b"\n\n", b"\r\n\r\n", b"\n", b" ", "\u3002".encode())
_MOST_UNEVEN = 1.5  # a part is so many times as long as was asked, or as short
_CHUNK_BYTES = 1 << 16
_SHOWN = 10  # names of files that were left out


def is_pipe(path: str) -> bool:
    """Returns whether what a path names can be read once."""
    return path == STANDARD_INPUT or path_of(path).is_fifo()


def members_at(path: str) -> dict[str, SplitFile] | None:
    """Returns the files in a folder or an archive, by name, no hidden ones; `None` if a path names a file or a pipe."""
    found = None if is_pipe(path) else _members(path_of(path))
    if found is None:
        return None
    return {name: found[name] for name in sorted(found) if not any(map(_is_hidden, Path(name).parts))}


def _members(path):
    if path.is_dir():
        return {str(each.relative_to(path)): SplitFile.on_disk(each) for each in _files_below(path)}
    with archive_errors(check_regular(path)):
        return None if epub.recognises(SplitFile.on_disk(path)) else open_archive(path)


def _files_below(folder):
    """Yields the files in a folder and those below, also where a link leads; raises for one that cannot be read."""
    seen = {folder.resolve()}  # a link may lead to a folder above it
    for place, folders, names in os.walk(folder, onerror=_raise, followlinks=True):
        below = {Path(place, name).resolve(): name for name in sorted(folders) if not _is_hidden(name)}
        folders[:] = [name for target, name in below.items() if target not in seen]
        seen.update(below)
        yield from (path for name in names if (path := Path(place, name)).is_file())


def _raise(error):
    raise error


def file_at(path: str) -> SplitFile:
    """Returns the file that a path names; what a pipe holds is copied."""
    return _read_pipe(path) if is_pipe(path) else SplitFile.on_disk(path_of(path))


def _is_hidden(part):
    return part.startswith((".", "__MACOSX"))


def _read_pipe(path):
    is_input = path == STANDARD_INPUT
    if is_input and sys.stdin is None:
        raise OSError("Standard input is closed.")
    opened = contextlib.nullcontext(sys.stdin.buffer) if is_input else path_of(path).open("rb")
    with temporary_file() as copy, opened as pipe:
        shutil.copyfileobj(pipe, copy)
        return file_of(copy, "the standard input" if is_input else path)


def read_text(files: Sequence[SplitFile], source: Source, name: str) -> SplitFile:
    """Returns texts one after the other, an empty line between; a single one as it is, if it is plain, and in UTF-8."""
    check_column(files, source)
    if len(files) > 1:
        return _joined(files, source, name)
    with archive_errors(Path(files[0].path)):
        file = _unpacked(files[0])
        is_plain = format_of(file, source) is plain and is_utf8(file, source.encoding)
    return file if is_plain else _joined([file], source, name)


def read_texts(files: Sequence[SplitFile], source: Source, name: str) -> SplitFiles:
    """Cuts texts, one after the other, into the first 90 % for training, the next 5 for validation, and the test.

    They are cut at the next end of a paragraph: an empty line. If there are too few of them for parts of about these
    lengths, at the next end of a line, else at the next space, or full stop of a script without spaces; if all of these
    are too few, where the parts come nearest, with a warning.
    """
    return split_file(read_text(files, source, name))


def _unpacked(file):
    """Returns a file that can be read twice at little cost: what is compressed is unpacked to one without a name."""
    if not file.is_compressed:
        return file
    with temporary_file() as copy:
        for piece in file.chunks():
            check_size(Path(file.path), copy.tell() + len(piece))
            copy.write(piece)
        return file_of(copy, file.path)


def _joined(files, source, name):
    left_out, named = [], {str(path_of(path)) for path in source.paths}
    with temporary_file() as joined:
        for file in files:
            begin = joined.tell()
            try:
                with archive_errors(Path(file.path)):
                    _write(file, source, joined)
            except UnreadError as error:
                if file.path in named or len(files) == 1:
                    raise
                joined.seek(begin)
                joined.truncate()
                left_out.append((error.reason, Path(file.path).name))
        if left_out:
            logger.warning("Left out: %s.", _described(left_out))
        return file_of(joined, name)


def _described(left_out):
    """Returns the names of files that were left out, the first ones, by the reason."""
    groups = itertools.groupby(sorted(left_out[:_SHOWN]), operator.itemgetter(0))
    told = [f"{', '.join(name for _, name in group)} ({reason})" for reason, group in groups]
    return "; ".join([*told, *([f"and {len(left_out) - _SHOWN} more"] if len(left_out) > _SHOWN else [])])


def _write(file, source, joined):
    separator = b"\n\n" if joined.tell() else b""
    for piece in texts_of(_unpacked(file), source):
        joined.write(separator + piece.encode(errors="replace"))
        separator = b""


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
