"""Markdown as it is written, but for the front matter and the addresses of links and images."""

import itertools
import re
from collections.abc import Iterable, Iterator

from kerasptb.data.sources.formats import plain
from kerasptb.data.sources.source import Source
from kerasptb.data.sources.text_file import TextFile

_BLOCK = 1 << 16  # characters in which a link may go on in the next line
_FENCE = re.compile(r"\s*(`{3,}|~{3,})")
_ADDRESS = r"\(\s*(?:<[^<>\n]*+>|[^()\s<]*+(?:\([^()\s]*+\)[^()\s]*+)*+)(?:\s+(?:\"[^\"]*+\"|'[^']*+'))?\s*\)"
# Code in a line, which is left; else what is linked, and by what.
_LINK = re.compile(rf"(?<!`)(`++)[^`]++\1(?!`)|(?<!\\)!?\[([^\[\]]*+)\](?:{_ADDRESS}|\[[^\[\]]*+\])")
_DEFINITION = re.compile(r" {0,3}\[[^\[\]\n]+\]:\s*\S+(?:\s+(?:\".*\"|'.*'|\(.*\)))?\s*")
_FRONT = {"---\n": ("---\n", "...\n"), "+++\n": ("+++\n",)}  # what it begins and ends with
_KEY = re.compile(r"[\w\"'-]+\s*[:=]|#")
_MOST_KEYS = 1_000  # lines of it


def recognises(file: TextFile) -> bool:
    """Returns whether a text's name is that of Markdown."""
    return file.suffix in (".md", ".markdown") and plain.recognises(file)


def texts(file: TextFile, source: Source) -> Iterator[str]:
    """Yields the text."""
    return without_addresses(_after_front_matter(plain.lines(file, source)))


def without_addresses(lines: Iterable[str]) -> Iterator[str]:
    """Yields lines of Markdown in pieces, without addresses; code as it is."""
    block, size, fence = "", 0, ""
    for line in lines:
        mark = _FENCE.match(line)
        is_code = bool(fence or mark)
        if is_code or not line.strip() or size > _BLOCK:
            yield _linked(block)
            block, size = "", 0
        if mark and not fence:
            fence = mark[1]
        elif mark and mark[1].startswith(fence):
            fence = ""
        if is_code:
            yield line
        elif not _DEFINITION.fullmatch(line):
            block += line
            size += len(line)
    yield _linked(block)


def _linked(text: str) -> str:
    """Returns a text without the addresses of its links, and of images that are links."""
    for _ in range(2):
        text = _LINK.sub(lambda found: found[0] if found[1] else found[2], text)
    return text


def _after_front_matter(lines: Iterator[str]) -> Iterator[str]:
    """Yields lines but for those that tell of the text before it begins, if these end."""
    held = list(itertools.islice(lines, 2))
    if (ends := _FRONT.get("".join(held[:1]))) and _KEY.match(held[-1]):
        for line in lines:
            held.append(line)
            if line in ends:
                held = []
            if not held or len(held) > _MOST_KEYS:
                break
    yield from held
    yield from lines
