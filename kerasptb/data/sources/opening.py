"""Opens what a `Source` names: files of any kinds become three texts, unpacked, cut and in UTF-8, not yet encoded."""

import contextlib
import dataclasses
import functools
import hashlib
import itertools
import logging
import operator
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from kerasptb.data.errors import DataError, UnreadError, shortened
from kerasptb.data.paragraphs import is_wrapped, pieces_of
from kerasptb.data.sources.archives import archive_errors, members_of
from kerasptb.data.sources.download import PTB_SHA256
from kerasptb.data.sources.encodings import is_utf8
from kerasptb.data.sources.formats import check_column, format_of, has_messages, plain
from kerasptb.data.sources.room import Room
from kerasptb.data.sources.source import PUBLISHED, STANDARD_INPUT, Source, is_pipe, is_read_again, path_of
from kerasptb.data.sources.splits import choose_names, cut_text, is_corpus_name, is_near_top
from kerasptb.data.sources.text_file import TextFile, temporary_file
from kerasptb.data.tokenizers.tokenizer import UNK
from kerasptb.utils.types import Tokens

logger = logging.getLogger(__name__)

# A text is judged by so many bytes, and has a word for unknown ones if that stands once in so many.
_JUDGED, _UNKNOWN_IN = 1 << 24, 10_000

_LARGEST_OF_PTB = 10_000_000  # bytes; the training text has 5 MB
_SHOWN = 10  # names of files that were left out
_LONGEST_NAME = 100  # characters of one


@dataclasses.dataclass(frozen=True)
class OpenedText:
    """Three texts, opened and unpacked, not yet encoded."""

    files: dict[str, TextFile]  # by "train", "valid" and "test"
    name: str  # "ptb" for the published files, "sample", or that of the folder or archive
    source: str  # where the texts came from, for people to read
    location: str | None  # what `open_text` takes to read them again, from any working directory; None for a pipe
    paths: tuple[Path, ...] = ()  # the files that were read; none for the sample
    is_sample: bool = False
    whole: TextFile | None = None  # the text before it was cut, if that was within a paragraph

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


def open_source(source: Source) -> OpenedText:
    """Opens the three texts of a folder or an archive, or those cut of all that is in what a source names."""
    source.check_there()
    room = Room()
    members = [None if is_pipe(path) else members_of(path_of(path), room) for path in source.paths]
    if len(members) == 1 and members[0]:
        path, names = path_of(source.paths[0]), filter(is_corpus_name, members[0])
        if named := list(filter(is_near_top, names) if path.is_dir() else names):
            return _open_splits(source, members[0], choose_names(named, str(path)))
    several = zip(source.paths, members, strict=True)
    files = [[_file_at(path, room)] if found is None else found.values() for path, found in several]
    return _open_texts(source, list(itertools.chain.from_iterable(files)))


def _file_at(path: str, room: Room) -> TextFile:
    """Returns the file that a path names; what a pipe holds is copied."""
    if not is_pipe(path):
        return TextFile.on_disk(path_of(path), room)
    is_input = path == STANDARD_INPUT
    if is_input and sys.stdin is None:
        raise OSError("Standard input is closed.")
    opened = contextlib.nullcontext(sys.stdin.buffer) if is_input else path_of(path).open("rb")
    with temporary_file() as copy, opened as pipe:
        shutil.copyfileobj(pipe, copy)
        return TextFile.of_copy(copy, "the standard input" if is_input else path, room)


def _open_splits(source: Source, members: dict[str, TextFile], names: dict[str, str]) -> OpenedText:
    files = {split: _unpacked(members[name]) for split, name in names.items()}
    is_ptb = all(_is_published(split, file) for split, file in files.items())
    if source.choices or not is_ptb:
        files = {split: _read([file], source) for split, file in files.items()}
    path = path_of(source.paths[0])
    paths = tuple(path / name for name in names.values()) if path.is_dir() else (path,)
    return OpenedText(files, "ptb" if is_ptb else _own_name(path), str(path), source.absolute().location, paths)


