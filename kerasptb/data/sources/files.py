"""The three text files of a corpus, in a folder or in an archive.

An archive is never extracted to names of its own: what is read of it lies in temporary files without a name, so no
name, link or mode in it can touch the disk.
"""

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
import struct
import tarfile
import tempfile
import weakref
import zipfile
from collections.abc import Callable, Collection, Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import IO, Any, cast

from kerasptb.data.errors import DataError
from kerasptb.data.sources.tar import is_tar, tar_members
from kerasptb.utils.files import DAMAGE

SPLITS = ("train", "valid", "test")

# File names, the published ones first.
PATTERNS = ("ptb.{}.txt", "{}.txt")

# Places inside a folder, the nearest first.
PLACES = ("", "data/", "simple-examples/data/")

# A guard against archives made to fill the disk. It is four times the size of WikiText-103, the largest text in common
# use for word-level models.
MAX_ARCHIVE_BYTES = 2 << 30

# What Python's readers of archives raise for damaged ones.
_DAMAGE = (*DAMAGE, tarfile.TarError, lzma.LZMAError, struct.error)

_CHUNK_BYTES = 1 << 22

# What opens a text that is compressed, by what its name ends in.
COMPRESSIONS: dict[str, Callable[..., Any]] = {".gz": gzip.open, ".xz": lzma.open, ".bz2": bz2.open}


@dataclasses.dataclass(frozen=True)
class SplitFile:
    """The file of a split."""

    path: str  # for messages
    size: int  # in bytes
    open: Callable[[], io.BufferedIOBase | io.RawIOBase]  # returns it open for reading bytes, from the beginning
    is_compressed: bool = False  # whether it is unpacked as it is read; `size` is then that of what is packed

    @classmethod
    def on_disk(cls, path: Path) -> "SplitFile":
        """Returns the file at a path, unpacked as it is read if its name says that it is compressed."""
        unpack = COMPRESSIONS.get(path.suffix.lower())
        return cls(str(path), path.stat().st_size, functools.partial(unpack or open, path, "rb"), unpack is not None)

    @classmethod
    def of_bytes(cls, content: bytes, path: str) -> "SplitFile":
        """Returns a file in memory."""
        return cls(path, len(content), functools.partial(io.BytesIO, content))

    def part(self, begin: int, end: int, path: str) -> "SplitFile":
        """Returns the file's bytes from one place to another, unpacked as they are read if `path` says so."""
        unpack, of_part = COMPRESSIONS.get(Path(path.lower()).suffix), functools.partial(_Part, self, begin, end)
        opens = of_part if unpack is None else functools.partial(_unpacking, unpack, of_part)
        return SplitFile(path, end - begin, opens, unpack is not None)

    @property
    def suffix(self) -> str:
        """What its name ends in, in small letters, without what says that it is compressed."""
        return _unpacked_name(self.path.lower()).suffix

    def head(self, size: int = 1 << 16) -> bytes:
        """Returns the first bytes."""
        with self.open() as file:
            return file.read(size) or b""

    def chunks(self) -> Iterator[bytes]:
        """Yields the content in pieces of some megabytes."""
        with self.open() as file:
            while piece := file.read(_CHUNK_BYTES):
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


def with_newlines(pieces: Iterable[str]) -> Iterator[str]:
    r"""Yields pieces of a text in which each end of a line is `\n`, not `\r\n` or `\r`."""
    decoder = io.IncrementalNewlineDecoder(None, translate=True)
    for piece in itertools.chain(pieces, [""]):
        yield decoder.decode(piece, final=not piece)


# Split name -> its file.
SplitFiles = dict[str, SplitFile]


def read_files(path: Path) -> SplitFiles:
    """Finds the three text files of a folder, or of a tar (of any compression) or zip file.

    They are `ptb.train.txt`, `ptb.valid.txt` and `ptb.test.txt`, or `train.txt`, `valid.txt` and `test.txt`; in a
    folder they may lie in `data` or `simple-examples/data`, in an archive in any folder.
    """
    if path.is_dir():
        selected = choose_names(candidates(path), str(path))
        return {split: SplitFile.on_disk(path / name) for split, name in selected.items()}
    if not path.exists():
        raise FileNotFoundError(f"Expected a folder or an archive. Received: {path}, which does not exist.")
    members = open_archive(path)
    if members is None:
        raise DataError(f"Expected a folder, a tar or a zip file. Received: {path}, which is none of them.")
    return {split: members[name] for split, name in choose_names(members, str(path)).items()}


