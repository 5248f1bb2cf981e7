"""What names a text: its files, and what is to be known to read them."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Self

from kerasptb.data.errors import DataError

STANDARD_INPUT = "-"
# Texts that have a name, and no path: see `published`.
PUBLISHED = ("auto", "ptb", "sample")


@dataclasses.dataclass(frozen=True)
class Source:
    """Files that hold a text, and how they are read.

    Attributes:
        paths: the files, folders and archives, strings; "-" is the standard input.
        encoding: the encoding of texts, as Python names it; `None` for what a byte order mark says, else UTF-8, else
            what is found.
        column: the column of a table, or the key of JSON lines, that holds the text.
        author: whose messages of a chat or mailbox are read; `None` for everybody's.

    Raises:
        DataError: no path is named, what is named is none, or the encoding is unknown.

    Example:
        >>> Source("reviews.csv", column="review").location
        '{"paths": ["reviews.csv"], "column": "review"}'
    """

    paths: tuple[str, ...]
    encoding: str | None = None
    column: str | None = None
    author: str | None = None

    def __init__(
        self,
        paths: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
        encoding: str | None = None,
        column: str | None = None,
        author: str | None = None,
    ) -> None:
        several = paths if isinstance(paths, Sequence) and not isinstance(paths, str | bytes) else (paths,)
        if wrong := [path for path in several if not isinstance(path, str | os.PathLike)]:
            raise DataError(f"Expected a path, or a sequence of them. Received: {wrong[0]!r}")
        values = {"encoding": encoding, "column": column, "author": author}
        for name, value in {"paths": tuple(os.fspath(path) for path in several), **values}.items():
            object.__setattr__(self, name, value)
        if not self.paths:
            raise DataError("Expected a text. Received: no path")
        try:
            "".encode(encoding or "utf-8")
        except LookupError:
            raise DataError(f"Expected an encoding that Python knows, such as cp1252. Received: {encoding}") from None

    @property
    def choices(self) -> dict[str, str]:
        """What is said of how it is read, by name."""
        values = dataclasses.asdict(self).items()
        return {name: value for name, value in values if name != "paths" and value is not None}

    @property
    def location(self) -> str:
        """One string that `of` takes: the paths alone, if nothing else is said and they can be told apart."""
        if self.choices or any(os.pathsep in path for path in self.paths):
            return json.dumps({"paths": self.paths, **self.choices}, ensure_ascii=False)
        return os.pathsep.join(self.paths)

    def check_there(self) -> None:
        """Raises a `FileNotFoundError` that names a path which does not exist."""
        for path in self.paths:
            if path != STANDARD_INPUT and not (path and exists(path)):  # "" would be the working directory
                raise FileNotFoundError(
                    "Expected 'auto', 'ptb', 'sample', a folder, an archive or texts. "
                    f"Received: {path!r}, which does not exist."
                )

    @classmethod
    def of(cls, data: TextSource) -> Source:
        """Returns the source that a user names, or of a `location`."""
        if isinstance(data, Source):
            return data
        if not isinstance(data, str | os.PathLike) or exists(data):
            return cls(data)
        named = os.fspath(data)
        if not named.startswith('{"paths"'):
            return cls(named.split(os.pathsep))
        try:
            return cls(**json.loads(named))
        except (ValueError, TypeError):
            raise DataError(f"Expected a path, or the location of a Source. Received: {named}") from None

    def absolute(self) -> Self:
        """Returns the source as it is named from any working directory."""
        return dataclasses.replace(self, paths=tuple(str(path_of(path).absolute()) for path in self.paths))


# What `load_corpus` takes, but a `Corpus`.
TextSource = str | os.PathLike[str] | Sequence[str | os.PathLike[str]] | Source


def path_of(named: str | os.PathLike[str]) -> Path:
    """Returns the path that a user names, who may begin with `~`."""
    return Path(os.path.expanduser(named))  # noqa: PTH111  (`Path.expanduser` raises for other names with `~`)


def exists(path: str | os.PathLike[str]) -> bool:
    """Returns whether a path is there; a text that is no path, of any length, is not."""
    return os.path.exists(path_of(path))  # noqa: PTH110  (`Path.exists` raises for long names)


def is_pipe(path: str) -> bool:
    """Returns whether what a path names can be read once."""
    return path == STANDARD_INPUT or path_of(path).is_fifo()


def is_there(location: str) -> bool:
    """Returns whether the files of a `Source.location` exist."""
    return all(map(exists, Source.of(location).paths))


def is_read_again(data: TextSource | None) -> bool:
    """Returns whether another process can read what `data` names: it has no pipe."""
    return data is None or not any(map(is_pipe, Source.of(data).paths))
