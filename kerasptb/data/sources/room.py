"""What may be unpacked of a source: archives, what is compressed in them or beside them, and books."""

from collections.abc import Iterable, Iterator

from kerasptb.data.errors import DataError

# A guard against files made to fill the disk. It is four times the size of WikiText-103, the largest text in common use
# for word-level models.
MAX_UNPACKED_BYTES = 2 << 30


class Room:
    """The room for all that is unpacked of a source, taken while it is."""

    def __init__(self) -> None:
        self._taken = 0

    def take(self, path: object, num_bytes: int) -> None:
        """Takes the room of bytes of a file; raises a `DataError` if a source has no more."""
        self._taken += num_bytes
        if self._taken > MAX_UNPACKED_BYTES:
            raise DataError(
                f"Expected texts that unpack to {MAX_UNPACKED_BYTES:,} bytes at most, all together. With {path} they "
                f"unpack to {self._taken:,} bytes or more: unpack them and name the folder."
            )

    def taken(self, path: object, pieces: Iterable[bytes]) -> Iterator[bytes]:
        """Yields pieces of a file, for each of which there is room."""
        for piece in pieces:
            self.take(path, len(piece))
            yield piece