def open_archive(path: Path) -> dict[str, SplitFile] | None:
    """Returns the files in a tar (of any compression) or zip file, by name; `None` for another file."""
    check_regular(path)
    with archive_errors(path):
        # tar is tried first: a tar that holds a zip can look like a zip, but a zip never looks like a tar.
        if (files := _read_tar(path)) is not None:
            return files
        return _read_zip(path) if zipfile.is_zipfile(path) else None


def check_regular(path: Path) -> Path:
    """Returns a path; raises a `DataError` for what is there but no file, such as a device, which may have no end."""
    if path.exists() and not path.is_file():
        raise DataError(f"Expected a file, not a folder, a pipe or a device. Received: {path}")
    return path


def check_no_binary(text: str, path: str | Path) -> None:
    """Raises a `DataError` for a piece of a file that no text has."""
    if "\0" in text:
        raise DataError(f"Expected a text. {path} is binary: it has a byte of 0.")


def read_utf8(path: Path, kind: str) -> str:
    """Returns the content of a file, of which `kind` says what it should be."""
    check_regular(path)
    try:
        return path.read_bytes().decode("utf-8")
    except UnicodeDecodeError as error:
        raise DataError(f"Expected a {kind} in UTF-8. {path} is not, from byte {error.start} on.") from None


def candidates(folder: Path) -> list[str]:
    """Returns the files in a folder that have the name of a text of a corpus."""
    texts = itertools.product(PLACES, PATTERNS, SPLITS, ("", *COMPRESSIONS))
    names = [f"{place}{pattern.format(split)}{packed}" for place, pattern, split, packed in texts]
    return [name for name in names if (folder / name).is_file()]


def choose_names(names: Collection[str], where: str) -> dict[str, str]:
    """Chooses the three files of a corpus, all in one folder, among the names of a folder or an archive."""
    # An archive may spell a name "./data/x": names are looked up as paths, and returned as they are spelt. Of a text
    # that is there twice, the one that is not compressed is read.
    found = {_unpacked_name(name): name for name in sorted(names, key=lambda name: not _is_compressed(name))}
    partial = []
    for pattern in PATTERNS:  # then folders called `data` come first, then those nearer the top
        wanted = {split: pattern.format(split) for split in SPLITS}
        folders = {path.parent for path in found if path.name in wanted.values()}
        for folder in sorted(folders, key=lambda folder: (folder.name not in ("", "data"), len(folder.parts), folder)):
            selected = {split: found[folder / name] for split, name in wanted.items() if folder / name in found}
            if len(selected) == len(wanted):
                return selected
            missing = [wanted[split] for split in SPLITS if split not in selected]
            partial.append(
                f"{' and '.join(missing)} missing in {where}{'' if folder == PurePosixPath() else f'/{folder}'}"
            )
    raise FileNotFoundError(
        "Expected ptb.train.txt, ptb.valid.txt and ptb.test.txt, or train.txt, valid.txt and test.txt. "
        f"Received: {partial[0] if partial else f'{where}, which holds none of them'}."
    )


@contextlib.contextmanager
def archive_errors(path: Path) -> Iterator[None]:
    """Turns the many errors of damaged, encrypted or exotic archives into one."""
    try:
        yield
    except _DAMAGE as error:
        # bz2 and gzip report damage as an OSError without a number; errors of the disk have one, and so has a place
        # before a file's beginning.
        number = getattr(error, "errno", None)
        if isinstance(error, DataError | FileNotFoundError) or number not in (None, errno.EINVAL):
            raise
        raise DataError(f"Expected a readable archive. {path} is not: {error}") from None


def is_corpus_name(name: str) -> bool:
    """Returns whether a file has the name of one of a corpus."""
    return _unpacked_name(name).name in {pattern.format(split) for pattern in PATTERNS for split in SPLITS}


def _is_compressed(name):
    return PurePosixPath(name.lower()).suffix in COMPRESSIONS


def _unpacked_name(name):
    """Returns the path of a text, without what says that it is compressed."""
    path = PurePosixPath(name)
    return path.with_suffix("") if _is_compressed(name) else path


def _is_inside(name):
    """Returns whether an archive's member lies inside the archive's own tree."""
    path = PurePosixPath(name)
    return not path.is_absolute() and ".." not in path.parts


def check_size(path: Path, num_bytes: int) -> None:
    """Raises a `DataError` if more bytes were unpacked from a file than `MAX_ARCHIVE_BYTES`."""
    if num_bytes > MAX_ARCHIVE_BYTES:
        raise DataError(
            f"{path} unpacks to {num_bytes:,} bytes or more, above the limit of {MAX_ARCHIVE_BYTES:,} for archives. "
            "Unpack it and name the folder."
        )