def _is_published(split: str, file: TextFile) -> bool:
    if file.size > _LARGEST_OF_PTB:
        return False
    with file.open() as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest() == PTB_SHA256[f"ptb.{split}.txt"]


def _open_texts(source: Source, files: list[TextFile]) -> OpenedText:
    if not files:
        raise FileNotFoundError(f"Expected a text. Received: {source.paths[0]}, which holds none.")
    text = _read(files, source)
    splits, at_ends = cut_text(text)
    location = source.absolute().location if is_read_again(source) else None
    paths = sorted({path for file in files if (path := _on_disk(file))})
    told = f"{text.path}, of which the last tenth is half validation, half test"
    whole = None if at_ends else text
    return OpenedText(splits, _name_of(source, files), told, location, tuple(paths), whole=whole)


def _name_of(source: Source, files: list[TextFile]) -> str:
    if any(map(has_messages, files)):
        return "messages"
    return f"{len(source.paths)} texts" if len(source.paths) > 1 else _own_name(path_of(source.paths[0]))


def _own_name(path: Path) -> str:
    """Returns the name of a folder or file; "auto", "ptb" and "sample" mean other texts."""
    name = path.resolve().name
    return f"own-{name}" if name in PUBLISHED else name


def _on_disk(file: TextFile) -> Path | None:
    """Returns the path of a file, or of the archive that it is in; `None` for a pipe."""
    path = Path(file.path)
    return next((each for each in (path, *path.parents) if os.path.isfile(each)), None)  # noqa: PTH113  (`Path.is_file` raises for long names)


def _read(files: Sequence[TextFile], source: Source) -> TextFile:
    """Returns texts one after the other, an empty line between; a single one as it is, if it is plain, and in UTF-8."""
    check_column(files, source)
    if len(files) == 1:
        files = [_unpacked(files[0])]
        with archive_errors(files[0].path):
            if format_of(files[0], source) is plain and is_utf8(files[0], source.encoding):
                return files[0]
    return _joined(files, source)


def _unpacked(file: TextFile) -> TextFile:
    with archive_errors(file.path):
        return file.unpacked()


def _joined(files: Sequence[TextFile], source: Source) -> TextFile:
    read, left_out, named = [], [], {str(path_of(path)) for path in source.paths}
    with temporary_file() as joined:
        for file in files:
            begin = joined.tell()
            try:
                with archive_errors(file.path):
                    _write(file, source, joined)
                read.append(file.path)
            except UnreadError as error:
                if file.path in named or len(files) == 1:
                    raise
                joined.seek(begin)
                joined.truncate()
                left_out.append((error.reason, shortened(Path(file.path).name, _LONGEST_NAME)))
        if not read:
            raise DataError(f"Expected a text. Received: {len(files)} files without one: {_described(left_out)}.")
        name = read[0] if len(read) == 1 else f"{len(read)} texts from {read[0]} to {read[-1]}"
        if left_out:
            logger.warning("Left out: %s.", _described(left_out))
            name = f"{name} ({len(left_out)} left out)"
        return TextFile.of_copy(joined, name)


def _write(file: TextFile, source: Source, joined: IO[bytes]) -> None:
    separator = b"\n\n" if joined.tell() else b""
    file = _unpacked(file)
    for piece in format_of(file, source).texts(file, source):
        joined.write(separator + piece.encode(errors="replace"))
        separator = b""


def _described(left_out: list[tuple[str, str]]) -> str:
    """Returns the names of files that were left out, the first ones, by the reason."""
    groups = itertools.groupby(sorted(left_out[:_SHOWN]), operator.itemgetter(0))
    told = [f"{', '.join(name for _, name in group)} ({reason})" for reason, group in groups]
    return "; ".join([*told, *([f"and {len(left_out) - _SHOWN} more"] if len(left_out) > _SHOWN else [])])
