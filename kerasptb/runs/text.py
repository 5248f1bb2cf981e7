"""What a run records of its text."""

from __future__ import annotations

import dataclasses
from typing import Self, cast, get_args

from kerasptb.arguments import Arguments, Choice, Flag, Several, Text, Whole, argument
from kerasptb.data import Corpus
from kerasptb.data.text_format import TextFormat
from kerasptb.utils.types import Tokens


@dataclasses.dataclass(frozen=True)
class TextRecord(Arguments):
    """The text of a run, how it is read, and where it is."""

    name: str = argument(Text(), "name of the text, as a `Corpus` has it")
    source: str = argument(Text(), "where it came from, for people to read")
    digest: str = argument(Text(), "SHA-256 of its vocabulary and ids")
    vocabulary_size: int = argument(Whole(), "number V of its words")
    vocabulary_digest: str = argument(Text(), "SHA-256 of its vocabulary")
    vocabulary_limit: int | None = argument(Whole(), "the most words that were to be kept", None)
    tokens: str = argument(Choice(get_args(Tokens)), "what it is cut into", "words")
    keep_lines: bool | None = argument(Flag(), "whether each of its lines is a paragraph, if that was said", None)
    wrapped: bool | None = argument(Flag(), "whether it was found to be wrapped prose, of which lines are joined", None)
    of_words: bool = argument(Flag(), "whether it was read with one space between two words", False)
    absent_signs: tuple[str, ...] | None = argument(Several(Text()), "signs that it lacks, read as others", None)
    is_sample: bool = argument(Flag(), "whether it is the built-in sample", False)
    location: str | None = argument(Text(), "what reads it again", None)

    @classmethod
    def of(cls, corpus: Corpus) -> Self:
        """Returns the record of a text."""
        return cls(
            **{name: getattr(corpus, name) for name in ("name", "source", "digest", "is_sample", "location")},
            vocabulary_size=len(corpus.vocabulary),
            vocabulary_digest=corpus.vocabulary.digest,
            vocabulary_limit=corpus.format.vocabulary_size,
            tokens=corpus.vocabulary.kind,
            keep_lines=corpus.format.keep_lines,
            wrapped=corpus.format.wrapped,
            of_words=bool(corpus.format.of_words),
            absent_signs=corpus.format.absent_signs or None,
        )

    @property
    def format(self) -> TextFormat:
        """How it is read, but for the tokenizer; the text may have fewer tokens than were asked for."""
        limit = self.vocabulary_limit or self.vocabulary_size
        tokens, signs = cast(Tokens, self.tokens), self.absent_signs or ()
        return TextFormat(tokens, None, limit, self.keep_lines, self.of_words, self.wrapped, signs)
