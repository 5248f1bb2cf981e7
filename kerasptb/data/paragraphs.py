r"""A text as it is written, read as paragraphs: what a token for the end of a paragraph comes after.

Many texts are wrapped: their lines end where the next word would have crossed a margin, and an empty line, or an
indented one, parts the paragraphs. There a line's end means no more than a space. Whether a text is such prose is
decided once, by all of it. If so, those of its lines are joined that are as full as the margin lets them be; verse,
lists, tables, turns of speakers and code among them are left. In every other text each line is a paragraph.
"""

import dataclasses
import itertools
import re
from collections.abc import Iterable, Iterator

from kerasptb.data.errors import DataError
from kerasptb.data.scripts import UNSPACED, count_unspaced, join_lines, width
from kerasptb.data.sources.text_file import TextFile, check_no_binary, with_newlines

# A line is full if the next one's first word would have made it longer than this share of the margin.
_FULL = 0.9
# Lines are joined if this share of those that have a next one are full.
_MOSTLY = 0.7
# Columns. Wider than the one nobody wraps, and narrower than the other no prose.
_WIDEST_MARGIN, _NARROWEST_MARGIN = 120, 40
# A text is wrapped prose if this share of its lines that have a next one are in blocks that are, and this share of
# these go on with a small letter. Measured: novels have 1.00 and 0.9, German 0.98 and 0.6; sources 0.1, verse 0.
_WRAPPED, _GOING_ON = 0.3, 0.35
_LONGEST_LINE = 1 << 22  # characters
# A text is judged by so many of its bytes at most, in pieces of so many characters from all over it.
_JUDGED, _PIECE = 1 << 22, 1 << 16

_FENCE = re.compile(r"\s*`{3,4}[\w+-]*$")
_WORD = re.compile(r"[^\W_]")
# What begins a line of a list, a table, a comment or a quotation: a sign, a number, a letter; or the name of a speaker.
_MARK = re.compile(r"\s*(?:[^\w\s]+(?:\s|$)|(?:\d{1,3}|[A-Za-z])[.)]\s|(?![a-z])\w[\w .'\u2019-]{0,24}(?::\s|\uff1a))")
_UNBROKEN = re.compile(rf"{UNSPACED}|\S+")  # what no line end parts
_SIGN = re.compile(r"[!-@\[-`{-~]")
_OPENING = " \t\"'([_*`\u00ab\u2018\u201c\u300c"


def iter_lines(file: TextFile) -> Iterator[str]:
    """Yields the lines of a text in UTF-8, without their ends."""
    part = ""
    for text in with_newlines(file.text()):
        check_no_binary(text, file.path)
        *lines, part = (part + text).split("\n")
        if len(part) > _LONGEST_LINE:
            raise DataError(
                f"Expected lines. {file.path} has one of more than {_LONGEST_LINE:,} characters. Break it into lines, "
                "as `fold -s` does, or read it as words: --tokens words."
            )
        yield from lines
    if part:
        yield part


