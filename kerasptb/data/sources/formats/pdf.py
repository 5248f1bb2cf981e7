"""PDFs, by PDFium, the reader of Chrome: their paragraphs, without page numbers and running heads.

A PDF has lines at places, and no paragraphs. Lines are one paragraph as far as they are one below the other and full,
and none is indented. The library pypdf has no places of words; pdfminer.six, which has them, is in Python alone; PDFium
is 8 MB, finds hyphens, and reads files that are damaged a little. It holds a page in memory before anything can be
asked of it, and says of none how large it is: one made for that takes gigabytes.
"""

import collections
import ctypes
import itertools
import math
import re
import statistics
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from kerasptb.data.errors import UnreadError
from kerasptb.data.scripts import join_lines
from kerasptb.data.sources.source import Source
from kerasptb.data.sources.text_file import TextFile
from kerasptb.utils.extras import install_command

_HYPHEN = "\x02"  # what PDFium has for one at a line's end, and for that end
_NO_SIGNS = (0, 0xFFFE, 0xFFFF)  # what a font has no letter for
_LIGATURES = {0xFB00: "ff", 0xFB01: "fi", 0xFB02: "fl", 0xFB03: "ffi", 0xFB04: "ffl", 0xFB05: "st", 0xFB06: "st"}
_GAP = 1.35  # times the usual distance of two lines: more of it parts paragraphs
_INDENT = 1 / 3  # of that distance
_FULL = 0.95  # of the width, with the word that comes next; margins are ragged, and signs narrower than their places
_ITEM = re.compile(r"[\u2022\u2023\u25aa\u25cf\u25e6\u2043]")
_SENTENCE_END = re.compile(r"[.!?:\u2026\u3002\uff01\uff1f][^\w\s]*$")
_PARTED = re.compile(r"\d-$")  # PDFium takes no such hyphen for one at a line's end
_LONGEST_PAGE = 1 << 20  # characters; a page of a newspaper has some ten thousand
_PASSWORD = 4  # an error of PDFium's


class _Line(NamedTuple):
    text: str
    left: float  # in points, to the right; heights are upwards
    right: float
    of_word: float  # the width of its first word
    baseline: float


class _Block(NamedTuple):
    """Lines one below the other."""

    lines: list[_Line]
    indent: float  # the least that is one
    full: float  # where a line ends, with the next word, that had no room for it


def recognises(file: TextFile) -> bool:
    """Returns whether a file begins as a PDF does."""
    return file.head(64).lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"%PDF-")


def texts(file: TextFile, source: Source) -> Iterator[str]:
    """Yields the paragraphs of a PDF."""
    try:
        import pypdfium2  # noqa: PLC0415  (an extra)
    except ImportError:
        raise UnreadError(file.path, f"a PDF: `{install_command('texts')}` lets it be read") from None
    num_bytes = 0
    with file.open() as opened:
        try:
            document = pypdfium2.PdfDocument(opened)
        except pypdfium2.PdfiumError as error:
            is_locked = error.err_code == _PASSWORD
            raise UnreadError(file.path, "a PDF with a password" if is_locked else "a damaged PDF") from None
        try:
            for paragraph in _paragraphs(_without_heads(map(_lines, _pages(document, file.path)))):
                size = len(paragraph.encode(errors="replace"))
                file.room.take(file.path, size)  # a page may be in it any number of times
                num_bytes += size
                yield f"{paragraph}\n\n"
        finally:
            document.close()
    if not num_bytes:
        raise UnreadError(file.path, "a PDF of pictures, without a text")


def _pages(document: Any, path: str) -> Iterator[Any]:
    """Yields the text of each page that can be read, which is open until the next one."""
    import pypdfium2  # noqa: PLC0415

    for number in range(len(document)):
        try:
            page = document[number]
            text = page.get_textpage()
        except pypdfium2.PdfiumError:
            continue
        if text.count_chars() > _LONGEST_PAGE:
            raise UnreadError(path, f"a PDF with a page of more than {_LONGEST_PAGE:,} characters")
        yield text
        text.close()
        page.close()


