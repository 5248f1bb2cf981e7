"""A file with a text, wherever it lies: on the disk, in memory, in an unpacked archive, or a part of another."""

from __future__ import annotations

import bz2
import codecs
import contextlib
import dataclasses
import errno
import functools
import gzip
import io
import itertools
import lzma
import os
import tempfile
import weakref
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import IO, Any

from kerasptb.data.errors import DataError
from kerasptb.data.sources.room import Room
from kerasptb.utils.status_line import at_work

# What opens a text that is compressed, by what its name ends in.
COMPRESSIONS: dict[str, Callable[..., Any]] = {".gz": gzip.open, ".xz": lzma.open, ".bz2": bz2.open}

_CHUNK_BYTES = 1 << 22


@dataclasses.dataclass(frozen=True)
class TextFile:
    """A file with a text."""

    path: str  # for messages
    size: int  # in bytes
    open: Callable[[], io.BufferedIOBase | io.RawIOBase]  # returns it open for reading bytes, from the beginning
    is_compressed: bool = False  # whether it is unpacked as it is read; `size` is then that of what is packed
    room: Room = dataclasses.field(default_factory=Room, compare=False)  # for what is unpacked of its source

    @classmethod
    def on_disk(cls, path: Path, room: Room | None = None) -> TextFile:
        """Returns the file at a path, unpacked as it is read if its name says that it is compressed."""
        unpack = _unpacker(path)
        opened = functools.partial(unpack or open, path, "rb")
        return cls(str(path), path.stat().st_size, opened, unpack is not None, room or Room())

    @classmethod
    def of_bytes(cls, content: bytes, path: str) -> TextFile:
        """Returns a file in memory."""
        return cls(path, len(content), functools.partial(io.BytesIO, content))

    @classmethod
    def of_copy(cls, copy: IO[bytes], path: str, room: Room | None = None) -> TextFile:
        """Returns what was written to a `temporary_file`, which is closed when nobody holds what is returned."""
        copy.flush()

        def reopen() -> io.RawIOBase:
            file = os.fdopen(os.dup(copy.fileno()), "rb", buffering=0)  # all share one place
            file.seek(0)
            return file

        file = cls(path, copy.tell(), reopen, room=room or Room())
        weakref.finalize(file, copy.close)
        return file

    def part(self, begin: int, end: int, path: str) -> TextFile:
        """Returns the file's bytes from one place to another, unpacked as they are read if `path` says so."""
        unpack, of_part = _unpacker(PurePosixPath(path)), functools.partial(_Part, self, begin, end)
        opened = of_part if unpack is None else lambda: unpack(of_part())
        return TextFile(path, end - begin, opened, unpack is not None, self.room)

    def unpacked(self) -> TextFile:
        """Returns the file, of which what is compressed is unpacked to one without a name, to be read again."""
        if not self.is_compressed:
            return self
        with temporary_file() as copy:
            copy.writelines(self.room.taken(self.path, self.chunks()))
            return TextFile.of_copy(copy, self.path, self.room)

    @property
    def suffix(self) -> str:
        """What its name ends in, in small letters, without what says that it is compressed."""
        return unpacked_name(self.path.lower()).suffix

    def head(self, size: int = 1 << 16) -> bytes:
        """Returns the first bytes."""
        with self.open() as file:
            return file.read(size) or b""

    def chunks(self) -> Iterator[bytes]:
        """Yields the content in pieces of some megabytes."""
        done = 0
        with self.open() as file, at_work(f"Reading {self.path}") as stage:
            while piece := file.read(_CHUNK_BYTES):
                done += len(piece)
                stage.tell(done, None if self.is_compressed else self.size)
                yield piece

    def text(self, encoding: str = "utf-8") -> Iterator[str]:
        """Yields the text in pieces of some megabytes, without a byte order mark; a DataError if it is no such text."""
        decoder = codecs.getincrementaldecoder(encoding)()
        num_bytes, num_lines = 0, 0
        for piece in itertools.chain(self.chunks(), [b""]):
            undecoded = len(decoder.getstate()[0])
            try:
                text = decoder.decode(piece, final=not piece)
            except UnicodeError as error:
                why = str(error)  # UTF-16 without a mark has no place
                if isinstance(error, UnicodeDecodeError):
                    place = num_bytes - undecoded + error.start
                    line = num_lines + error.object.count(b"\n", 0, error.start) + 1
                    why = f"byte {place} (line {line}) is 0x{error.object[error.start]:02x}"
                raise DataError(
                    f"Expected a text in {encoding.upper()}. {self.path} is not: {why}. Convert the file to UTF-8, or "
                    "name its --encoding."
                ) from None
            if text:
                yield text if num_bytes else text.removeprefix("\ufeff")
            num_bytes += len(piece)
            num_lines += piece.count(b"\n")


def _unpacker(path: Path | PurePosixPath) -> Callable[..., Any] | None:
    return COMPRESSIONS.get(path.suffix.lower())


def unpacked_name(name: str) -> PurePosixPath:
    """Returns the path of a text, without what says that it is compressed."""
    path = PurePosixPath(name)
    return path.with_suffix("") if _unpacker(path) else path


@contextlib.contextmanager
def temporary_file() -> Iterator[IO[bytes]]:
    """Yields a file without a name, which is closed if the body fails; else it is the body's, for `of_copy`."""
    with contextlib.ExitStack() as at_errors:
        yield at_errors.enter_context(tempfile.TemporaryFile())
        at_errors.pop_all()


class _Part(io.RawIOBase):
    """The bytes of a file from one place to another, open for reading."""

    def __init__(self, whole: TextFile, begin: int, end: int) -> None:
        super().__init__()
        self._file = whole.open()
        self._begin, self._place, self._end = begin, begin, end

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        place = offset + {os.SEEK_SET: self._begin, os.SEEK_CUR: self._place, os.SEEK_END: self._end}[whence]
        if place < self._begin:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        self._place = place
        return place - self._begin

    def readinto(self, buffer: Any) -> int:
        self._file.seek(self._place)  # which another part may have moved
        piece = self._file.read(max(0, min(len(buffer), self._end - self._place))) or b""
        buffer[: len(piece)] = piece
        self._place += len(piece)
        return len(piece)

    def close(self) -> None:
        self._file.close()
        super().close()


def with_newlines(pieces: Iterable[str]) -> Iterator[str]:
    r"""Yields pieces of a text in which each end of a line is `\n`, not `\r\n` or `\r`."""
    decoder = io.IncrementalNewlineDecoder(None, translate=True)
    for piece in itertools.chain(pieces, [""]):
        yield decoder.decode(piece, final=not piece)


def check_no_binary(text: str, path: str | Path) -> None:
    """Raises a `DataError` for a piece of a file that no text has."""
    if "\0" in text:
        raise DataError(f"Expected a text. {path} is binary: it has a byte of 0.")


def check_regular(path: Path) -> Path:
    """Returns a path; raises a `DataError` for what is there but no file, such as a device, which may have no end."""
    if path.exists() and not path.is_file():
        raise DataError(f"Expected a file, not a folder, a pipe or a device. Received: {path}")
    return path


def read_utf8(path: Path, kind: str) -> str:
    """Returns the content of a file, of which `kind` says what it should be."""
    try:
        return check_regular(path).read_bytes().decode("utf-8")
    except UnicodeDecodeError as error:
        raise DataError(f"Expected a {kind} in UTF-8. {path} is not, from byte {error.start} on.") from None
