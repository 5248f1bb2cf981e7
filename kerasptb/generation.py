"""Next words: suggestions after a text, as a phone's keyboard gives them, and text sampled word by word."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from kerasptb.data import EOS, UNK, DataError, Tokenizer
from kerasptb.data.word_search import begins_paragraph, pieces_of, run_search, search_words

if TYPE_CHECKING:
    from kerasptb.models import LanguageModel


_LONGEST = 40  # tokens of a word that is sampled, so that it ends


@dataclasses.dataclass(frozen=True)
class Suggestion:
    """A word that may come next.

    Attributes:
        word: the word.
        probability: the model's probability of it, in [0, 1].
    """

    word: str
    probability: float


def suggest(
    model: LanguageModel,
    vocabulary: Tokenizer,
    text: str,
    k: int = 5,
    exclude: str | Iterable[str] = (UNK,),
    complete: bool = False,
) -> list[Suggestion]:
    """Returns the most probable next words after a text.

    Args:
        model: a `LanguageModel`.
        vocabulary: its `Tokenizer`.
        text: the text so far, read as the beginning of a sentence or paragraph, see `encode_text`; may be empty.
        k: number of suggestions, at least 1; of a vocabulary of words, at most V.
        exclude: words that are never suggested, or one word. The probabilities are not rescaled for the words left out.
        complete: whether the last word of the text is unfinished, unless something else than a letter follows it, and
            the suggestions are words that begin so, whatever the case.

    Returns:
        List of k `Suggestion`, the most probable first; fewer if fewer words begin so. A word of several pieces has the
        probability that they come, and that the word ends there; the end of a paragraph is `<eos>`.

    Raises:
        ValueError: if `k` is out of range, if the vocabulary does not have the model's size, or if it has no `<unk>`
            and the text contains a word that is not in it.
    """
    excluded = frozenset(_words_of(exclude))
    pieces = pieces_of(vocabulary)
    most = len(vocabulary) - len(_excluded_ids(model, vocabulary, exclude)) if pieces.are_words else math.inf
    if not 1 <= k <= most:
        range_of_k = f"from 1 to {most}" if pieces.are_words else "at least 1"
        raise ValueError(f"`k` must be {range_of_k}. Received: k={k}")
    whole, prefix = vocabulary.split_typed(text) if complete else (text.rstrip(" "), "")
    reader = _Reader(model)
    context = reader.read(encode_text(vocabulary, whole))
    begins = begins_paragraph(vocabulary, whole)
    search = search_words(pieces, context, lambda context: context.log_probabilities, prefix, k, excluded, begins)
    return [Suggestion(word, probability) for word, probability in run_search(search, reader.extend).words]


@dataclasses.dataclass(frozen=True, eq=False)
class _Context:
    """What a model knows after some tokens: the next one's log probabilities, float64 [V], and its state of one row."""

    log_probabilities: np.ndarray
    state: Any


class _Reader:
    """Reads tokens with a `LanguageModel`."""

    def __init__(self, model):
        self._model = model

    def read(self, tokens):
        """Returns the `_Context` after tokens, int32 [T]."""
        return self._contexts(tokens[np.newaxis], None)[0]

    def extend(self, beginnings):
        """Returns the `_Context`s after one more token each."""
        state = keras.tree.map_structure(
            lambda *rows: keras.ops.concatenate(rows, axis=0), *(each.context.state for each in beginnings)
        )
        return self._contexts(np.array([[each.piece] for each in beginnings], "int32"), state)

    def _contexts(self, tokens, state):
        probabilities, state = self._model.stateless_next_word_probabilities(tokens, state)
        with np.errstate(divide="ignore"):
            logs = np.log(probabilities.astype("float64"))
        return [
            _Context(row, keras.tree.map_structure(lambda each, i=i: each[i : i + 1], state))
            for i, row in enumerate(logs)
        ]


def generate(
    model: LanguageModel,
    vocabulary: Tokenizer,
    prompt: str = "",
    num_words: int = 50,
    temperature: float = 1.0,
    seed: int | None = None,
    exclude: Iterable[str] = (UNK,),
    *,
    top_k: int | None = None,
    top_p: float | None = None,
) -> list[str]:
    """Returns words sampled from the model one after another.

    Args:
        model: a `LanguageModel`.
        vocabulary: its `Tokenizer`.
        prompt: the text that the words continue, see `suggest`.
        num_words: number of words to sample. Of subwords, signs of punctuation and ends of paragraphs count too.
        temperature: divisor of the logits. Below 1 probable words become more probable, above 1 less; 0 always takes
            the most probable word.
        seed: seed of the sampling, an int; `None` draws one.
        exclude: words that are never sampled, or one word. Of subwords or characters, also words that begin with the
            token of one are not.
        top_k: number of most probable words that are sampled from; `None` for all (Fan et al., 2018).
        top_p: least probability of the most probable words that are sampled from, in (0, 1], at this temperature:
            nucleus sampling (Holtzman et al., 2020). `None` for 1.

    Returns:
        List of `num_words` words; sentences, or paragraphs, end in `<eos>`. One of more than 40 tokens counts as
        several, so that the list is shorter then.

    Raises:
        ValueError: if `num_words` or `temperature` is negative, `top_k` is below 1 or `top_p` not in (0, 1]; if a word
            to exclude has several tokens; and as in `suggest`.
    """
    ids = _sampled(model, vocabulary, prompt, num_words, temperature, seed, exclude, top_k, top_p)
    words: list[bytearray] = []
    pieces = pieces_of(vocabulary)
    for token in ids:
        if pieces.ends_word[token]:
            words.append(bytearray())
        words[-1].extend(vocabulary.pieces[token])
    written = [word.decode(errors="replace") for word in words]
    return [EOS if word == "\n" else word.strip() for word in written]


