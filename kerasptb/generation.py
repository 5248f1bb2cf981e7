"""Next words: suggestions after a text, as a phone's keyboard gives them, and text sampled word by word."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

from kerasptb.data import EOS, UNK, DataError, Vocabulary
from kerasptb.data.typed_text import LINE_END, read_words

if TYPE_CHECKING:
    from kerasptb.models import LanguageModel


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
    model: LanguageModel, vocabulary: Vocabulary, text: str, k: int = 5, exclude: Iterable[str] = (UNK,)
) -> list[Suggestion]:
    """Returns the most probable next words after a text.

    Args:
        model: a `LanguageModel`.
        vocabulary: its `Vocabulary`.
        text: the text so far, read as the beginning of a sentence, see `encode_text`; may be empty.
        k: number of suggestions, from 1 to V.
        exclude: words that are never suggested, or one word. The probabilities are not rescaled for the words left out.

    Returns:
        List of k `Suggestion`, the most probable first.

    Raises:
        ValueError: if `k` is out of range, if the vocabulary does not have the model's size, or if it has no `<unk>`
            and the text contains a word that is not in it.
    """
    excluded = _excluded_ids(model, vocabulary, exclude)
    if not 1 <= k <= len(vocabulary) - len(excluded):
        raise ValueError(f"`k` must be from 1 to {len(vocabulary) - len(excluded)}. Received: k={k}")
    probabilities = model.next_word_probabilities(encode_text(vocabulary, text)[np.newaxis])[0]
    ranked = probabilities.copy()
    ranked[excluded] = -1.0
    # In ties the lower id, the more frequent word, comes first.
    best = np.argsort(-ranked, kind="stable")[:k]
    return [Suggestion(vocabulary.words[i], float(probabilities[i])) for i in best]


def generate(
    model: LanguageModel,
    vocabulary: Vocabulary,
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
        vocabulary: its `Vocabulary`.
        prompt: the text that the words continue, see `suggest`.
        num_words: number of words to sample.
        temperature: divisor of the logits. Below 1 probable words become more probable, above 1 less; 0 always takes
            the most probable word.
        seed: seed of the sampling, an int; `None` draws one.
        exclude: words that are never sampled, or one word.
        top_k: number of most probable words that are sampled from; `None` for all (Fan et al., 2018).
        top_p: least probability of the most probable words that are sampled from, in (0, 1], at this temperature:
            nucleus sampling (Holtzman et al., 2020). `None` for 1.

    Returns:
        List of `num_words` words; sentences end in `<eos>`.

    Raises:
        ValueError: if `num_words` or `temperature` is negative, `top_k` is below 1 or `top_p` not in (0, 1], and as in
            `suggest`.
    """
    if num_words < 0:
        raise ValueError(f"`num_words` must be 0 or more. Received: num_words={num_words}")
    if not temperature >= 0 or np.isinf(temperature):
        raise ValueError(f"`temperature` must be 0 or more, and finite. Received: temperature={temperature}")
    if top_k is not None and top_k < 1:
        raise ValueError(f"`top_k` must be 1 or more. Received: top_k={top_k}")
    if top_p is not None and not 0 < top_p <= 1:
        raise ValueError(f"`top_p` must be above 0 and at most 1. Received: top_p={top_p}")
    random = np.random.default_rng(seed)
    excluded = _excluded_ids(model, vocabulary, exclude)
    tokens, words, state = encode_text(vocabulary, prompt), [], None
    for _ in range(num_words):
        (of_next,), state = model.stateless_next_word_probabilities(tokens[np.newaxis], state)
        probabilities = of_next.astype(np.float64)
        probabilities[excluded] = 0.0
        token = sample(probabilities, temperature, random, top_k, top_p)
        words.append(vocabulary.words[token])
        tokens = np.array([token], np.int32)
    return words


def _excluded_ids(model, vocabulary, exclude):
    """Returns the ids of the excluded words; raises if no word is left, or the vocabulary's size is not the model's."""
    words = {exclude} if isinstance(exclude, str) else set(exclude)
    excluded = [vocabulary.word_to_id[word] for word in words if word in vocabulary]
    if len(excluded) == len(vocabulary):
        raise DataError(f"Every word of the vocabulary is left out. Received: exclude={tuple(vocabulary.words)}")
    vocabulary.check_size(model.vocabulary_size)
    return excluded


def as_text(prompt: str, words: Iterable[str]) -> str:
    """Returns a prompt and the words that continue it as lines of text, one for each sentence.

    Args:
        prompt: the text as it was typed.
        words: list of words; a sentence ends in `<eos>`.
    """
    lines = [line.split() for line in LINE_END.split(prompt)]
    for word in words:
        if word == EOS:
            lines.append([])
        else:
            lines[-1].append(word)
    return "\n".join(" ".join(line) for line in lines).removesuffix("\n")


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


def encode_text(vocabulary: Vocabulary, text: str) -> np.ndarray:
    """Returns the ids of a text that a person typed, after the `<eos>` that comes before every sentence.

    Args:
        vocabulary: a `Vocabulary`.
        text: any text. Each part between white space is looked up in the vocabulary as it is written, then in lower
            case ("Mr."). If it is not there, it is split as in the Penn Treebank, and its parts are looked up in the
            same way: first without the punctuation around it, then word by word. Unknown numbers become `N`, other
            unknown words `<unk>`. Punctuation that is not in the vocabulary is dropped. A line's end is `<eos>`.

    Returns:
        int32 [T], T at least 1.

    Raises:
        ValueError: if a word is not in a vocabulary without `<unk>`, or if nothing can be read from the text and the
            vocabulary has no `<eos>` to begin with.
    """
    words = [EOS] if EOS in vocabulary else []
    words.extend(word for word, _ in read_words(vocabulary, text))
    if not words:
        raise ValueError("Expected a text with at least one word: the vocabulary has no <eos> to begin with.")
    return vocabulary.encode(words)
