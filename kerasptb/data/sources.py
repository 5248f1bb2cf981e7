"""Where text comes from: a folder, an archive, a checked download, the built-in sample."""

import dataclasses
import os
from pathlib import Path

from kerasptb.data.errors import DataError

SPLITS = ("train", "valid", "test")


@dataclasses.dataclass(frozen=True)
class TextFile:
    """A text and the place it was read from.

    Attributes:
        text: The text.
        path: Its place, for messages.
    """

    text: str
    path: str

    @classmethod
    def from_bytes(cls, data: bytes, path: str) -> "TextFile":
        """Decodes UTF-8.

        Args:
            data: The file's bytes; a byte order mark is dropped.
            path: Its place, for messages.

        Raises:
            DataError: `data` holds no word, or is not UTF-8.
        """
        try:
            text = data.decode("utf-8").removeprefix("\ufeff")
        except UnicodeDecodeError as error:
            line = data.count(b"\n", 0, error.start) + 1
            raise DataError(
                f"Expected a text in UTF-8. {path} is not: byte {error.start} (line {line}) is "
                f"0x{data[error.start]:02x}. Convert the file to UTF-8."
            ) from None
        if not text or text.isspace():
            raise DataError(f"Expected a text of at least one word. {path} is empty.")
        return cls(text, path)


@dataclasses.dataclass(frozen=True)
class RawCorpus:
    """Three texts, not yet encoded.

    Attributes:
        train: The training text.
        valid: The validation text.
        test: The test text.
        name: "ptb", "sample", or the name of the folder or archive.
        source: Where the texts came from, for people to read.
        is_sample: True for the built-in sample.
    """

    train: TextFile
    valid: TextFile
    test: TextFile
    name: str
    source: str
    is_sample: bool = False


def read_folder(folder: Path) -> RawCorpus:
    """Reads the three files of a folder."""
    for place in (folder, folder / "data", folder / "simple-examples" / "data"):
        for pattern in ("ptb.{}.txt", "{}.txt"):
            paths = {split: place / pattern.format(split) for split in SPLITS}
            if not any(path.is_file() for path in paths.values()):
                continue
            missing = [path.name for path in paths.values() if not path.is_file()]
            if missing:
                raise FileNotFoundError(
                    f"Expected {', '.join(p.name for p in paths.values())} in {place}. Missing: {missing}"
                )
            texts = {split: TextFile.from_bytes(path.read_bytes(), str(path)) for split, path in paths.items()}
            return RawCorpus(**texts, name=folder.resolve().name, source=str(place))
    raise FileNotFoundError(f"Expected ptb.train.txt, ptb.valid.txt and ptb.test.txt in {folder}.")


def find_corpus(data: str | os.PathLike, cache_dir: Path | None = None) -> RawCorpus:
    """Reads the texts that `data` names, as `load_corpus` describes."""
    return read_folder(Path(data))