def generate_text(
    model: LanguageModel,
    vocabulary: Tokenizer,
    prompt: str = "",
    num_words: int = 50,
    temperature: float = 1.0,
    seed: int | None = None,
    exclude: str | Iterable[str] = (UNK,),
    *,
    top_k: int | None = None,
    top_p: float | None = None,
) -> str:
    """Returns a prompt and the words that `generate` samples after it as a text, with its spaces and line ends.

    Args:
        model: as in `generate`, like the other arguments and what is raised.
        vocabulary: its `Tokenizer`.
        prompt: the text that the words continue.
        num_words: number of words to sample.
        temperature: divisor of the logits.
        seed: seed of the sampling.
        exclude: words that are never sampled.
        top_k: number of most probable tokens that are sampled from.
        top_p: least probability of those.
    """
    ids = _sampled(model, vocabulary, prompt, num_words, temperature, seed, exclude, top_k, top_p)
    return vocabulary.continued(prompt, ids)


def _sampled(model, vocabulary, prompt, num_words, temperature, seed, exclude, top_k, top_p):
    """Returns the ids of so many words, sampled one after another."""
    if num_words < 0:
        raise ValueError(f"`num_words` must be 0 or more. Received: num_words={num_words}")
    if not temperature >= 0 or np.isinf(temperature):
        raise ValueError(f"`temperature` must be 0 or more, and finite. Received: temperature={temperature}")
    if top_k is not None and top_k < 1:
        raise ValueError(f"`top_k` must be 1 or more. Received: top_k={top_k}")
    if top_p is not None and not 0 < top_p <= 1:
        raise ValueError(f"`top_p` must be above 0 and at most 1. Received: top_p={top_p}")
    random, pieces = np.random.default_rng(seed), pieces_of(vocabulary)
    excluded = _excluded_ids(model, vocabulary, exclude)
    tokens, sampled, left, length, state = encode_text(vocabulary, prompt.rstrip(" ")), [], num_words, 0, None
    while left or not pieces.are_words:
        (of_next,), state = model.stateless_next_word_probabilities(tokens[np.newaxis], state)
        probabilities = of_next.astype(np.float64)
        probabilities[excluded] = 0.0
        if not sampled:
            probabilities[pieces.going_on] = 0.0  # the prompt's last word is whole
        token = sample(probabilities, temperature, random, top_k, top_p)
        if pieces.ends_word[token] or length == _LONGEST:
            if not left:
                break
            left, length = left - 1, 0
        length += 1
        sampled.append(token)
        tokens = np.array([token], np.int32)
    return sampled


def _words_of(exclude):
    return {exclude} if isinstance(exclude, str) else set(exclude)


def _excluded_ids(model, vocabulary, exclude):
    """Returns the ids of the excluded words.

    Raises if one has several tokens, if no word is left, or if the vocabulary's size is not the model's.
    """
    words, pieces = _words_of(exclude), pieces_of(vocabulary)
    if pieces.are_words:
        excluded = [vocabulary.token_to_id[word] for word in words if word in vocabulary]
    else:
        named = {EOS: vocabulary.eos_id, UNK: vocabulary.unk_id}
        excluded = [named[word] for word in words & set(named) if named[word] is not None]
        found = {text.strip(): [] for text in words - set(named)}
        for index in np.flatnonzero(pieces.ends_word):
            found.get(pieces.written[index].strip(), []).append(index)
        if several := sorted(word for word, ids in found.items() if not ids):
            raise DataError(f"Expected words that are one of the {vocabulary.kind}. Received: exclude={several}")
        excluded += itertools.chain.from_iterable(found.values())
    if len(excluded) == len(vocabulary):
        raise DataError(f"Every word of the vocabulary is left out. Received: exclude={vocabulary.tokens}")
    vocabulary.check_size(model.vocabulary_size)
    return excluded


def sample(
    probabilities: np.ndarray,
    temperature: float,
    random: np.random.Generator,
    top_k: int | None = None,
    top_p: float | None = None,
) -> int:
    """Returns an index drawn from a distribution sharpened or flattened by a temperature.

    Args:
        probabilities: float64 [V], non-negative; need not sum to one.
        temperature: 0 takes the most probable index.
        random: `numpy.random.Generator`.
        top_k: number of most probable indices to draw from; `None` for all.
        top_p: least probability of the most probable indices to draw from; `None` for all.
    """
    if temperature == 0:
        return int(np.argmax(probabilities))
    with np.errstate(divide="ignore", over="ignore"):
        logits = np.log(probabilities)
        weights = np.exp((logits - logits.max()) / temperature)
    weights /= weights.sum()
    if top_k is not None or top_p is not None:
        ranked = np.argsort(-weights, kind="stable")[:top_k]
        if top_p is not None:
            # One more than those that do not reach it.
            ranked = ranked[: 1 + np.searchsorted(np.cumsum(weights[ranked]) / weights[ranked].sum(), top_p)]
        weights = np.where(np.isin(np.arange(len(weights)), ranked), weights, 0)
        weights /= weights.sum()
    return int(random.choice(len(weights), p=weights))


def encode_text(vocabulary: Tokenizer, text: str) -> np.ndarray:
    """Returns the ids of a text that a person typed, after the `<eos>` before it: see `encode_typed` of the tokenizer.

    Args:
        vocabulary: a `Tokenizer`, such as a `Vocabulary`.
        text: any text.

    Returns:
        int32 [T], T at least 1.

    Raises:
        ValueError: if a word is not in a vocabulary without `<unk>`, or if nothing can be read from the text and the
            vocabulary has no `<eos>` to begin with.
    """
    return vocabulary.encode_typed(text)
