"""The functions of an exported model: text or ids in, words or ids and probabilities out, all in the graph."""

import inspect
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import tensorflow as tf

from kerasptb.conversion.ids import IdReader
from kerasptb.conversion.text import TextReader, checked
from kerasptb.data import Tokenizer, Vocabulary
from kerasptb.data.text_format import TextFormat
from kerasptb.models.portable import PortableNetwork
from kerasptb.utils.types import Tensor
from kerasptb.utils.untracked import Untracked

# The number of suggestions if a request gives none, as in `reading.suggest`.
_DEFAULT_K = 5
# A request must not be able to fill the server's memory.
_MAX_GENERATED = 10_000
# Rows of logits that are in memory at once when a text is scored: 20 MB at V = 10,000.
_SCORED_TOGETHER = 512


class Servable(tf.Module):
    """A `PortableNetwork` and a `TextFormat` as stateless TensorFlow functions, which `export_saved_model` describes.

    The format's files, which are saved with it, are written into a folder that must exist until the model is saved.
    """

    def __init__(self, network: PortableNetwork, text_format: TextFormat, folder: Path) -> None:
        super().__init__(name="language_model")
        tokenizer = cast(Tokenizer, text_format.tokenizer)
        path, *others = text_format.save(folder)
        reader: Any = TextReader if isinstance(tokenizer, Vocabulary) else IdReader
        self.reader: TextReader | IdReader = reader(tokenizer, path, text_format.signs.readings)
        self.others = [tf.saved_model.Asset(str(each)) for each in others]
        # The graph needs the variables only: without Keras installed their layers could not be loaded.
        self.weights = [variable.value for variable in network.weights]
        self.cell = tf.Variable(network.cell.name, trainable=False)  # for whoever reads the weights
        self._network = Untracked(network)
        self._num_suggestible = len(tokenizer) - (self.reader.unk_id >= 0)

        text, prompt, k = self.reader.text, self.reader.prompt, _scalar("k")
        tokens = tf.TensorSpec([None, None], tf.int32, name="tokens")
        state = [tf.TensorSpec([None, size], name=name) for name, size in network.state_sizes.items()]
        self.predict_next = _function(self._predict_next, text, k, k=tf.constant(_DEFAULT_K))
        self.step = _function(self._step, tokens, k, *state)
        self.initial_state = _function(self._initial_state, _scalar("batch"))
        self.score = _function(self._score, text)
        count, temperature = _scalar(f"num_{self.reader.written}"), _scalar("temperature", tf.float32)
        self.generate = _function(self._generate, prompt, count, temperature, _scalar("seed"))
        for name, (function, spec) in self.reader.signatures().items():
            setattr(self, name, _function(function, spec))
        self._names = ["predict_next", "step", "initial_state", "score", "generate", *self.reader.signatures()]

    @property
    def signatures(self) -> dict[str, Any]:
        """Dict from the name of each signature to its function."""
        return {"serving_default": self.predict_next, **{name: getattr(self, name) for name in self._names}}

    def _predict_next(self, text: Tensor, k: Tensor) -> dict[str, Tensor]:
        tokens, lengths = self.reader.encode(text)
        # The padding after a text does not affect its own words, so no mask is needed; without it the loop is twice as
        # fast.
        hidden, _ = self._network.value.encode(tokens)
        return self._rank(tf.gather(hidden, lengths - 1, batch_dims=1), k)

    def _step(self, tokens: Tensor, k: Tensor, *states: Tensor) -> dict[str, Tensor]:
        network = self._network.value
        state = dict(zip(network.state_sizes, states, strict=True))
        message = f"Expected `tokens` [B, T] with T at least 1 and ids from 0 to {network.vocabulary_size - 1}"
        valid = tf.reduce_all((tokens >= 0) & (tokens < network.vocabulary_size)) & (tf.shape(tokens)[1] > 0)
        rows = tf.stack([tf.shape(part)[0] for part in state.values()])
        one_each = tf.reduce_all(rows == tf.shape(tokens)[0])
        with (
            checked(valid, message, tokens),
            checked(one_each, f"Expected a row of {', '.join(state)} for each row of `tokens`", rows),
        ):
            hidden, state = network.encode(tf.identity(tokens), state)
        return {**self._rank(hidden[:, -1], k), **state}

    def _initial_state(self, batch: Tensor) -> dict[str, Tensor]:
        with checked(batch > 0, "Expected `batch` of at least 1", batch):
            batch = tf.identity(batch)
        return {name: tf.zeros([batch, size]) for name, size in self._network.value.state_sizes.items()}

    def _score(self, text: Tensor) -> dict[str, Tensor]:
        network = self._network.value
        tokens, lengths = self.reader.encode(text)
        hidden, _ = network.encode(tokens)
        targets, counts = tokens[:, 1:], lengths - 1
        scored = tf.sequence_mask(counts, tf.shape(targets)[1])
        values = self._log_probabilities(tf.boolean_mask(hidden[:, :-1], scored), tf.boolean_mask(targets, scored))
        log_probabilities = tf.RaggedTensor.from_row_lengths(values, counts)
        # The sum is in float64, because in float32 it would lose digits over a long text. The divisor is at least 1, so
        # that an empty text has perplexity 1.
        total = tf.reduce_sum(tf.cast(log_probabilities, tf.float64), axis=1)
        perplexity = tf.exp(-total / tf.cast(tf.maximum(counts, 1), tf.float64))
        return {
            self.reader.written: tf.where(scored, self.reader.decode(targets), self.reader.padding),
            "log_probabilities": log_probabilities.to_tensor(shape=[None, None]),
            f"num_{self.reader.written}": counts,
            "perplexity": tf.cast(perplexity, tf.float32),
        }

    def _generate(self, prompt: Tensor, count: Tensor, temperature: Tensor, seed: Tensor) -> dict[str, Tensor]:
        network = self._network.value
        allowed = (count >= 0) & (count <= _MAX_GENERATED)
        finite = (temperature >= 0) & tf.math.is_finite(temperature)
        with (
            checked(allowed, f"Expected `num_{self.reader.written}` from 0 to {_MAX_GENERATED}", count),
            checked(finite, "Expected a finite `temperature` of at least 0", temperature),
        ):
            prompt_tokens, lengths = self.reader.encode(prompt)
            count = tf.identity(count)
        # The mask keeps the state after each prompt's own words, whatever the length of the others.
        mask = tf.sequence_mask(lengths, tf.shape(prompt_tokens)[1])
        hidden, state = network.encode(prompt_tokens, mask=mask)

        def add_token(tokens: Tensor, hidden: Tensor, state: dict[str, Tensor]) -> tuple[Tensor, ...]:
            token = self._sample(hidden, temperature, [seed, tf.shape(tokens)[1]])
            hidden, state = network.encode_word(token, state)
            return tf.concat([tokens, token[:, tf.newaxis]], axis=1), hidden, state

        tokens, _, _ = tf.while_loop(
            lambda tokens, hidden, state: tf.shape(tokens)[1] < count,
            add_token,
            (prompt_tokens[:, :0], hidden[:, -1], state),
            shape_invariants=(
                tf.TensorShape([None, None]),
                tf.TensorShape([None, hidden.shape[-1]]),
                {name: tf.TensorShape([None, size]) for name, size in network.state_sizes.items()},
            ),
        )
        return {self.reader.written: self.reader.decode(tokens)}

    def _without_unk(self, values: Tensor, replacement: float) -> Tensor:
        if self.reader.unk_id < 0:
            return values
        return tf.where(tf.range(tf.shape(values)[1]) == self.reader.unk_id, replacement, values)

    def _rank(self, hidden: Tensor, k: Tensor) -> dict[str, Tensor]:
        """Returns the k most probable tokens after `hidden`, float32 [B, H], without `<unk>`."""
        message = f"Expected `k` from 1 to {self._num_suggestible}"
        with checked((k >= 1) & (k <= self._num_suggestible), message, k):
            probabilities = tf.nn.softmax(self._network.value.logits(hidden))
        values, tokens = tf.math.top_k(self._without_unk(probabilities, -1.0), k)
        return {self.reader.written: self.reader.decode(tokens), "probabilities": values}

    def _sample(self, hidden: Tensor, temperature: Tensor, seed: Sequence[Tensor]) -> Tensor:
        """Returns ids drawn after `hidden`, float32 [B, H], as int32 [B]; at temperature 0 the most probable ones."""
        logits = self._without_unk(self._network.value.logits(hidden), -float("inf"))
        # The greatest logit becomes 0, so that the division does not overflow however low the temperature is.
        logits -= tf.reduce_max(logits, axis=1, keepdims=True)
        drawn = tf.random.stateless_categorical(
            logits / tf.where(temperature > 0, temperature, 1.0), 1, seed=seed, dtype=tf.int32
        )
        return tf.where(temperature > 0, drawn[:, 0], tf.argmax(logits, axis=1, output_type=tf.int32))

    def _log_probabilities(self, hidden: Tensor, targets: Tensor) -> Tensor:
        """Returns the log probability of each target, int32 [N], with only some rows of logits in memory."""
        num_rows = tf.shape(targets)[0]
        together = tf.clip_by_value(num_rows, 1, _SCORED_TOGETHER)
        num_parts = tf.maximum(-(-num_rows // together), 1)
        padding = num_parts * together - num_rows

        def score(part: tuple[Tensor, Tensor]) -> Tensor:
            logits, wanted = self._network.value.logits(part[0]), part[1]
            return -tf.nn.sparse_softmax_cross_entropy_with_logits(labels=wanted, logits=logits)

        values = tf.map_fn(
            score,
            (
                tf.reshape(tf.pad(hidden, [[0, padding], [0, 0]]), [num_parts, together, hidden.shape[-1]]),
                tf.reshape(tf.pad(targets, [[0, padding]]), [num_parts, together]),
            ),
            fn_output_signature=tf.float32,
            parallel_iterations=1,
        )
        return tf.reshape(values, [-1])[:num_rows]


def _scalar(name: str, dtype: Any = tf.int32) -> Any:
    return tf.TensorSpec([], dtype, name=name)


def _function(function: Callable[..., dict[str, Tensor]], *specs: Any, **defaults: Any) -> Any:
    """Returns a `tf.function` whose parameters are named as their specs, so that callers need not know an order."""

    def call(*arguments: Tensor) -> dict[str, Tensor]:
        return function(*arguments)

    kind, none = inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.empty
    parameters = [inspect.Parameter(spec.name, kind, default=defaults.get(spec.name, none)) for spec in specs]
    cast(Any, call).__signature__ = inspect.Signature(parameters)
    return tf.function(call, input_signature=specs)
