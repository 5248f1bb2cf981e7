"""Next words: suggestions after a text, as a phone's keyboard gives them."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable, Sequence

from kerasptb.arguments import Argument, Whole
from kerasptb.data import UNK, DataError
from kerasptb.data.errors import check_text
from kerasptb.models import LanguageModel
from kerasptb.reading.channel import Channel, Taps, open_channel
from kerasptb.reading.reader import Reader, open_reader
from kerasptb.reading.search import run_search
from kerasptb.reading.writer import Writer

# Words that are looked for with errors at least: those that are found stand for all, of which each has its share.
_OF_ALL = 20
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
    model: LanguageModel | Reader,
    text: str,
    k: int = 5,
    exclude: str | Iterable[str] = (UNK,),
    complete: bool = False,
    typos: Channel | str | os.PathLike[str] | None = None,
    touches: Sequence[Sequence[float]] | None = None,
) -> list[Suggestion]:
    """Returns the most probable next words after a text.

    Args:
        model: a `LanguageModel` that knows its tokenizer, or what `load_saved_model` returns.
        text: the text so far, read as the beginning of a sentence or paragraph, see `Tokenizer.encode_typed`; may be
            empty.
        k: number of suggestions, at least 1; of a vocabulary of words at most V, of pieces at most 1,000.
        exclude: words that are never suggested, or one word. The probabilities are not rescaled for the words left out.
        complete: whether the last word of the text is unfinished, unless something else than a letter follows it, and
            the suggestions are words that begin so, whatever the case.
        typos: how the last word may have been typed with errors, which is then unfinished as with `complete`: the name
            of a layout of keys, such as "qwerty", its file, or a `Channel`. `None` if nobody errs.
        touches: with `typos`, where the keys were hit for each letter of the last word: x and y from the corner of the
            keys, in widths of a key. `None` if that is not known.

    Returns:
        List of k `Suggestion`, the most probable first; fewer if fewer words begin so. A word of several pieces has the
        probability that they come, and that the word ends there; the end of a paragraph is `<eos>`.

    Raises:
        ValueError: if `k` is out of range, if the model does not know its tokenizer, or if that has no `<unk>` and the
            text contains a word that is not in it.
    """
    reader = open_reader(model)
    writer = Writer(reader.tokenizer, {exclude} if isinstance(exclude, str) else set(exclude))
    most = writer.most_words
    if most == 0:
        raise DataError(f"Every word of the vocabulary is left out. Received: exclude={reader.tokenizer.tokens}")
    if _K.read(k) > most:
        raise ValueError(f"`k` must be from 1 to {most}. Received: k={k}")
    typed = writer.split(reader.text_format.signs.read(check_text(text)), complete or typos is not None)
    context = reader.read_typed(typed.whole)
    if typos is not None and (letters := typed.prefix.strip()):
        taps, channel = Taps.at(letters, touches), open_channel(typos)
        search = writer.readings(
            context, taps, channel, max(k, _OF_ALL), whole=False, begins=typed.begins, lexicon=reader.lexicon
        )
        readings = run_search(search, reader.after)
        return [Suggestion(word, probability / readings.total) for word, probability in readings.words[:k]]
    found = run_search(writer.keys(context, typed.prefix, k, typed.begins), reader.after)
    given = found.prefix_probability if typed.prefix.strip() else 1.0
    return [Suggestion(word, min(probability / given, 1.0)) for word, probability in found.words]
