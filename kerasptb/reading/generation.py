"""Text sampled from a model, word by word."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from kerasptb.arguments import SamplingArguments
from kerasptb.data import EOS, UNK, DataError, Tokenizer
from kerasptb.data.errors import check_text
from kerasptb.data.scripts import is_unspaced
from kerasptb.data.tokenizers.written_text import comes_unspaced
from kerasptb.reading.context import Context
from kerasptb.reading.pieces import WordPieces, pieces_of
from kerasptb.reading.reader import Reader, open_reader

# Of the words that the first model of English wrote, so many were none (that 70,000 words of other texts have): 10 % at
# temperature 1, 4 % from 0.9 of the probability, 0.2 % at 0.7. A few unlikely pieces make a word that is none.
_OF_PIECES = 0.7
_LONGEST = 40  # tokens after which a word is counted, so that a text without words ends


def generate(
    model: Any,
    prompt: str = "",
    words: int = 50,
    temperature: float | None = None,
    seed: int | None = None,
    exclude: str | Iterable[str] = (UNK,),
    *,
    tokens: int | None = None,
    top_k: int | None = None,
    top_p: float | None = None,
) -> list[str]:
    """Returns words sampled from the model one after another.

    Args:
        model: as in `suggest`.
        prompt: the text that the words continue, see `suggest`.
        words: number of words to sample, with a letter or a digit each. Signs of punctuation and ends of paragraphs
            come between them.
        temperature: divisor of the logits. Below 1 probable words become more probable, above 1 less; 0 always takes
            the most probable word. `None` for 0.7 where tokens are pieces of words, else 1.
        seed: seed of the sampling, an int; `None` draws one.
        exclude: words that are never sampled, or one word. Of subwords or characters, also words that begin with the
            token of one are not.
        tokens: number of tokens to sample, in place of `words`; `None` for as many as these take.
        top_k: number of most probable words that are sampled from; `None` for all (Fan et al., 2018).
        top_p: least probability of the most probable words that are sampled from, in (0, 1], at this temperature:
            nucleus sampling (Holtzman et al., 2020). `None` for 1.

    Returns:
        List of words and signs, the last a word; sentences, or paragraphs, end in `<eos>`. Each 40 tokens after which
        no word has begun count as one.

    Raises:
        ValueError: if an argument is out of range, if a word to exclude has several tokens, and as in `suggest`.
    """
    reader, settings = open_reader(model), SamplingArguments(words, tokens, temperature, top_k, top_p, seed)
    sampled: list[bytearray] = []
    pieces = pieces_of(reader.tokenizer)
    for token in _sampled(reader, prompt, exclude, settings):
        if pieces.ends_word[token] or not sampled:
            sampled.append(bytearray())
        sampled[-1].extend(reader.tokenizer.pieces[token])
    written = [word.decode(errors="replace") for word in sampled]
    return [EOS if word == "\n" else word.strip() for word in written]


def generate_text(
    model: Any,
    prompt: str = "",
    words: int = 50,
    temperature: float | None = None,
    seed: int | None = None,
    exclude: str | Iterable[str] = (UNK,),
    *,
    tokens: int | None = None,
    top_k: int | None = None,
    top_p: float | None = None,
) -> str:
    """Returns a prompt and the words that `generate` samples after it as a text, with its spaces and line ends.

    Args:
        model: as in `generate`, like the other arguments and what is raised.
        prompt: the text that the words continue.
        words: number of words to sample.
        temperature: divisor of the logits.
        seed: seed of the sampling.
        exclude: words that are never sampled.
        tokens: number of tokens to sample instead.
        top_k: number of most probable tokens that are sampled from.
        top_p: least probability of those.
    """
    reader, settings = open_reader(model), SamplingArguments(words, tokens, temperature, top_k, top_p, seed)
    ids = list(_sampled(reader, prompt, exclude, settings))
    return reader.tokenizer.continued(prompt, ids)


def _sampled(reader: Reader, prompt: str, exclude: str | Iterable[str], settings: SamplingArguments) -> Iterator[int]:
    """Yields the ids of so many words, or tokens, sampled one after another."""
    random, pieces = np.random.default_rng(settings.seed), pieces_of(reader.tokenizer)
    temperature = settings.temperature
    if temperature is None:
        temperature = _OF_PIECES if reader.tokenizer.spells else 1.0
    excluded = _excluded_ids(reader.tokenizer, {exclude} if isinstance(exclude, str) else set(exclude))
    prompt = check_text(prompt).rstrip(" ")
    context: Context = reader.read_typed(prompt)
    is_whole = not comes_unspaced(prompt, reader.tokenizer.first) and not is_unspaced(prompt[-1:] or " ")
    left, begins = _Left(pieces, settings), True
    while not left.is_done:
        probabilities = np.exp(context.known(), dtype="float64")
        probabilities[excluded] = 0.0
        if begins and is_whole:
            probabilities[pieces.going_on] = 0.0  # the prompt's last word
        token = sample(probabilities, temperature, random, settings.top_k, settings.top_p)
        if not left.take(token, begins):
            return
        begins = False
        yield token
        (context,) = reader.extend([context], [token])


class _Left:
    """What is left to sample: words, of which what comes after the last shows that it has ended, or tokens."""

    def __init__(self, pieces: WordPieces, settings: SamplingArguments) -> None:
        self._pieces, self._words, self._tokens = pieces, settings.words, settings.tokens
        self._is_counted, self._since = False, 0  # the word that is sampled, and the tokens since one was counted

    @property
    def is_done(self) -> bool:
        """Whether nothing is left, whatever comes next."""
        return not self._words and self._pieces.are_words if self._tokens is None else not self._tokens

    def take(self, token: int, begins: bool) -> bool:
        """Counts a token, which may begin a word whatever it is; returns whether it is one of those that were left."""
        if self._tokens is not None:
            self._tokens -= 1
            return True
        starts = begins or bool(self._pieces.ends_word[token])
        if not self._words and (starts or self._since == _LONGEST):
            return False
        self._is_counted = self._is_counted and not starts
        if (self._pieces.has_letter[token] and not self._is_counted) or self._since == _LONGEST:
            self._words, self._is_counted, self._since = self._words - 1, True, 0
        self._since += 1
        return True


def _excluded_ids(tokenizer: Tokenizer, words: set[str]) -> list[int]:
    """Returns the ids of words, each of one token; raises if a word has several, or if no word is left."""
    pieces = pieces_of(tokenizer)
    found: dict[str, list[int]] = {word: [] for word in words}
    named = {tokenizer.eos_id: EOS, tokenizer.unk_id: UNK}
    for index in np.flatnonzero(pieces.ends_word).tolist():
        found.get(named.get(index) or pieces.written[index].strip(), []).append(index)
    optional = words if pieces.are_words else {EOS, UNK}
    if several := sorted(word for word, ids in found.items() if not ids and word not in optional):
        raise DataError(f"Expected words that are one of the {tokenizer.kind}. Received: exclude={several}")
    excluded = [index for ids in found.values() for index in ids]
    if len(excluded) == len(tokenizer):
        raise DataError(f"Every word of the vocabulary is left out. Received: exclude={tokenizer.tokens}")
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
