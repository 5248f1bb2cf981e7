"""The files in an archive, and in a folder.

An archive is never extracted to names of its own: what is read of it lies in temporary files without a name, so no
name, link or mode in it can touch the disk. What is unpacked is counted while it is.
"""

import bz2
import contextlib
import errno
import gzip
import lzma
import os
import struct
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import IO, Any, cast

from kerasptb.data.errors import DataError
from kerasptb.data.sources.room import Room
from kerasptb.data.sources.splits import choose_names, is_corpus_name
from kerasptb.data.sources.tar import is_tar, tar_members
from kerasptb.data.sources.text_file import TextFile, check_regular, temporary_file
from kerasptb.utils.files import DAMAGE

# The members of a zip that make it an EPUB, or a document of an office program: one text.
EPUB_CONTAINER = "META-INF/container.xml"
OFFICE_MEMBERS = frozenset(["[Content_Types].xml", "mimetype"])

_MEMBER = b"PK\x03\x04"  # what begins one of a zip
_PIECE_BYTES = 1 << 18

# What opens a tar, by how its file begins. Python's reader of xz also takes an older kind, that anything may begin as.
_TARS: dict[bytes, Callable[..., Any]] = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ\0": lzma.open, b"": open}

# What Python's readers of archives raise for damaged ones.
_DAMAGE = (*DAMAGE, tarfile.TarError, lzma.LZMAError, struct.error)


def members_of(path: Path, room: Room) -> dict[str, TextFile] | None:
    """Returns the files in a folder or an archive, by sorted names, no hidden ones; `None` for another file."""
    found = _files_below(path, room) if path.is_dir() else open_archive(path, room)
    if found is None:
        return None
    return {name: found[name] for name in sorted(found) if not any(map(_is_hidden, PurePosixPath(name).parts))}


def _files_below(path: Path, room: Room) -> dict[str, TextFile]:
    """Returns the files in a folder and those below, also where a link leads; raises for one that cannot be read.

    A run's folder below, with its settings and its vocabulary, is no text: a training among the texts may write one.
    """
    found, seen = {}, {path.resolve()}  # a link may lead to a folder above it
    for place, folders, names in os.walk(path, onerror=_raise, followlinks=True):
        below = {Path(place, name).resolve(): name for name in sorted(folders) if not _is_hidden(name)}
        folders[:] = [name for target, name in below.items() if target not in seen]
        seen.update(below)
        if place != str(path) and "config.json" in names and not {"vocabulary.txt", "tokenizer.json"}.isdisjoint(names):
            folders.clear()
            continue
        files = (Path(place, name) for name in names)
        found.update({str(file.relative_to(path)): TextFile.on_disk(file, room) for file in files if file.is_file()})
    return found


def _raise(error: OSError) -> None:
    raise error


def _is_hidden(part: str) -> bool:
    return part.startswith((".", "__MACOSX", "__pycache__"))


def open_archive(path: Path, room: Room) -> dict[str, TextFile] | None:
    """Returns the files in a tar (of any compression) or zip file, by name; `None` for another file, or a document."""
    with archive_errors(check_regular(path)):
        # tar is tried first: a tar that holds a zip can look like a zip, but a zip never looks like a tar.
        if (files := _read_tar(path, room)) is not None:
            return files
        return _read_zip(path, room) if zipfile.is_zipfile(path) else None


@contextlib.contextmanager
def archive_errors(path: str | Path) -> Iterator[None]:
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