def _lines(page: Any) -> list[_Line]:
    """Returns the lines of a page that have a letter or sign, in the order of the file."""
    from pypdfium2 import raw  # noqa: PLC0415

    codes = [raw.FPDFText_GetUnicode(page, index) for index in range(page.count_chars())]
    ends = [index for index, code in enumerate(codes) if code in (ord("\n"), ord(_HYPHEN))]
    lines = []
    for begin, end in itertools.pairwise([-1, *ends, len(codes)]):
        places = [i for i in range(begin + 1, end) if codes[i] not in _NO_SIGNS and not chr(codes[i]).isspace()]
        if not places:
            continue
        text = "".join(
            _LIGATURES.get(code) or chr(code) for code in codes[begin + 1 : end + 1] if code not in _NO_SIGNS
        )
        text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").strip()
        last_of_word = next((a for a, b in itertools.pairwise(places) if b > a + 1), places[-1])
        (left, _), (_, right), (_, of_word) = (_edges(raw, page, i) for i in (places[0], places[-1], last_of_word))
        lines.append(_Line(text, left, right, of_word - left, _baseline(raw, page, places[0])))
    return lines


def _edges(raw: Any, page: Any, index: int) -> tuple[float, float]:
    left, right, bottom, top = (ctypes.c_double() for _ in range(4))
    raw.FPDFText_GetCharBox(page, index, left, right, bottom, top)
    return left.value, right.value


def _baseline(raw: Any, page: Any, index: int) -> float:
    x, y = ctypes.c_double(), ctypes.c_double()
    raw.FPDFText_GetCharOrigin(page, index, x, y)
    return y.value


def _without_heads(pages: Iterable[list[_Line]]) -> Iterator[list[_Line]]:
    """Yields pages without highest and lowest lines that are a number, or but for it those of one of two pages before.

    They may stand anywhere in the file.
    """
    edges: collections.deque[str] = collections.deque(maxlen=4)
    for lines in pages:
        seen = {"", *edges}
        upwards = collections.deque(sorted(lines, key=lambda line: line.baseline))
        edges.extend(_letters(upwards[place]) for place in (0, -1) if upwards)
        while upwards and _letters(upwards[0]) in seen:
            upwards.popleft()
        while upwards and _letters(upwards[-1]) in seen:
            upwards.pop()
        kept = set(map(id, upwards))
        yield [line for line in lines if id(line) in kept]


def _letters(line: _Line) -> str:
    return re.sub(r"[\W\d]", "", line.text)


def _paragraphs(pages: Iterable[list[_Line]]) -> Iterator[str]:
    """Yields the paragraphs of pages; one may go on in the next block, column or page."""
    held: list[str] = []
    room = 0.0  # after the last line
    for block in itertools.chain.from_iterable(map(_blocks, pages)):
        for index, line in enumerate(block.lines):
            if index:
                goes_on = _goes_on(block, index)
            else:
                is_within = line.text[0].islower() or not (held and _SENTENCE_END.search(held[-1]))
                goes_on = line.of_word > room and is_within
            if held and not goes_on:
                yield _joined(held)
                held = []
            held.append(line.text)
        room = block.full - line.right if len(block.lines) > 1 else math.inf
        if line.text.endswith(_HYPHEN):
            room = -math.inf
    if held:
        yield _joined(held)


def _blocks(lines: list[_Line]) -> Iterator[_Block]:
    """Yields the lines of a page, parted where they are not one below the other at the usual distance."""
    distances = [a.baseline - b.baseline for a, b in itertools.pairwise(lines)]
    usual = statistics.median([distance for distance in distances if distance > 1] or [0])
    parts = [0, *(i for i, far in enumerate(distances, 1) if not 1 < far <= _GAP * usual), len(lines)]
    for begin, end in itertools.pairwise(parts):
        if begin < end:
            block = lines[begin:end]
            left, right = min(line.left for line in block), max(line.right for line in block)
            yield _Block(block, _INDENT * usual, left + _FULL * (right - left))


def _goes_on(block: _Block, index: int) -> bool:
    """Returns whether a line of a block is of the paragraph of the one before."""
    before, line = block.lines[index - 1 : index + 1]
    if before.text.endswith(_HYPHEN):
        return True
    if _ITEM.match(line.text) or before.right + line.of_word < block.full:  # it had room for the word
        return False
    # What is indented begins one, unless more is so, as after the sign of an item.
    after = block.lines[index + 1] if index + 1 < len(block.lines) else None
    is_further = line.left > before.left + block.indent
    return (
        not is_further
        or bool(_ITEM.match(before.text))
        or (after is not None and after.left > line.left - block.indent)
    )


def _joined(lines: list[str]) -> str:
    """Returns lines as one, a word that was parted as one too; a hyphen stays before a capital letter or a number."""
    whole = [lines[0]]
    for line in lines[1:]:
        if whole[-1].endswith(_HYPHEN):
            whole[-1] = whole[-1].removesuffix(_HYPHEN) + ("" if line[:1].islower() else "-") + line
        elif _PARTED.search(whole[-1]):
            whole[-1] += line
        else:
            whole.append(line)
    return join_lines(whole).replace(_HYPHEN, "-")
