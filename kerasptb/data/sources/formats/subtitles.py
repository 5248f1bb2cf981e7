"""Subtitles, SRT and WebVTT: what is spoken, without numbers, times and tags; a paragraph each time."""

import html
import re
from collections.abc import Iterable, Iterator

from kerasptb.data.scripts import join_lines
from kerasptb.data.sources.formats import plain
from kerasptb.data.sources.source import Source
from kerasptb.data.sources.text_file import TextFile

_TIMES = re.compile(r"\s*(?:\d+:)?\d+:\d+[.,]\d+\s*-->")
_TAG = re.compile(r"<[^<>]*>|\{\\[^{}]*\}")
_SPEAKER = re.compile(r"[-\u2010-\u2015]")  # a dash before what another one says


def recognises(file: TextFile) -> bool:
    """Returns whether a file's name is that of subtitles."""
    return file.suffix in (".srt", ".vtt")


def texts(file: TextFile, source: Source) -> Iterator[str]:
    """Yields what is spoken."""
    before = ""
    for spoken in _spoken(plain.lines(file, source)):
        rolled = spoken[0] == before  # captions that roll show a line again, above the next one
        before = spoken[-1]
        for text in _turns(spoken[rolled:]):
            yield f"{text}\n\n"


def _spoken(lines: Iterable[str]) -> Iterator[list[str]]:
    """Yields the lines after each pair of times, up to an empty one."""
    spoken: list[str] | None = None  # None where there are no times above
    for line in lines:
        if _TIMES.match(line) or not line.strip():
            if spoken:
                yield spoken
            spoken = [] if line.strip() else None
        elif spoken is not None and (text := html.unescape(_TAG.sub("", line)).strip()):
            spoken.append(text)
    if spoken:
        yield spoken


def _turns(lines: list[str]) -> Iterator[str]:
    """Yields lines as one for each speaker."""
    turn: list[str] = []
    for line in lines:
        if turn and _SPEAKER.match(line):
            yield join_lines(turn)
            turn = []
        turn.append(line)
    if turn:
        yield join_lines(turn)