def pieces_of(files: Iterable[TextFile]) -> Iterator[str]:
    """Yields what `is_wrapped` judges texts by: all of them, or pieces from all over them."""
    files = list(files)
    pieces = (
        text[start : start + _PIECE]
        for file in files
        for text in with_newlines(file.text())
        for start in range(0, len(text), _PIECE)
    )
    return itertools.islice(pieces, 0, None, 1 + sum(file.size for file in files) // _JUDGED)


def is_wrapped(pieces: Iterable[str]) -> bool:
    """Returns whether a text, of which these are pieces, is wrapped prose."""
    followed = wrapped = going_on = 0
    for block in itertools.chain.from_iterable(_blocks(piece.split("\n")) for piece in pieces):
        followed += len(block) - 1
        if _is_wrapped(block):
            wrapped += len(block) - 1
            going_on += sum(map(_goes_on, block[1:]))
    return wrapped > _WRAPPED * followed and going_on > _GOING_ON * wrapped


@dataclasses.dataclass
class Paragraphs:
    """The paragraphs of texts, with `keep_lines` their lines, and how many lines were joined to the one before."""

    keep_lines: bool = False
    joined: int = 0

    def read(self, lines: Iterable[str]) -> Iterator[str]:
        """Yields the paragraphs of a text's lines, none of them empty, without white space at their ends."""
        if self.keep_lines:
            yield from filter(None, (line.rstrip() for line in lines))
            return
        for block in _blocks(lines):
            if _is_wrapped(block):
                self.joined += len(block) - 1
                yield join_lines([line.strip() for line in block])
            else:
                yield from block


def _blocks(lines: Iterable[str]) -> Iterator[list[str]]:
    """Yields the lines of a text, without white space at their ends, with those that may be of one paragraph."""
    for part in _parts(lines):
        marked = [bool(_MARK.match(line)) for line in part]
        if marked[0] or sum(marked) >= max(2, len(part) / 4):
            begins = [i for i, mark in enumerate(marked) if mark or i == 0]
            yield from (part[begin:end] for begin, end in itertools.pairwise([*begins, len(part)]))
        else:
            yield part


def _parts(lines: Iterable[str]) -> Iterator[list[str]]:
    """Yields the lines between those without a word and those in a fence, each of which is a part of its own."""
    part: list[str] = []
    size, fenced = 0, False
    for line in map(str.rstrip, itertools.chain(lines, [""])):
        is_fence = "```" in line and bool(_FENCE.match(line))
        apart = fenced or is_fence or not _WORD.search(line)
        fenced ^= is_fence
        if part and (apart or size > _LONGEST_LINE or (line[0].isspace() and _begins(part, line))):
            yield part
            part, size = [], 0
        if apart and line:
            yield [line]
        elif line:
            part.append(line)
            size += len(line)


def _begins(part: list[str], line: str) -> bool:
    """Returns whether an indented line begins a paragraph, as in texts without empty lines; an item goes on so."""
    goes_on = _MARK.match(part[0]) and len(part[-1]) > _MOSTLY * len(line)
    return not part[-1][0].isspace() and not goes_on


def _is_wrapped(block: list[str]) -> bool:
    """Returns whether most of a block's lines end where the next word would have crossed a margin, and it is prose."""
    if len(block) < 2:
        return False
    widths = list(map(width, block))
    margin = max(widths)
    if not _NARROWEST_MARGIN <= margin <= _WIDEST_MARGIN:
        return False
    full = sum(_fills(size, after, _FULL * margin) for size, after in zip(widths, block[1:], strict=False))
    return full >= _MOSTLY * (len(block) - 1) and _is_prose(block) and not _is_verse(block, widths)


def _fills(size: int, after: str, margin: float) -> bool:
    """Returns whether a line of so many columns would have crossed a margin with the first word of the one after."""
    return size > margin or size + 1 + width(next(_UNBROKEN.finditer(after))[0]) > margin


def _is_prose(block: list[str]) -> bool:
    """Returns whether a block is of words with single spaces, or of a script without, and few signs."""
    text = "".join(line.strip() for line in block)
    size, spaces = len(text), text.count(" ")
    spaced = size / 20 <= spaces <= size / 3 or 2 * count_unspaced(text) > size
    return spaced and len(_SIGN.findall(text)) <= size * 0.3


def _is_verse(block: list[str], widths: list[int]) -> bool:
    """Returns whether each line of a stanza begins with a capital letter, and not because of a margin."""
    if len(block) < 4 or any(map(_goes_on, block[1:])):
        return False
    return not all(_fills(size, after, max(widths)) for size, after in zip(widths, block[1:], strict=False))


def _goes_on(line: str) -> bool:
    """Returns whether a line begins with a small letter, or with one that is neither small nor capital."""
    first = line.lstrip(_OPENING)[:1]
    return first.isalpha() and (not first.isupper() or line.isupper())
