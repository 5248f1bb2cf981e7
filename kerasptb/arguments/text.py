"""What a run records of its text."""

from __future__ import annotations

import dataclasses
from typing import get_args

from kerasptb.arguments.fields import Arguments, argument
from kerasptb.arguments.kinds import Choice, Flag, Text, Whole
from kerasptb.utils.types import Tokens


@dataclasses.dataclass(frozen=True)
class TextRecord(Arguments):
    """The text of a run, and where it is."""

    name: str = argument(Text(), "name of the text, as a `Corpus` has it")
    source: str = argument(Text(), "where it came from, for people to read")
    digest: str = argument(Text(), "SHA-256 of its vocabulary and ids")
    vocabulary_size: int = argument(Whole(), "number V of its words")
    vocabulary_digest: str = argument(Text(), "SHA-256 of its vocabulary")
    vocabulary_limit: int | None = argument(Whole(), "the most words that were to be kept", None, optional=True)
    tokens: str = argument(Choice(get_args(Tokens)), "what it is cut into", "words")
    keep_lines: bool = argument(Flag(), "whether each of its lines is a paragraph", False)
    of_words: bool = argument(Flag(), "whether it was read with one space between two words", False)
    is_sample: bool = argument(Flag(), "whether it is the built-in sample", False)
    location: str | None = argument(Text(), "what reads it again", None, optional=True)
