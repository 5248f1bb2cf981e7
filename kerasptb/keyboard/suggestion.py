"""Next words where what is typed may have errors."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import Any

from kerasptb.data import UNK, DataError
from kerasptb.data.errors import check_text
from kerasptb.keyboard.channel import Channel, Taps, open_channel
from kerasptb.keyboard.writer import Writer
from kerasptb.reading import suggestion as exact
from kerasptb.reading.reader import open_reader
from kerasptb.reading.search import run_search
from kerasptb.reading.suggestion import Suggestion


def suggest(
    model: Any,
    text: str,
    k: int = 5,
    exclude: str | Iterable[str] = (UNK,),
    complete: bool = False,
    typos: Channel | str | os.PathLike[str] | None = None,
    touches: Sequence[Sequence[float]] | None = None,
) -> list[Suggestion]:
    """Returns the most probable next words after a text.

    Args:
        model: a `LanguageModel` that knows its tokenizer, or a `Reader`, such as `load_reader` returns.
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
        probability that they come, and that the word ends there; the end of a paragraph is `<eos>`. With `typos` a
        probability is the word's share of all that may have been begun so.

    Raises:
        ValueError: if `k` is out of range, if the model does not know its tokenizer, or if that has no `<unk>` and the
            text contains a word that is not in it.
        DataError: for `touches` without `typos`, or not as many as letters.
    """
    if typos is None:
        if touches is not None:
            raise DataError("Expected `touches` with `typos`, which says on what keys. Received: touches alone")
        return exact.suggest(model, text, k, exclude, complete)
    reader, left_out = open_reader(model), exact.words_left_out(exclude)
    writer = Writer(reader.tokenizer, left_out)
    typed = writer.split(reader.text_format.signs.read(check_text(text)))
    if not (letters := typed.prefix.strip()):
        return exact.suggest(reader, text, k, left_out, complete=True)
    exact.check_number(writer.pieces, k, left_out)
    how = {"begins": typed.begins, "lexicon": reader.lexicon}
    taps, channel = Taps.at(letters, touches), open_channel(typos)
    search = writer.readings(reader.read_typed(typed.whole), taps, channel, k, whole=False, **how)
    readings = run_search(search, reader.after)
    total = readings.total or 1.0  # 0 for many letters that are on no key: double precision has no probability so small
    return [Suggestion(word, probability / total) for word, probability in readings.words[:k]]