def _read_tar(path: Path) -> dict[str, SplitFile] | None:
    """Returns the files in a tar; `None` if it is none."""
    for open_file in (open, gzip.open, bz2.open, lzma.open):
        with open_file(path, "rb") as opened:
            file = cast(IO[bytes], opened)
            try:
                if not is_tar(file):
                    continue
            except _DAMAGE as error:
                if getattr(error, "errno", None) is not None:
                    raise
                continue  # of another compression
            return _files_of_tar(file, path)
    return None


def _files_of_tar(file: IO[bytes], path: Path) -> dict[str, SplitFile]:
    places: dict[str, tuple[int, int]] = {}
    total = 0
    with temporary_file() as copy:
        for member in tar_members(file):
            # Checked before the member is skipped, because skipping decompresses it.
            total += member.size
            check_size(path, total)
            # Only plain files: a link could name a file outside the archive. All of them are copied, so that a
            # compressed archive is unpacked once.
            if member.is_file and _is_inside(member.name):
                places[member.name] = _copy(file, member.size, copy, f"{path}/{member.name}")
        return _files_in(copy, places, path)


def _read_zip(path: Path) -> dict[str, SplitFile]:
    with zipfile.ZipFile(path) as archive, temporary_file() as copy:
        infos = (info for info in archive.infolist() if not info.is_dir() and _is_inside(info.filename))
        members = {info.filename: info for info in infos}
        if "[Content_Types].xml" in members or "mimetype" in members:
            raise DataError(f"Expected a text. {path} is a document of an office program: save it as a text, or HTML.")
        if any(map(is_corpus_name, members)):
            members = {name: members[name] for name in choose_names(members, str(path)).values()}
        # zipfile reads no more than the size stated in the archive's directory, so checking the stated sizes is enough.
        check_size(path, sum(info.file_size for info in members.values()))
        places = {}
        for name, info in members.items():
            with archive.open(info) as content:
                places[name] = _copy(content, info.file_size, copy, f"{path}/{name}")
        return _files_in(copy, places, path)


def _copy(content: IO[bytes], size: int, copy: IO[bytes], path: str) -> tuple[int, int]:
    """Copies the next bytes of an archive; returns where they begin and end in the copy."""
    begin = copy.tell()
    while missing := begin + size - copy.tell():
        piece = content.read(min(missing, 2**18))
        if not piece:
            raise EOFError(f"{path} ends after {copy.tell() - begin:,} of {size:,} bytes")
        copy.write(piece)
    return begin, begin + size


def _files_in(copy: IO[bytes], places: dict[str, tuple[int, int]], path: Path) -> dict[str, SplitFile]:
    """Returns the files that were copied from an archive to one without a name, by their names."""
    whole = file_of(copy, str(path))
    return {name: whole.part(*place, f"{path}/{name}") for name, place in places.items()}


@contextlib.contextmanager
def temporary_file() -> Iterator[IO[bytes]]:
    """Yields a file without a name, which is closed if the body fails; else it is the body's, see `file_of`."""
    with contextlib.ExitStack() as at_errors:
        yield at_errors.enter_context(tempfile.TemporaryFile())
        at_errors.pop_all()


def _unpacking(unpack, open_packed):
    return unpack(open_packed(), "rb")


class _Part(io.RawIOBase):
    """The bytes of a file from one place to another, open for reading."""

    def __init__(self, whole: SplitFile, begin: int, end: int):
        super().__init__()
        self._whole = whole  # what it is copied from may be removed with it
        self._file = whole.open()
        self._begin, self._place, self._end = begin, begin, end

    def readable(self):
        return True

    def seekable(self):
        return True

    def seek(self, offset, whence=os.SEEK_SET):
        place = offset + {os.SEEK_SET: self._begin, os.SEEK_CUR: self._place, os.SEEK_END: self._end}[whence]
        if place < self._begin:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        self._place = place
        return place - self._begin

    def readinto(self, buffer):
        self._file.seek(self._place)  # which another part may have moved
        piece = self._file.read(max(0, min(len(buffer), self._end - self._place)))
        buffer[: len(piece)] = piece
        self._place += len(piece)
        return len(piece)

    def close(self):
        self._file.close()
        super().close()


def file_of(copy: IO[bytes], path: str) -> SplitFile:
    """Returns what was written to a file without a name, which is closed when nobody holds what is returned."""
    size = copy.tell()
    copy.flush()

    def reopen():
        file = os.fdopen(os.dup(copy.fileno()), "rb", buffering=0)  # all share one place
        file.seek(0)
        return file

    file = SplitFile(path, size, reopen)
    weakref.finalize(file, copy.close)
    return file
