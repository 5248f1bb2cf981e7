"""What a model knows after some tokens, and what reads them: one interface, whatever the model runs on.

A reader has the model's layers as functions of arrays. `begin`, `read`, `extend` and `score` are all that suggestions,
samples, scores, the keyboard and the server ask of it. What batches the calls of many, or remembers what was read, is
wrapped around it and knows no model.
"""

from __future__ import annotations

import abc
from collections.abc import Iterator, Sequence

import keras
import numpy as np

from kerasptb.cells import CELLS
from kerasptb.data.lexicon import Lexicon
from kerasptb.data.text_format import USUAL, TextFormat
from kerasptb.models import LanguageModel
from kerasptb.models.language_model import few_lengths
from kerasptb.reading.context import Beginning, Context
from kerasptb.utils.products import multiply_rows

# Rows of log probabilities that are in memory at once when a text is scored: 20 MB at V = 10,000.
_SCORED_TOGETHER = 512


class Reader(abc.ABC):
    """Reads tokens. It keeps no state, and several threads may use it.

    Shapes: B rows, T tokens, S numbers of a state, D inputs of the logits layer, V tokens of the vocabulary.

    Args:
        text_format: how the model's text is read: a `TextFormat` with its tokenizer.
        dense: kernel [D, V] and bias [V] of the layers after the recurrent ones, float32, that of the logits last.
        state_sizes: sizes of the tensors of a state, in order.
        output: which of them is the output of the last recurrent layer.

    Attributes:
        text_format: the same, like `dense`, `state_sizes` and `output`.
        tokenizer: its `Tokenizer`.
        state_size: S.
        lexicon: the `Lexicon` of words that are known where what was typed is corrected; `None` for none.
    """

    lexicon: Lexicon | None = None

    def __init__(
        self,
        text_format: TextFormat,
        dense: Sequence[tuple[np.ndarray, np.ndarray]],
        state_sizes: Sequence[int],
        output: int,
    ) -> None:
        if text_format.tokenizer is None:
            raise ValueError(
                "Expected a model that knows its tokenizer: give it as `tokenizer` where the model is made"
            )
        self.text_format, self.tokenizer = text_format, text_format.tokenizer
        self.dense, self.state_sizes, self.output = dense, state_sizes, output
        *self._projections, (self._kernel, self._bias) = dense
        self.state_size = sum(state_sizes)
        end = sum(state_sizes[: output + 1])
        self._output = slice(end - state_sizes[output], end)

    @property
    def fingerprint(self) -> str:
        """Hexadecimal digest of the model and its tokenizer, the same in every process that has the same model.

        Raises:
            NotImplementedError: of a model of Keras, whose weights may change at any time.
        """
        raise NotImplementedError

    @abc.abstractmethod
    def encode(self, tokens: np.ndarray, states: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns the inputs of the logits layer after each token, and the states after the last of each row.

        Args:
            tokens: int32 [B, T], T at least 1.
            states: float32 [B, S], before them.

        Returns:
            hidden: float32 [B, T, D].
            states: float32 [B, S].
        """

    @abc.abstractmethod
    def log_likelihoods(
        self, tokens: np.ndarray, targets: np.ndarray, states: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Returns the log probability of each target after the tokens up to there, and the states as `encode` does.

        Args:
            tokens: int32 [B, T], T at least 1.
            targets: int32 [B, T].
            states: float32 [B, S], before them.

        Returns:
            log_likelihoods: float32 [B, T], natural logarithms.
            states: float32 [B, S].
        """

    def begin(self) -> Context:
        """Returns the `Context` before any text: after the end of a paragraph, if the tokenizer has it."""
        zero = Context(np.zeros(self.state_size, "float32"), None)
        return zero if self.tokenizer.eos_id is None else self.extend([zero], [self.tokenizer.eos_id])[0]

    def read(self, context: Context, tokens: np.ndarray) -> Context:
        """Returns the `Context` after further tokens, int32 [T]."""
        if not len(tokens):
            return context
        hidden, states = self.encode(tokens[np.newaxis], context.state[np.newaxis])
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
        for start in range(0, len(tokens) - 1, _SCORED_TOGETHER):
            targets = tokens[start + 1 : start + 1 + _SCORED_TOGETHER]
            read = tokens[start : start + len(targets)]
            rows, states = self.log_likelihoods(read[np.newaxis], targets[np.newaxis], states)
            yield rows[0]

    def resume(self, states: Sequence[np.ndarray]) -> list[Context]:
        """Returns the `Context`s of states, float32 [S] each: the next token depends on the state alone."""
        return self.contexts(self.hidden_after(np.stack(states)), np.stack(states))

    def hidden_after(self, states: np.ndarray) -> np.ndarray:
        """Returns the inputs of the logits layer, float32 [N, D], after states, float32 [N, S]."""
        hidden = states[:, self._output]
        for kernel, bias in self._projections:
            hidden = hidden @ kernel + bias
        return hidden

    def log_probabilities(self, hidden: np.ndarray) -> np.ndarray:
        """Returns those of the next token, natural logarithms, float32 [N, V], from hidden, float32 [N, D]."""
        scores = multiply_rows(hidden, self._kernel)
        scores += self._bias
        scores -= scores.max(axis=1, keepdims=True)
        scores -= np.log(np.exp(scores).sum(axis=1, keepdims=True))
        return scores

    def count_shares(self, hidden: np.ndarray) -> np.ndarray:
        """Returns the shares that counts have in the `log_probabilities` of hidden, float64 [N]; 0 without."""
        return np.zeros(len(hidden))

    def warm_up(self) -> None:
        """Traces what the first calls would trace."""
        context, tokens = self.begin(), np.zeros(2, "int32")
        self.resume([self.extend([context], [0])[0].state])
        self.read(context, tokens)
        self.score(context, tokens)

    def contexts(self, hidden: np.ndarray, states: np.ndarray) -> list[Context]:
        """Returns the `Context`s of rows, from hidden, float32 [N, D], and states, float32 [N, S]."""
        rows = self.log_probabilities(hidden)
        # Copies, because a view of a row would keep the whole batch in memory.
        return [Context(state.copy(), row.copy()) for state, row in zip(states, rows, strict=True)]


class ModelReader(Reader):
    """Reads with a `LanguageModel`, on the backend and in the precision that it has.

    Args:
        model: the model. It need not be compiled.

    Raises:
        ValueError: if the model does not know its tokenizer.
    """

    def __init__(self, model: LanguageModel) -> None:
        model.check_can_be_asked()
        state = model.get_initial_state(1)
        self._model, self._structure = model, state
        flat = keras.tree.flatten(state)
        self._dtype = flat[0].dtype
        sizes = [each.shape[-1] for each in flat]
        self._ends = np.cumsum(sizes)[:-1]
        cell = CELLS[model.cell]
        names = list(cell.state_sizes(model.units))
        output = names.index(cell.output_state(names))
        super().__init__(model.text_format or USUAL, list(_dense(model)), sizes, output)

    def encode(self, tokens: np.ndarray, states: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns what `Reader.encode` says."""
        hidden, state = self._encode(tokens, states)
        return _numpy(hidden), self._packed(state)

    def log_likelihoods(
        self, tokens: np.ndarray, targets: np.ndarray, states: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Returns what `Reader.log_likelihoods` says, without the logits of other tokens where kernels do it."""
        hidden, state = self._encode(tokens, states)
        factors = self._model.get_layer("logits").factors(hidden)
        losses = factors.cross_entropy(keras.ops.convert_to_tensor(targets, "int32"), reduction="none")
        return -_numpy(losses), self._packed(state)

    def _encode(self, tokens, states):
        num_rows = len(tokens)
        tokens, states = _padded(tokens), _padded(states)
        tokens, parts = keras.ops.convert_to_tensor(tokens, "int32"), []
        arrays = [keras.ops.convert_to_tensor(each, self._dtype) for each in np.split(states, self._ends, axis=1)]
        state = keras.tree.pack_sequence_as(self._structure, arrays)
        for start, end in few_lengths(tokens.shape[1]):
            hidden, state = self._model.stateless_encode(tokens[:, start:end], state)
            parts.append(hidden)
        hidden = keras.ops.concatenate(parts, axis=1) if len(parts) > 1 else parts[0]
        return hidden[:num_rows], keras.tree.map_structure(lambda each: each[:num_rows], state)

    def _packed(self, state):
        return np.concatenate([_numpy(each) for each in keras.tree.flatten(state)], axis=1)


def _padded(rows):
    """Returns rows with zeros behind them up to a power of two: native operations are compiled for each number."""
    return np.pad(rows, [(0, 2 ** (len(rows) - 1).bit_length() - len(rows)), (0, 0)])


def entropies(log_probabilities: np.ndarray) -> np.ndarray:
    """Returns the entropies of distributions, natural logarithms, float32 [N, V], in bits, float64 [N]."""
    return -(np.exp(log_probabilities) * log_probabilities).sum(axis=1, dtype="float64") / np.log(2)


def open_reader(model: LanguageModel | Reader) -> Reader:
    """Returns what reads with a model: a `Reader` as it is.

    Raises:
        ValueError: if it is none of these, or the model does not know its tokenizer.
    """
    if isinstance(model, LanguageModel):
        return ModelReader(model)
    if not isinstance(model, Reader):
        raise ValueError(
            "Expected a LanguageModel, what `load_saved_model` returns, or a `kerasptb.reading.Reader` for a model of "
            f"your own (docs/layers.md). Received: {type(model).__name__}"
        )
    return model


def _dense(model):
    """Yields kernel and bias of the dense layers after the recurrent ones, as NumPy arrays."""
    if model.projection:
        layer = model.get_layer("projection")
        yield _numpy(layer.kernel), _numpy(layer.bias)
    factors = model.get_layer("logits").factors(keras.ops.zeros((1, model.get_layer("logits").input.shape[-1])))
    kernel = _numpy(factors.kernel)
    yield kernel.T if factors.transpose_kernel else kernel, _numpy(factors.bias)


def _numpy(tensor):
    return np.asarray(keras.ops.convert_to_numpy(tensor)).astype("float32", copy=False)
