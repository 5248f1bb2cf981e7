"""Next words: suggestions after a text, as a phone's keyboard gives them."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterable
from typing import Any

from kerasptb.arguments import Argument, Whole
from kerasptb.data import UNK, DataError
from kerasptb.data.errors import check_text
from kerasptb.reading.pieces import WordPieces, pieces_of
from kerasptb.reading.reader import open_reader
from kerasptb.reading.search import run_search
from kerasptb.reading.typed import split
from kerasptb.reading.words import most_words, search_words

_K = Argument("k", Whole(), "number of words")


@dataclasses.dataclass(frozen=True)
class Suggestion:
    """A word that may come next.

    Attributes:
        word: the word.
        probability: the model's probability of it, in [0, 1]; with `complete` given the letters that it begins with,
            with `typos` its share of all words that were found for what is typed.
    """

    word: str
    probability: float


def suggest(
    model: Any, text: str, k: int = 5, exclude: str | Iterable[str] = (UNK,), complete: bool = False
) -> list[Suggestion]:
    """Returns the most probable next words after a text; `kerasptb.suggest` takes typing with errors too.

    Args:
        model: a `LanguageModel` that knows its tokenizer, or a `Reader`, such as `load_reader` returns.
        text: the text so far, read as the beginning of a sentence or paragraph, see `Tokenizer.encode_typed`; may be
            empty.
        k: number of suggestions, at least 1; of a vocabulary of words at most V, of pieces at most 1,000.
        exclude: words that are never suggested, or one word. The probabilities are not rescaled for the words left out.
        complete: whether the last word of the text is unfinished, unless something else than a letter follows it, and
            the suggestions are words that begin so, whatever the case.

    Returns:
        List of k `Suggestion`, the most probable first; fewer if fewer words begin so. A word of several pieces has the
        probability that they come, and that the word ends there; the end of a paragraph is `<eos>`.

    Raises:
        ValueError: if `k` is out of range, if the model does not know its tokenizer, or if that has no `<unk>` and the
            text contains a word that is not in it.
    """
    reader, left_out = open_reader(model), words_left_out(exclude)
    pieces = pieces_of(reader.tokenizer)
    check_number(pieces, k, left_out)
    typed = split(reader.tokenizer, reader.text_format.signs.read(check_text(text)), complete)
    context = reader.read_typed(typed.whole)
    found = run_search(search_words(pieces, context, typed.prefix, k, left_out, typed.begins), reader.after)
    given = found.prefix_probability if typed.prefix.strip() else 1.0
    return [Suggestion(word, min(probability / given, 1.0)) for word, probability in found.words]


def words_left_out(exclude: str | Iterable[str]) -> frozenset[str]:
    """Returns the words of an argument `exclude`."""
    return frozenset({exclude} if isinstance(exclude, str) else exclude)


def check_number(pieces: WordPieces, k: int, left_out: Collection[str]) -> None:
    """Raises a ValueError unless so many words can be suggested."""
    most = most_words(pieces, left_out)
    if most == 0:
        raise DataError(f"Every word of the vocabulary is left out. Received: exclude={pieces.tokenizer.tokens}")
    if _K.read(k) > most:
        raise ValueError(f"`k` must be from 1 to {most}. Received: k={k}")
