"""A single text file, cut into the three texts of a corpus."""

import functools
import io
import itertools
from pathlib import Path
from typing import BinaryIO

from kerasptb.data.errors import DataError
from kerasptb.data.files import SplitFile, SplitFiles

# Where training ends, and where validation ends, as parts of the file.
_CUTS = {"train": 0.9, "valid": 0.95, "test": 1.0}
_CHUNK_BYTES = 1 << 16


class _Part(io.RawIOBase):
    """The bytes of a file from one place to another, open for reading."""

    def __init__(self, path: Path, begin: int, end: int):
        super().__init__()
        self._file = path.open("rb")
        self._file.seek(begin)
        self._left = end - begin

    def readable(self):
        return True

    def readinto(self, buffer):
        piece = self._file.read(min(len(buffer), self._left))
        buffer[: len(piece)] = piece
        self._left -= len(piece)
        return len(piece)

    def close(self):
        self._file.close()
        super().close()


def split_file(path: Path) -> SplitFiles:
    """Cuts a text into the first 90 % for training, the next 5 for validation, the last 5 for the test.

    It is cut at the next end of a line or, in a text of too few lines, at the next space.

    Args:
        path: the file.

    Returns:
        Mapping from "train", "valid" and "test" to the part.

    Raises:
        DataError: if it is too short.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        for separator in (b"\n", b" "):
            ends = [_next(file, int(share * size), separator) if share < 1 else size for share in _CUTS.values()]
            bounds = list(itertools.pairwise([0, *ends]))
            if all(begin < end for begin, end in bounds):
                break
        else:
            raise DataError(
                "Expected a text long enough to cut off its last tenth, for validation and test. "
                f"Received: {path}, of {size:,} bytes"
            )
    return {
        split: SplitFile(f"{path} (its {split} part)", end - begin, functools.partial(_Part, path, begin, end))
        for split, (begin, end) in zip(_CUTS, bounds, strict=True)
    }


def _next(file: BinaryIO, place: int, separator: bytes) -> int:
    """Returns the place after the next separator, or the end of the file."""
    file.seek(place)
    while chunk := file.read(_CHUNK_BYTES):
        if (found := chunk.find(separator)) >= 0:
            return place + found + 1
        place += len(chunk)
    return place
