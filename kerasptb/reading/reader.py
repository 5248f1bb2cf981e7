"""What a model knows after some tokens, and what reads them: one interface over an engine's network.

`begin`, `read`, `extend` and `score` are all that suggestions, samples, scores, the keyboard and the server ask of a
reader. What batches the calls of many, or remembers what was read, is wrapped around it and knows no model.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from kerasptb.data.lexicon import Lexicon
from kerasptb.data.text_format import TextFormat
from kerasptb.engine import Network, entropies
from kerasptb.reading.context import Beginning, Context
from kerasptb.utils.status_line import tracked

# Tokens that are read at once, and rows of log probabilities that are in memory at once when a text is scored: 20 MB at
# V = 10,000.
_READ_TOGETHER, _SCORED_TOGETHER = 1000, 512


class Reader:
    """Reads tokens. It keeps no state, and several threads may use it.

    Shapes: B rows, T tokens, S numbers of a state, D inputs of the logits layer, V tokens of the vocabulary.

    Args:
        network: the `kerasptb.engine.Network`; or what has its `vocabulary_size`, `state_size`, `encode`,
            `log_likelihoods`, `hidden_after` and `log_probabilities`, for a model of your own.
        text_format: how the model's text is read: a `TextFormat` with its tokenizer.

    Attributes:
        network: the same, like `text_format`.
        tokenizer: its `Tokenizer`.
        state_size: S.
        lexicon: the `Lexicon` of words that are known where what was typed is corrected; `None` for none.

    Raises:
        ValueError: the format has no tokenizer, or one of another number of tokens.
    """

    lexicon: Lexicon | None = None

    def __init__(self, network: Network | Any, text_format: TextFormat) -> None:
        if text_format.tokenizer is None:
            raise ValueError(
                "Expected a model that knows its tokenizer: give it as `tokenizer` where the model is made"
            )
        text_format.tokenizer.check_size(network.vocabulary_size)
        self.network, self.text_format, self.tokenizer = network, text_format, text_format.tokenizer
        self.state_size = network.state_size

    @functools.cached_property
    def fingerprint(self) -> str:
        """Hexadecimal digest of weights and tokenizer, the same in every process that has the same model."""
        digest = hashlib.blake2b(self.tokenizer.digest.encode(), digest_size=8)
        for weight in self.network.weights:
            digest.update(weight.tobytes())
        return digest.hexdigest()

    def encode(self, tokens: np.ndarray, states: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns the inputs of the logits layer after each token, and the states after the last of each row.

        Args:
            tokens: int32 [B, T].
            states: float32 [B, S], before them.

        Returns:
            hidden: float32 [B, T, D].
            states: float32 [B, S].
        """
        return self.network.encode(tokens, states)

    def log_likelihoods(
        self, tokens: np.ndarray, targets: np.ndarray, states: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Returns the log probability of each target after the tokens up to there, and the states as `encode` does.

        Args:
            tokens: int32 [B, T].
            targets: int32 [B, T].
            states: float32 [B, S], before them.

        Returns:
            log_likelihoods: float32 [B, T], natural logarithms.
            states: float32 [B, S].
        """
        return self.network.log_likelihoods(tokens, targets, states)

    def begin(self) -> Context:
        """Returns the `Context` before any text: after the end of a paragraph, if the tokenizer has it."""
        zero = Context(np.zeros(self.state_size, "float32"), None)
        return zero if self.tokenizer.eos_id is None else self.extend([zero], [self.tokenizer.eos_id])[0]

    def read(self, context: Context, tokens: np.ndarray) -> Context:
        """Returns the `Context` after further tokens, int32 [T]."""
        if not len(tokens):
            return context
        states = context.state[np.newaxis]
        for start in range(0, len(tokens), _READ_TOGETHER):
            hidden, states = self.encode(tokens[np.newaxis, start : start + _READ_TOGETHER], states)
        return self.contexts(hidden[:, -1], states)[0]

    def read_typed(self, text: str) -> Context:
        """Returns the `Context` after a text that a person typed.

        Raises:
            UnknownWordError: a word is unknown, and there is no `unk_id`.
            DataError: nothing can be read from the text, and the tokenizer has no `eos_id`.
        """
        ids = self.tokenizer.encode_typed(self.text_format.signs.read(text))
        return self.read(Context(np.zeros(self.state_size, "float32"), None), ids)

    def extend(self, contexts: Sequence[Context], tokens: Sequence[int]) -> list[Context]:
        """Returns the `Context`s after one more token each, read together."""
        if not contexts:
            return []
        states = np.stack([context.state for context in contexts])
        hidden, states = self.encode(np.asarray(tokens, "int32")[:, np.newaxis], states)
        return self.contexts(hidden[:, 0], states)

    def after(self, beginnings: Sequence[Beginning]) -> list[Context]:
        """Returns the `Context`s after the last piece of `Beginning`s of words, see `search_words`."""
        return self.extend([each.context for each in beginnings], [each.piece for each in beginnings])

    def read_together(self, texts: Sequence[tuple[Context, np.ndarray]]) -> list[Context]:
        """Returns the `Context`s after pairs of one and its tokens, in as many calls as the longest has tokens."""
        results = [context for context, _ in texts]
        for t in range(max((len(tokens) for _, tokens in texts), default=0)):
            rows = [i for i, (_, tokens) in enumerate(texts) if t < len(tokens)]
            after = self.extend([results[i] for i in rows], [texts[i][1][t] for i in rows])
            for i, context in zip(rows, after, strict=True):
                results[i] = context
        return results

    def score(self, context: Context, tokens: np.ndarray) -> np.ndarray:
        """Returns the log probability of each of some tokens, int32 [T], after a `Context` and those before it.

        Returns:
            float32 [T], natural logarithms; NaN for a first token before which nothing was read.
        """
        return np.concatenate(list(self.score_in_pieces(context, tokens)))

    def score_in_pieces(self, context: Context, tokens: np.ndarray) -> Iterator[np.ndarray]:
        """Yields what `score` returns in pieces, the first without reading, and others when they are asked for."""
        first = np.full(len(tokens[:1]), np.nan, "float32")
        yield first if context.log_probabilities is None else context.log_probabilities[tokens[:1]]
        states = context.state[np.newaxis]
        for start in tracked("Reading", range(0, len(tokens) - 1, _SCORED_TOGETHER)):
            targets = tokens[start + 1 : start + 1 + _SCORED_TOGETHER]
            read = tokens[start : start + len(targets)]
            rows, states = self.log_likelihoods(read[np.newaxis], targets[np.newaxis], states)
            yield rows[0]

    def resume(self, states: Sequence[np.ndarray]) -> list[Context]:
        """Returns the `Context`s of states, float32 [S] each: the next token depends on the state alone."""
        return self.contexts(self.hidden_after(np.stack(states)), np.stack(states))

    def hidden_after(self, states: np.ndarray) -> np.ndarray:
        """Returns the inputs of the logits layer, float32 [N, D], after states, float32 [N, S]."""
        return self.network.hidden_after(states)

    def log_probabilities(self, hidden: np.ndarray) -> np.ndarray:
        """Returns those of the next token, natural logarithms, float32 [N, V], from hidden, float32 [N, D]."""
        return self.network.log_probabilities(hidden)

    @functools.cached_property
    def ends_word(self) -> np.ndarray:
        """Whether a word that stands between white space ends before each token, bool [V]: it begins with a space."""
        return np.array([text[:1].isspace() for text in self.tokenizer.written])

    def describe(self, log_probabilities: np.ndarray) -> np.ndarray:
        """Returns what distributions of the next token say, natural logarithms, float32 [N, V].

        Returns:
            float64 [N, 2]: the entropy in bits, and the natural logarithm of the probability that a word ends there.
        """
        ends = np.exp(log_probabilities[:, self.ends_word]).sum(axis=1, dtype="float64")
        return np.stack([entropies(log_probabilities), np.log(np.clip(ends, 1e-30, 1.0))], axis=1)

    def count_shares(self, hidden: np.ndarray) -> np.ndarray:
        """Returns the shares that counts have in the `log_probabilities` of hidden, float64 [N]; 0 without."""
        return np.zeros(len(hidden))

    def contexts(self, hidden: np.ndarray, states: np.ndarray) -> list[Context]:
        """Returns the `Context`s of rows, from hidden, float32 [N, D], and states, float32 [N, S]."""
        rows = self.log_probabilities(hidden)
        # Copies, because a view of a row would keep the whole batch in memory.
        return [Context(state.copy(), row.copy()) for state, row in zip(states, rows, strict=True)]


def open_reader(model: Any) -> Reader:
    """Returns what reads with a model: a `Reader` as it is, or that of a `LanguageModel` as its weights are now.

    Raises:
        ValueError: if it is none of these, or the model does not know its tokenizer.
    """
    if isinstance(model, Reader):
        return model
    if hasattr(model, "open_reader"):
        return model.open_reader()
    raise ValueError(
        "Expected a LanguageModel, what `load_reader` returns, or a `kerasptb.reading.Reader` for a model of your own "
        f"(docs/layers.md). Received: {type(model).__name__}"
    )
