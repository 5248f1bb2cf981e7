r"""A text as it is written, read as paragraphs: what a token for the end of a paragraph comes after.

Many texts are wrapped: their lines end where the next word would have crossed a margin, and an empty line parts the
paragraphs. There a line's end means no more than a space. The lines between two empty ones are joined if most of them
are as full as the margin lets them be; else, as in verse, lists and code, each is a paragraph of its own.
"""

import dataclasses
import itertools
from collections.abc import Iterable, Iterator

from kerasptb.data.errors import DataError
from kerasptb.data.sources.files import SplitFile, check_no_binary

# A line is full if the next one's first word would have made it longer than this share of the margin.
_FULL = 0.9
# Lines are joined if this share of those that have a next one are full.
_MOSTLY = 0.7
# Wider than this nobody wraps: its lines are paragraphs.
_WIDEST_MARGIN = 120
_LONGEST_LINE = 1 << 22  # characters


def iter_lines(file: SplitFile) -> Iterator[str]:
    r"""Yields the lines of a text in UTF-8, without their ends `\n` or `\r\n`."""
    part = ""
    for text in file.text():
        check_no_binary(text, file.path)
        *lines, part = (part + text).split("\n")
        if len(part) > _LONGEST_LINE:
            raise DataError(f"Expected lines. {file.path} has one of more than {_LONGEST_LINE:,} characters.")
        yield from (line.removesuffix("\r") for line in lines)
    if part:
        yield part


@dataclasses.dataclass
class Paragraphs:
    """The paragraphs of texts, with `keep_lines` their lines, and how many lines were joined to the one before."""

    keep_lines: bool = False
    joined: int = 0

    def read(self, lines: Iterable[str]) -> Iterator[str]:
        """Yields the paragraphs of a text's lines, none of them empty, without white space at their ends."""
        for blank, group in itertools.groupby(lines, lambda line: not line or line.isspace()):
            if blank:
                continue
            if self.keep_lines:
                yield from (line.rstrip() for line in group)
                continue
            block: list[str] = []
            size = 0
            for line in group:
                # A line that begins with white space begins a paragraph, in texts without empty lines too.
                if block and ((line[0].isspace() and not block[-1][0].isspace()) or size > _LONGEST_LINE):
                    yield from self._paragraphs(block)
                    block, size = [], 0
                block.append(line.rstrip())
                size += len(line)
            yield from self._paragraphs(block)

    def _paragraphs(self, lines):
        if not _is_wrapped(lines):
            return lines
        self.joined += len(lines) - 1
        return [" ".join(line.strip() for line in lines)]


def _is_wrapped(lines):
    """Returns whether most of a block's lines end where the next word would have crossed a margin."""
    if len(lines) < 2:
        return False
    margin = max(map(len, lines))
    if margin > _WIDEST_MARGIN or margin < 40:
        return False
    full = [len(line) + 1 + len(after.split()[0]) > _FULL * margin for line, after in itertools.pairwise(lines)]
    return sum(full) >= _MOSTLY * len(full)
