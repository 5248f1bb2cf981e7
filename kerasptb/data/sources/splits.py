"""A text as three: the files that are named so, or the parts into which one is cut."""

import io
import itertools
import logging
from collections.abc import Collection
from pathlib import PurePosixPath

from kerasptb.data.errors import DataError, shortened
from kerasptb.data.sources.text_file import TextFile, unpacked_name

logger = logging.getLogger(__name__)

# Where training ends, and where validation ends, as parts of a text that is cut.
_CUTS = {"train": 0.9, "valid": 0.95, "test": 1.0}
SPLITS = tuple(_CUTS)

# File names, the published ones first.
_NAMES = [{split: pattern.format(split) for split in SPLITS} for pattern in ("ptb.{}.txt", "{}.txt")]
# Places inside a folder.
_PLACES = {PurePosixPath(place) for place in ("", "data", "simple-examples/data")}

# What a text is cut after: an empty line; in a paragraph a line's end, a space or a full stop of a script without.
_EMPTY_LINES = (b"\n\n", b"\r\n\r\n")
_SEPARATORS = (*_EMPTY_LINES, b"\n", b" ", "\u3002".encode())
_LONGEST_PLACE = 500  # characters of a folder in a message
_MOST_UNEVEN = 1.5  # a part is so many times as long as was asked, or as short
_CHUNK_BYTES = 1 << 16

_Bounds = list[tuple[int, int]]  # where each part begins and ends


def is_corpus_name(name: str) -> bool:
    """Returns whether a file has the name of one of a corpus."""
    return any(unpacked_name(name).name in names.values() for names in _NAMES)


def is_near_top(name: str) -> bool:
    """Returns whether a file lies where a folder may have the texts of a corpus."""
    return PurePosixPath(name).parent in _PLACES


def choose_names(names: Collection[str], where: str) -> dict[str, str]:
    """Chooses the three files of a corpus, all in one folder, among the names of a folder or an archive.

    They are `ptb.train.txt`, `ptb.valid.txt` and `ptb.test.txt`, or `train.txt`, `valid.txt` and `test.txt`.
    """
    # An archive may spell a name "./data/x": names are looked up as paths, and returned as they are spelt. Of a text
    # that is there twice, the one that is not compressed is read.
    plain_last = sorted(names, key=lambda name: unpacked_name(name) == PurePosixPath(name))
    found = {unpacked_name(name): name for name in plain_last}
    partial = []
    for wanted in _NAMES:  # then folders called `data` come first, then those nearer the top
        folders = {path.parent for path in found if path.name in wanted.values()}
        for folder in sorted(folders, key=lambda folder: (folder.name not in ("", "data"), len(folder.parts), folder)):
            selected = {split: found[folder / name] for split, name in wanted.items() if folder / name in found}
            if len(selected) == len(wanted):
                return selected
            missing = " and ".join(wanted[split] for split in SPLITS if split not in selected)
            partial.append(f"{missing} missing in {where}{'' if folder == PurePosixPath() else f'/{folder}'}")
    received = shortened(partial[0], _LONGEST_PLACE) if partial else f"{where}, which holds none of them"
    raise FileNotFoundError(
        "Expected ptb.train.txt, ptb.valid.txt and ptb.test.txt, or train.txt, valid.txt and test.txt. "
        f"Received: {received}."
    )


def cut_text(file: TextFile) -> tuple[dict[str, TextFile], bool]:
    """Cuts a text, of which what `open` returns can seek: the first 90 % for training, 5 for validation, and the test.

    It is cut at the next end of a paragraph: an empty line. If there are too few of them for parts of about these
    lengths, at the next end of a line, else at the next space, or full stop of a script without spaces; if all of these
    are too few, where the parts come nearest, with a warning.

    Returns:
        parts: the three texts.
        at_ends: whether each ends where a paragraph does.
    """
    with file.open() as opened:
        cuts = [(separator, found) for separator in _SEPARATORS if (found := _bounds(opened, file.size, separator))]
    if not cuts:
        raise DataError(
            "Expected a text long enough to cut off its last tenth, for validation and test. "
            f"Received: {file.path}, of {file.size:,} bytes"
        )
    separator, bounds = min(cuts, key=lambda cut: max(_unevenness(cut[1]), _MOST_UNEVEN))
    if _unevenness(bounds) > _MOST_UNEVEN:
        logger.warning(
            "%s is cut into uneven parts, of %s bytes: it has few ends of paragraphs, lines and words. To cut it "
            "otherwise, name a folder with train.txt, valid.txt and test.txt.",
            file.path,
            ", ".join(f"{end - begin:,}" for begin, end in bounds),
        )
    parts = {
        split: file.part(begin, end, f"{file.path} (its {split} part)")
        for split, (begin, end) in zip(SPLITS, bounds, strict=True)
    }
    return parts, separator in _EMPTY_LINES


def _bounds(file: io.BufferedIOBase | io.RawIOBase, size: int, separator: bytes) -> _Bounds | None:
    """Returns where the parts of a text begin and end, cut after separators; `None` if there is nothing in one."""
    ends = [_next(file, int(share * size), separator) if share < 1 else size for share in _CUTS.values()]
    bounds = list(itertools.pairwise([0, *ends]))
    return None if any(_is_blank(file, begin, end) for begin, end in bounds) else bounds


def _unevenness(bounds: _Bounds) -> float:
    """Returns how many times a part is as long as was asked, or as short, at most."""
    asked = [end - begin for begin, end in itertools.pairwise([0.0, *_CUTS.values()])]
    ratios = [(end - begin) / bounds[-1][1] / share for (begin, end), share in zip(bounds, asked, strict=True)]
    return max(max(ratio, 1 / ratio) for ratio in ratios)


def _next(file: io.BufferedIOBase | io.RawIOBase, place: int, separator: bytes) -> int:
    """Returns the place after the next separator, or the end of the file."""
    file.seek(place)
    before = b""
    while chunk := file.read(_CHUNK_BYTES):
        if (found := (before + chunk).find(separator)) >= 0:
            return place - len(before) + found + len(separator)
        place += len(chunk)
        before = chunk[len(chunk) - len(separator) + 1 :]
    return place


def _is_blank(file: io.BufferedIOBase | io.RawIOBase, begin: int, end: int) -> bool:
    """Returns whether there is nothing but white space from one place to another."""
    file.seek(begin)
    while begin < end and (chunk := file.read(min(_CHUNK_BYTES, end - begin))):
        if not chunk.isspace():
            return False
        begin += len(chunk)
    return True
