"""The places of the files in a tar.

Python's own reader is not used for other people's archives: before 3.11.10 and 3.12.6 a header of some kB takes it
minutes or gigabytes (CVE-2024-6232), and later ones read a header of any size whole. Here time and memory grow with a
header's size alone, which is limited.
"""

import tarfile
from collections.abc import Iterator
from typing import IO, NamedTuple

# Of all headers of an archive: 130,000 names, or fewer long ones.
MAX_HEADER_BYTES = 64 << 20

_BLOCK = 512
_EXTENDED = (tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE)
_OF_NEXT = (*_EXTENDED, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK)
_MAX_DIGITS = 20


class TarMember(NamedTuple):
    """A member of a tar."""

    name: str  # its path, as it is spelt
    offset: int  # the byte at which its content begins
    size: int  # in bytes
    is_file: bool  # no folder, link or device


def is_tar(file: IO[bytes]) -> bool:
    """Returns whether a file begins as a tar does, and goes back to its beginning."""
    block = file.read(_BLOCK)
    file.seek(0)
    try:
        tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except tarfile.HeaderError:
        return False  # or a tar of nothing, which any file of zeros is
    return True


def tar_members(file: IO[bytes]) -> Iterator[TarMember]:
    """Yields the members of an unpacked tar, each before its content is skipped; ValueError, EOFError for a bad one."""
    offset = num_header_bytes = 0
    name, records = None, {}  # what headers told of the next member
    while True:
        file.seek(offset)
        try:
            header = tarfile.TarInfo.frombuf(file.read(_BLOCK), "utf-8", "surrogateescape")
        except tarfile.HeaderError:
            return  # the end, or nothing that can be read
        offset += _BLOCK
        if (size := header.size) < 0:
            raise ValueError("a negative size")
        is_of_next = header.type in _OF_NEXT
        num_header_bytes += _BLOCK + (size if is_of_next else 0)
        if num_header_bytes > MAX_HEADER_BYTES:
            raise ValueError(
                f"headers of {num_header_bytes:,} bytes or more, above the limit of {MAX_HEADER_BYTES:,}. "
                "Unpack it and name the folder."
            )
        if is_of_next:
            content = _read(file, size)
            if header.type in _EXTENDED:
                records = _records(content)
            elif header.type == tarfile.GNUTYPE_LONGNAME:
                name = content.partition(b"\0")[0]
        else:
            if header.type == tarfile.GNUTYPE_SPARSE or any(key.startswith(b"GNU.sparse.") for key in records):
                raise ValueError("a sparse file is in it. Unpack it and name the folder.")
            size = int(records.get(b"size", size))
            if not header.isreg() and (header.isdir() or header.issym() or header.islnk() or header.isdev()):
                size = 0
            name = records.get(b"path", name)
            name = header.name if name is None else name.decode("utf-8", "surrogateescape")
            if size < 0:
                raise ValueError("a negative size")
            yield TarMember(name, offset, size, header.isreg())
            name, records = None, {}
        offset += -(-size // _BLOCK) * _BLOCK


def _read(file: IO[bytes], size: int) -> bytes:
    content = file.read(size)
    if len(content) < size:
        raise EOFError("its end is missing")
    return content


def _records(content: bytes) -> dict[bytes, bytes]:
    """Returns what an extended header holds; a record is its length, a keyword, a value, a newline."""
    records: dict[bytes, bytes] = {}
    start = 0
    while start < len(content) and content[start]:
        space = content.find(b" ", start, start + _MAX_DIGITS)
        length = content[start : max(space, start)]
        end = start + int(length) if length.isdigit() else 0
        keyword, equals, value = content[space + 1 : end].partition(b"=")
        if not (space < end <= len(content) and equals and value.endswith(b"\n")):
            raise ValueError("a malformed header")
        records[keyword] = value[:-1]
        start = end
    return records
