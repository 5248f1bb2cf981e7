"""The files in an archive, and in a folder.

An archive is never extracted to names of its own: what is read of it lies in temporary files without a name, so no
name, link or mode in it can touch the disk.
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
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO, cast

from kerasptb.data.errors import DataError
from kerasptb.data.sources.splits import choose_names, is_corpus_name
from kerasptb.data.sources.tar import is_tar, tar_members
from kerasptb.data.sources.text_file import TextFile, check_regular, temporary_file
from kerasptb.utils.files import DAMAGE

# A guard against archives made to fill the disk. It is four times the size of WikiText-103, the largest text in common
# use for word-level models.
MAX_ARCHIVE_BYTES = 2 << 30

# The member of a zip that makes it an EPUB, one text.
EPUB_CONTAINER = "META-INF/container.xml"

# What Python's readers of archives raise for damaged ones.
_DAMAGE = (*DAMAGE, tarfile.TarError, lzma.LZMAError, struct.error)


def members_of(path: Path) -> dict[str, TextFile] | None:
    """Returns the files in a folder or an archive, by sorted names, no hidden ones; `None` for another file."""
    found = _files_below(path) if path.is_dir() else open_archive(path)
    if found is None:
        return None
    return {name: found[name] for name in sorted(found) if not any(map(_is_hidden, PurePosixPath(name).parts))}


def _files_below(path: Path) -> dict[str, TextFile]:
    """Returns the files in a folder and those below, also where a link leads; raises for one that cannot be read."""
    found, seen = {}, {path.resolve()}  # a link may lead to a folder above it
    for place, folders, names in os.walk(path, onerror=_raise, followlinks=True):
        below = {Path(place, name).resolve(): name for name in sorted(folders) if not _is_hidden(name)}
        folders[:] = [name for target, name in below.items() if target not in seen]
        seen.update(below)
        files = (Path(place, name) for name in names)
        found.update({str(file.relative_to(path)): TextFile.on_disk(file) for file in files if file.is_file()})
    return found


def _raise(error: OSError) -> None:
    raise error


def _is_hidden(part: str) -> bool:
    return part.startswith((".", "__MACOSX"))


def open_archive(path: Path) -> dict[str, TextFile] | None:
    """Returns the files in a tar (of any compression) or zip file, by name; `None` for another file, or an EPUB."""
    with archive_errors(check_regular(path)):
        # tar is tried first: a tar that holds a zip can look like a zip, but a zip never looks like a tar.
        if (files := _read_tar(path)) is not None:
            return files
        return _read_zip(path) if zipfile.is_zipfile(path) else None


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


def check_size(path: str | Path, num_bytes: int) -> None:
    """Raises a `DataError` if more bytes were unpacked from a file than `MAX_ARCHIVE_BYTES`."""
    if num_bytes > MAX_ARCHIVE_BYTES:
        raise DataError(
            f"{path} unpacks to {num_bytes:,} bytes or more, above the limit of {MAX_ARCHIVE_BYTES:,} for archives. "
            "Unpack it and name the folder."
        )


def _read_tar(path: Path) -> dict[str, TextFile] | None:
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


def _files_of_tar(file: IO[bytes], path: Path) -> dict[str, TextFile]:
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


def _read_zip(path: Path) -> dict[str, TextFile] | None:
    with zipfile.ZipFile(path) as archive:
        infos = (info for info in archive.infolist() if not info.is_dir() and _is_inside(info.filename))
        members = {info.filename: info for info in infos}
        if EPUB_CONTAINER in members:
            return None
        if "[Content_Types].xml" in members or "mimetype" in members:
            raise DataError(f"Expected a text. {path} is a document of an office program: save it as a text, or HTML.")
        if any(map(is_corpus_name, members)):
            members = {name: members[name] for name in choose_names(members, str(path)).values()}
        # zipfile reads no more than the size stated in the archive's directory, so checking the stated sizes is enough.
        check_size(path, sum(info.file_size for info in members.values()))
        places = {}
        with temporary_file() as copy:
            for name, info in members.items():
                with archive.open(info) as content:
                    places[name] = _copy(content, info.file_size, copy, f"{path}/{name}")
            return _files_in(copy, places, path)


def _is_inside(name: str) -> bool:
    """Returns whether an archive's member lies inside the archive's own tree."""
    path = PurePosixPath(name)
    return not path.is_absolute() and ".." not in path.parts


def _copy(content: IO[bytes], size: int, copy: IO[bytes], path: str) -> tuple[int, int]:
    """Copies the next bytes of an archive; returns where they begin and end in the copy."""
    begin = copy.tell()
    while missing := begin + size - copy.tell():
        piece = content.read(min(missing, 2**18))
        if not piece:
            raise EOFError(f"{path} ends after {copy.tell() - begin:,} of {size:,} bytes")
        copy.write(piece)
    return begin, begin + size


def _files_in(copy: IO[bytes], places: dict[str, tuple[int, int]], path: Path) -> dict[str, TextFile]:
    """Returns the files that were copied from an archive to one without a name, by their names."""
    whole = TextFile.of_copy(copy, str(path))
    return {name: whole.part(*place, f"{path}/{name}") for name, place in places.items()}
