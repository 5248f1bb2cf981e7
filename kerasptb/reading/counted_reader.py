"""A model beside the counts of a text: each distribution of the network is refined by what followed the last tokens.

`kerasptb.reading.counts` has the formula. A `CountedReader` reads as the reader that it wraps; its states hold the last
tokens too, so all that reads with a model reads with counts.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
from collections.abc import Iterator

import numpy as np

from kerasptb.reading.context import Context
from kerasptb.reading.counts import (
    DEPTH,
    find_parts,
    initial_weights,
    kept_shares,
    log_unigrams,
    mix_parts,
    open_counts,
)
from kerasptb.reading.reader import Reader
from kerasptb.utils.status_line import tracked

# Tokens of which the parts are found together, and how often the weights go over a text, with what rate.
_TOGETHER = 1024
_RATES = (0.02, 0.02, 0.02, 0.02, 0.005, 0.005, 0.005, 0.005)
_GOING_ON = 0.02


@dataclasses.dataclass(frozen=True, eq=False)
class CountedText:
    """The counts of a training text, with weights that were learned on another.

    Attributes:
        tokens: int32 [N], the text.
        order: int32 [N], of `sort_positions`.
        weights: float32, by which they refine the network.
        going_on: float32, by which the counts of what is read refine that, where they go on.
        alone: float32, by which they refine the `log_unigrams` of the text, with no network.
    """

    tokens: np.ndarray
    order: np.ndarray
    weights: np.ndarray
    going_on: np.ndarray
    alone: np.ndarray

    @property
    def digest(self) -> bytes:
        """16 bytes that tell the text and the weights from others."""
        digest = hashlib.blake2b(digest_size=16)
        for field in dataclasses.fields(self):
            digest.update(np.ascontiguousarray(getattr(self, field.name)).data)
        return digest.digest()


class CountedReader(Reader):
    """Reads with a network, and with the counts of a text.

    A state is that of the network, and the last 16 tokens: each plus one, 0 where there was none. Nothing else is
    kept, so the counts are those of the training text alone; `score_going_on` also counts what it reads.

    Args:
        network: the `Reader` of the network.
        counts: the `CountedText`.

    Attributes:
        alone: that reader.
    """

    def __init__(self, network: Reader, counts: CountedText) -> None:
        super().__init__(network.network, network.text_format)
        self.alone, self._text_counts, self.state_size = network, counts, network.state_size + DEPTH
        self._counts = open_counts(counts.tokens, counts.order)

    @functools.cached_property
    def fingerprint(self) -> str:
        """Hexadecimal digest of the network, the tokenizer and the counts."""
        both = f"{self.alone.fingerprint} {self._text_counts.digest.hex()}"
        return hashlib.blake2b(both.encode(), digest_size=8).hexdigest()

    def encode(self, tokens: np.ndarray, states: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns what `Reader.encode` says; the last tokens are behind the inputs of the logits layer."""
        hidden, after = self.alone.encode(tokens, states[:, :-DEPTH])
        histories = np.lib.stride_tricks.sliding_window_view(_with_history(states, tokens), DEPTH, axis=1)[:, 1:]
        return np.concatenate([hidden, histories], axis=2), np.concatenate([after, histories[:, -1]], axis=1)

    def log_likelihoods(
        self, tokens: np.ndarray, targets: np.ndarray, states: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Returns what `Reader.log_likelihoods` says."""
        values, after = self.alone.log_likelihoods(tokens, targets, states[:, :-DEPTH])
        read, targets = _with_history(states, tokens), np.ascontiguousarray(targets, "int32")
        values, weights = np.array(values), self._text_counts.weights
        for row, context, of_row in zip(values, read.astype("int32") - 1, targets, strict=True):
            mix_parts(weights, 0.0, *find_parts(self._counts, context[1:], of_row), row)
        return values, np.concatenate([after, read[:, -DEPTH:]], axis=1)

    def of_counts(self, tokens: np.ndarray, targets: np.ndarray, states: np.ndarray) -> np.ndarray:
        """Returns the log probability of each target by the counts alone, without the network.

        Args:
            tokens: int32 [B, T], as for `log_likelihoods`.
            targets: int32 [B, T].
            states: float32 [B, S], before them.

        Returns:
            float32 [B, T], natural logarithms.
        """
        read = _with_history(states, tokens).astype("int32") - 1
        pairs = zip(read, np.ascontiguousarray(targets, "int32"), strict=True)
        return np.stack([self._by_counts(context[1:], of_row) for context, of_row in pairs])

    @functools.cached_property
    def _unigrams(self) -> np.ndarray:
        return log_unigrams(self._text_counts.tokens, self.network.vocabulary_size)

    def _by_counts(self, context: np.ndarray, targets: np.ndarray) -> np.ndarray:
        """Returns the log probabilities of targets, int32 [T], by the counts alone; the context as in `find_parts`."""
        values = self._unigrams[targets]
        mix_parts(self._text_counts.alone, 0.0, *find_parts(self._counts, context, targets), values)
        return values

    def score_going_on(
        self, tokens: np.ndarray, of_network: np.ndarray | None = None
    ) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Yields the log probabilities of a text's tokens, counts of which go on while it is read, in pieces.

        Args:
            tokens: int32 [T], read from a zero state; the first has none.
            of_network: float [T - 1], what to refine, such as of a network that adapts; `None` for the network's.

        Yields:
            network, with_counts, going_on: float32 [N] each, natural logarithms: of the network alone, with the counts
                of the training text, and with those of the text before too. There all weights go on learning.
        """
        text, read = self._text_counts, open_counts()
        learned, going_on = text.weights.copy(), text.going_on.copy()
        tokens = np.ascontiguousarray(tokens, "int32")
        read.append(tokens[:1])
        of_network = _score(self.alone, tokens) if of_network is None else of_network
        for targets, context, values in _pieces(tokens, of_network):
            parts = find_parts(self._counts, context, targets)
            with_counts, together = values.copy(), values.copy()
            mix_parts(text.weights, 0.0, *parts, with_counts)
            mix_parts(learned, _GOING_ON, *parts, together)
            mix_parts(going_on, _GOING_ON, *find_parts(read, context, targets, append=True), together)
            yield values, with_counts, together

    def describe_going_on(self, tokens: np.ndarray) -> Iterator[np.ndarray]:
        """Yields what `score_going_on` says with the counts of the text before too, and of which distributions.

        Args:
            tokens: int32 [T], read from a zero state; the first has none.

        Yields:
            float64 [N, 6]: the log probability; what `describe` says of the distribution before the token, and the
                share that all counts have in it; the log probabilities by the network alone and by the counts of the
                training text alone.
        """
        counts, states = (self._counts, open_counts()), np.zeros((1, self.alone.state_size), "float32")
        weights = self._text_counts.weights.copy(), self._text_counts.going_on.copy()
        tokens = np.ascontiguousarray(tokens, "int32")
        counts[1].append(tokens[:1])
        for targets, context, values in _pieces(tokens, _score(self.alone, tokens)):
            hidden, states = self.alone.encode(context[np.newaxis, DEPTH - 1 :], states)
            rows, kept = np.ascontiguousarray(self.alone.log_probabilities(hidden[0])), np.ones(len(targets))
            apart = values.copy(), self._by_counts(context, targets)
            for i in range(len(targets)):
                one, history = slice(i, i + 1), context[i : i + DEPTH]
                for of_one, learned, append in zip(counts, weights, (False, True), strict=True):
                    of_one.mix(learned, history[np.newaxis], rows[one])
                    parts = find_parts(of_one, history, targets[one], append)
                    kept[one] *= kept_shares(learned, *parts)
                    mix_parts(learned, _GOING_ON, *parts, values[one])
            yield np.column_stack([values, self.describe(rows), 1 - kept, *apart])

    def log_probabilities(self, hidden: np.ndarray) -> np.ndarray:
        """Returns what `Reader.log_probabilities` says."""
        rows = np.ascontiguousarray(self.alone.log_probabilities(hidden[:, :-DEPTH]))
        self._counts.mix(self._text_counts.weights, hidden[:, -DEPTH:].astype("int32") - 1, rows)
        return rows

    def count_shares(self, hidden: np.ndarray) -> np.ndarray:
        """Returns what `Reader.count_shares` says."""
        any_token, histories = np.zeros(1, "int32"), hidden[:, -DEPTH:].astype("int32") - 1
        parts = (find_parts(self._counts, history, any_token) for history in histories)
        return 1 - np.concatenate([kept_shares(self._text_counts.weights, *each) for each in parts])

    def hidden_after(self, states: np.ndarray) -> np.ndarray:
        """Returns what `Reader.hidden_after` says."""
        return np.concatenate([self.alone.hidden_after(states[:, :-DEPTH]), states[:, -DEPTH:]], axis=1)


def learn_weights(
    network: Reader, tokens: np.ndarray, order: np.ndarray, valid: np.ndarray
) -> tuple[CountedText, np.ndarray]:
    """Returns the `CountedText` of a text, with weights learned on another that is read from a zero state.

    Args:
        network: the `Reader` of the network.
        tokens: int32 [N], the text.
        order: int32 [N], of `sort_positions`.
        valid: int32 [M], the other.

    Returns:
        counts: the `CountedText`.
        means: float64 [3], mean log probabilities of the other text: of the network alone, with the counts, and with
            those that go on.
    """
    counts, read = open_counts(tokens, order), open_counts()
    read.append(valid[:1])
    pieces = []
    for targets, context, values in _pieces(valid, _score(network, valid)):
        of_read = find_parts(read, context, targets, append=True)
        pieces.append((values, *find_parts(counts, context, targets), *of_read))
    values, parts, numbers, parts_read, numbers_read = map(np.concatenate, zip(*pieces, strict=True))
    weights, with_counts = _learned(parts, numbers, values)
    going_on, together = _learned(parts_read, numbers_read, with_counts)
    alone, _ = _learned(parts, numbers, log_unigrams(tokens, network.network.vocabulary_size)[valid[1:]])
    means = np.array([each.mean(dtype="float64") for each in (values, with_counts, together)])
    return CountedText(tokens, order, weights, going_on, alone), means


def _learned(parts: np.ndarray, numbers: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns weights, and the log probabilities that they give."""
    weights = initial_weights()
    for rate in (*_RATES, 0.0):
        refined = values.copy()
        mix_parts(weights, rate, parts, numbers, refined)
    return weights, refined


def _score(network: Reader, tokens: np.ndarray) -> np.ndarray:
    """Returns the log probabilities of the tokens of a text but the first, read from a zero state, float32 [T - 1]."""
    zero = Context(np.zeros(network.state_size, "float32"), None)
    return network.score(network.read(zero, tokens[:1]), tokens[1:])


def _pieces(tokens: np.ndarray, values: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Yields the tokens of a text but the first, those before each, and a copy of their values, float32, in pieces."""
    padded = np.concatenate([np.full(DEPTH, -1, "int32"), tokens])
    for start in tracked("Reading with counts", range(1, len(tokens), _TOGETHER)):
        targets = tokens[start : start + _TOGETHER]
        context = padded[start : start + len(targets) + DEPTH - 1]
        yield targets, context, np.array(values[start - 1 : start - 1 + len(targets)], "float32")


def _with_history(states: np.ndarray, tokens: np.ndarray) -> np.ndarray:
    """Returns the last tokens of states and those read after them, plus one, float32 [B, DEPTH + T]."""
    return np.concatenate([states[:, -DEPTH:], np.asarray(tokens, "float32") + 1], axis=1)