class Zip(zipfile.ZipFile):
    """A zip of which what is unpacked takes room."""

    def __init__(self, opened: IO[bytes], file: TextFile) -> None:
        super().__init__(opened)
        self._file = file
        # The end of a zip that was cut off may be that of one which is stored in it, and which would be read for it.
        begins = min((info.header_offset for info in self.infolist()), default=0)
        if begins and file.head(len(_MEMBER)) == _MEMBER:
            raise zipfile.BadZipFile("its end is missing")

    def pieces(self, member: str | zipfile.ZipInfo) -> Iterator[bytes]:
        """Yields the content of a member; BadZipFile if it ends early."""
        info = member if isinstance(member, zipfile.ZipInfo) else self.getinfo(member)
        path, missing = f"{self._file.path}/{info.filename}", info.file_size
        with self.open(info) as content:
            while piece := content.read(_PIECE_BYTES):
                self._file.room.take(path, len(piece))
                missing -= len(piece)
                yield piece
        if missing:
            raise zipfile.BadZipFile(f"{path} ends {missing:,} bytes too early")

    def content(self, member: str) -> bytes:
        """Returns the content of a member, as `pieces` raises."""
        return b"".join(self.pieces(member))


@contextlib.contextmanager
def open_zip(file: TextFile) -> Iterator[Zip]:
    """Yields the zip that a file is; BadZipFile for one that is none, or not whole."""
    with file.open() as opened, Zip(cast(IO[bytes], opened), file) as archive:
        yield archive


def _read_tar(path: Path, room: Room) -> dict[str, TextFile] | None:
    """Returns the files in a tar; `None` if it is none."""
    with path.open("rb") as plain:
        head = plain.read(max(map(len, _TARS)))
    open_file = next(opens for begin, opens in _TARS.items() if head.startswith(begin))
    with open_file(path, "rb") as opened:
        file = cast(IO[bytes], opened)
        try:
            if not is_tar(file):
                return None
        except _DAMAGE as error:
            if getattr(error, "errno", None) is not None:
                raise
            return None  # of no compression, though it begins so
        return _files_of_tar(file, path, room)


def _files_of_tar(file: IO[bytes], path: Path, room: Room) -> dict[str, TextFile]:
    places: dict[str, tuple[int, int]] = {}
    with temporary_file() as copy:
        for member in tar_members(file):
            # Before the member is skipped, because skipping decompresses it.
            room.take(f"{path}/{member.name}", member.size)
            # Only plain files: a link could name a file outside the archive. All of them are copied, so that a
            # compressed archive is unpacked once.
            if member.is_file and _is_inside(member.name):
                places[member.name] = _copy(file, member.size, copy, f"{path}/{member.name}")
        return _files_in(copy, places, path, room)


def _read_zip(path: Path, room: Room) -> dict[str, TextFile] | None:
    # Whatever its name ends in.
    file = TextFile(str(path), path.stat().st_size, lambda: path.open("rb"), room=room)
    with open_zip(file) as archive:
        infos = (info for info in archive.infolist() if not info.is_dir() and _is_inside(info.filename))
        members = {info.filename: info for info in infos}
        if EPUB_CONTAINER in members or not OFFICE_MEMBERS.isdisjoint(members):
            return None
        if any(map(is_corpus_name, members)):
            members = {name: members[name] for name in choose_names(members, str(path)).values()}
        places = {}
        with temporary_file() as copy:
            for name, info in members.items():
                begin = copy.tell()
                copy.writelines(archive.pieces(info))
                places[name] = begin, copy.tell()
            return _files_in(copy, places, path, room)


def _is_inside(name: str) -> bool:
    """Returns whether an archive's member lies inside the archive's own tree."""
    path = PurePosixPath(name)
    return not path.is_absolute() and ".." not in path.parts


def _copy(content: IO[bytes], size: int, copy: IO[bytes], path: str) -> tuple[int, int]:
    """Copies the next bytes of an archive; returns where they begin and end in the copy."""
    begin = copy.tell()
    while missing := begin + size - copy.tell():
        piece = content.read(min(missing, _PIECE_BYTES))
        if not piece:
            raise EOFError(f"{path} ends after {copy.tell() - begin:,} of {size:,} bytes")
        copy.write(piece)
    return begin, begin + size


def _files_in(copy: IO[bytes], places: dict[str, tuple[int, int]], path: Path, room: Room) -> dict[str, TextFile]:
    """Returns the files that were copied from an archive to one without a name, by their names."""
    whole = TextFile.of_copy(copy, str(path), room)
    return {name: whole.part(*place, f"{path}/{name}") for name, place in places.items()}
