"""Dynamic evaluation: the model goes on learning from the text that it is evaluated on.

Krause et al., 2017, "Dynamic Evaluation of Neural Sequence Models". The text is read in segments of T words. First the
losses of a segment are counted, then its gradient g updates the weights w, so no word is known before it is predicted:

    w <- w + min(decay R, 1) (w0 - w) - rate g / (MS + eps)

w0 are the trained weights. MS, for each weight, is the root of the mean square of its gradients over batches of the
training text, and R is MS divided by the mean, over the variables, of the mean of MS.
"""

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np

from kerasptb.arguments import Arguments, Number, Whole, argument
from kerasptb.data import Corpus
from kerasptb.data.streams import as_streams, check_sizes, checked_text, count_batches
from kerasptb.evaluation.adaptation import KeptSettings
from kerasptb.evaluation.perplexity import AdaptedEvaluation
from kerasptb.models import LanguageModel
from kerasptb.ops import tensors
from kerasptb.utils.interrupts import uninterrupted
from kerasptb.utils.status_line import tracked
from kerasptb.utils.types import Ids, Tensor

__all__ = ["DynamicSettings", "evaluate_dynamic", "gradient_statistics", "tune_dynamic"]

_ON_TENSORFLOW = keras.backend.backend() == "tensorflow"
if _ON_TENSORFLOW:
    import tensorflow as tf

_EPSILON = 2e-5  # as published
_STATISTICS_ROWS = 100  # of a batch of the training text, as published
# Steps of one call: the call's overhead is then negligible, and Ctrl-C is heard soon.
_SEGMENTS_OF_CALL, _BATCHES_OF_CALL = 32, 8


@dataclasses.dataclass(frozen=True)
class DynamicSettings(Arguments):
    """How the weights follow the text: at a `learning_rate`, and back to the trained ones at the rate `decay`.

    The gradient is that of a segment of `num_steps` words.
    """

    learning_rate: float = argument(Number(0), "rate of the gradient's step")
    decay: float = argument(Number(0), "rate of the return to the trained weights")
    num_steps: int = argument(Whole(), "words T of a segment", 20)


_PUBLISHED = {20: DynamicSettings(1.2e-4, 0.02, 20), 5: DynamicSettings(5e-5, 0.002, 5)}


def published_settings(num_steps: int = 20) -> DynamicSettings:
    """Returns the published settings of segments of 5 words or of 20, whichever is nearer in proportion.

    Args:
        num_steps: words T of a segment.
    """
    return dataclasses.replace(_PUBLISHED[20 if num_steps > 10 else 5], num_steps=num_steps)


def evaluate_dynamic(
    model: LanguageModel,
    ids: Ids,
    statistics: Sequence[Tensor],
    settings: DynamicSettings | None = None,
) -> AdaptedEvaluation:
    """Returns the perplexity of a text by a model that learns from each segment after it has predicted it.

    Every word but the first is scored, at batch size 1, from a zero state that goes on from segment to segment. Dropout
    is off. Afterwards the weights are what they were, to the bit, also after an error or Ctrl-C; meanwhile other
    threads see them change. The optimizer and the state of training are not touched.

    Args:
        model: a `LanguageModel`, with TensorFlow. It need not be compiled.
        ids: int32 [N], the text, of at least two words.
        statistics: the result of `gradient_statistics`.
        settings: `DynamicSettings`; `None` for the published ones of 20 words a segment. See `tune_dynamic`.

    Returns:
        An `AdaptedEvaluation`.

    Raises:
        DataError: if a text is too short.
        ValueError: on another backend than TensorFlow; for word ids out of range; if all layers are frozen.
    """
    settings = settings or published_settings()
    ids = checked_text(model.vocabulary_size, ids)
    losses = _Adaptation(model, statistics).losses(ids, settings)
    with np.errstate(over="ignore"):
        perplexity = float(np.exp(losses.mean()))
    return AdaptedEvaluation(perplexity, len(losses), 1, settings.num_steps, settings, -losses)


def evaluate_tuned(
    model: LanguageModel,
    ids: Ids,
    corpus: Corpus,
    kept: KeptSettings,
    num_steps: int | None = None,
) -> AdaptedEvaluation:
    """Evaluates a text as `evaluate_dynamic` does, with settings that are tuned on a corpus, or kept.

    Args:
        model: as for `evaluate_dynamic`, like `ids` and what is raised.
        ids: the text.
        corpus: what the model was trained on.
        kept: the `KeptSettings`.
        num_steps: words of a segment; `None` for 20.
    """
    num_steps = num_steps or 20
    statistics = gradient_statistics(model, corpus.train, num_steps)  # raises where the method is not possible
    settings = kept.settings(
        "dynamic",
        DynamicSettings,
        lambda: tune_dynamic(model, corpus.valid, statistics, num_steps),
        num_steps=num_steps,
    )
    return evaluate_dynamic(model, ids, statistics, settings)


def tune_dynamic(
    model: LanguageModel,
    valid_ids: Ids,
    statistics: Sequence[Tensor],
    num_steps: int = 20,
    max_words: int = 10_000,
    max_evaluations: int = 10,
) -> DynamicSettings:
    """Finds the learning rate and the decay with the lowest perplexity of a validation text.

    A search along one of them at a time, from the published values, in steps of a factor that then become smaller.

    Args:
        model: as in `evaluate_dynamic`, like `statistics` and what is raised.
        valid_ids: int32 [N], the validation text.
        statistics: of the gradients.
        num_steps: words T of a segment.
        max_words: read no more than the first words of the validation text.
        max_evaluations: evaluate them no more often than this.

    Returns:
        `DynamicSettings`.
    """
    check_sizes(max_words=max_words, max_evaluations=max_evaluations)
    start = published_settings(num_steps)
    valid_ids = checked_text(model.vocabulary_size, valid_ids)[: max_words + 1]
    adaptation = _Adaptation(model, statistics)
    return _search(lambda settings: adaptation.losses(valid_ids, settings).sum(), start, max_evaluations)


def gradient_statistics(
    model: LanguageModel, train_ids: Ids, num_steps: int = 20, batch_size: int = _STATISTICS_ROWS
) -> list[Tensor]:
    """Returns MS: the root of the mean square of each weight's gradients over batches of the training text.

    The gradients are those of the mean cross-entropy of a word, in batches that continue one another, without dropout.

    Args:
        model: a `LanguageModel`, with TensorFlow.
        train_ids: int32 [M], the training text.
        num_steps: words T of a row of a batch.
        batch_size: rows B of a batch; fewer if the text is too short for one batch of so many.

    Returns:
        A list of tensors of the shapes of the model's trainable variables.

    Raises:
        DataError, ValueError: as `evaluate_dynamic`.
    """
    variables = _variables(model)
    train_ids = checked_text(model.vocabulary_size, train_ids)
    check_sizes(num_steps=num_steps, batch_size=batch_size)
    batch_size = max(min(batch_size, len(train_ids) // (num_steps + 1)), 1)
    num_batches = count_batches(len(train_ids), batch_size, num_steps)
    streams = as_streams(train_ids, batch_size)
    tokens, targets = (
        streams[:, i : i + num_batches * num_steps].reshape(batch_size, num_batches, num_steps).transpose(1, 0, 2)
        for i in (0, 1)
    )
    squares = [tf.Variable(tf.zeros_like(variable), trainable=False) for variable in variables]

    def step(tokens: Tensor, targets: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        losses, gradients, state = _losses_and_gradients(model, variables, tokens, targets, state)
        for square, gradient in zip(squares, gradients, strict=True):
            square.assign_add(tf.square(gradient / num_steps))
        return losses[0], state

    _run(_program(step), tokens, targets, model.get_initial_state(batch_size), _BATCHES_OF_CALL)
    return [tf.sqrt(square / num_batches) for square in squares]


class _Adaptation:
    """The program in which a model follows a text, compiled once for evaluations with any rates."""

    def __init__(self, model: LanguageModel, statistics: Sequence[Tensor]) -> None:
        self._model, self._variables = model, _variables(model)
        if [tuple(ms.shape) for ms in statistics] != [tuple(variable.shape) for variable in self._variables]:
            raise ValueError(
                f"Expected `statistics` of the shapes of this model's {len(self._variables)} trainable variables. "
                f"Received: shapes {', '.join(str(tuple(ms.shape)) for ms in statistics)}"
            )
        self._statistics = [tf.cast(ms, v.dtype) for ms, v in zip(statistics, self._variables, strict=True)]
        mean = np.mean([float(tf.reduce_mean(ms)) for ms in self._statistics])
        self._mean = mean if mean > 0 else 1.0
        self._program = _program(self._step)

    def losses(self, ids: np.ndarray, settings: DynamicSettings) -> np.ndarray:
        """Returns the cross-entropy of each word but the first, in nats, float64 [N - 1]."""
        num_steps = settings.num_steps
        tokens, targets = ids[:-1], ids[1:]
        read = len(tokens) // num_steps * num_steps
        rates = tf.constant(settings.decay / self._mean, "float64"), tf.constant(settings.learning_rate, "float64")
        # Copies: a tensor that was read from a variable may share its memory, which the program updates in place.
        trained = [tf.constant(variable.numpy()) for variable in self._variables]
        arguments = (trained, self._statistics, *rates)
        losses, state = [], self._model.get_initial_state(1)
        try:
            for start, end, steps in ((0, read, num_steps), (read, len(tokens), len(tokens) - read)):
                if start < end:
                    read_now, wanted = (part[start:end].reshape(-1, 1, steps) for part in (tokens, targets))
                    of_words, state = _run(self._program, read_now, wanted, state, _SEGMENTS_OF_CALL, arguments)
                    losses.append(of_words)
        finally:
            with uninterrupted():
                for variable, value in zip(self._variables, trained, strict=True):
                    variable.assign(value)
        return np.concatenate(losses)

    def _step(self, tokens, targets, state, trained, statistics, decay, learning_rate):
        """Updates the weights by a segment, int32 [1, T] each; returns its losses before that, [T], and the state."""
        losses, gradients, state = _losses_and_gradients(self._model, self._variables, tokens, targets, state)
        rate = learning_rate / tokens.shape[1]  # of the mean over the words, while the cost is their sum
        for w, g, w0, ms in zip(self._variables, gradients, trained, statistics, strict=True):
            back = tf.minimum(tf.cast(decay, w.dtype) * ms, 1.0) * (w0 - w)
            w.assign_add(back - tf.cast(rate, w.dtype) * g / (ms + _EPSILON))
        return losses[0], state


def _search(
    cross_entropy: Callable[[DynamicSettings], float], start: DynamicSettings, max_evaluations: int
) -> DynamicSettings:
    """Returns the settings with the lowest cross-entropy along one rate at a time."""
    known: dict[DynamicSettings, float] = {}

    def measure(settings: DynamicSettings) -> float:
        value = cross_entropy(settings)
        known[settings] = value if math.isfinite(value) else math.inf
        return known[settings]

    best, lowest = start, measure(start)
    while lowest == math.inf and len(known) < max_evaluations:  # it diverges: slower
        best = dataclasses.replace(best, learning_rate=float(f"{best.learning_rate / 2:.3g}"))
        lowest = measure(best)
    for factors in ({"learning_rate": 2.0, "decay": 3.0}, {"learning_rate": 1.4, "decay": 1.7}):
        for name, factor in factors.items():
            for direction in (factor, 1 / factor):
                before = best
                while len(known) < max_evaluations:
                    value = float(f"{getattr(best, name) * direction:.3g}")
                    changed: dict[str, Any] = {name: value}
                    candidate = dataclasses.replace(best, **changed)
                    if candidate in known or not measure(candidate) < lowest:
                        break
                    best, lowest = candidate, known[candidate]
                if best != before:
                    break  # the other direction is where it came from
    return best


def _variables(model: LanguageModel) -> list[Tensor]:
    """Returns the model's trainable variables, of TensorFlow."""
    if not _ON_TENSORFLOW:
        raise ValueError(
            "Dynamic evaluation needs TensorFlow: set KERAS_BACKEND=tensorflow; a run's weights are the same there. "
            f"Received: KERAS_BACKEND={keras.backend.backend()}"
        )
    if not model.trainable_variables:
        raise ValueError("Dynamic evaluation needs weights that may change. Received: a model whose layers are frozen")
    return [variable.value for variable in model.trainable_variables]


def _losses_and_gradients(model, variables, tokens, targets, state):
    """Returns the losses of all words, [B, T], the gradients of the cost, and the state after them.

    The gradients are dense: the weights of all words return to w0, also of those not read.
    """
    with tf.GradientTape() as tape:
        hidden, state = model.stateless_encode(tokens, state)
        losses = model.get_layer("logits").factors(hidden).cross_entropy(targets, reduction="none")
        cost = tf.reduce_sum(losses) / targets.shape[0]
    gradients = tape.gradient(cost, variables, unconnected_gradients="zero")
    return losses, [tf.convert_to_tensor(gradient) for gradient in gradients], state


def _program(step):
    """Returns a program of several steps that XLA compiles: what remains of each update is one pass in place.

    It takes the number of steps, tokens and targets [S, B, T], the state before them, and the step's further arguments;
    it returns the losses that the steps return, float [S, T], and the state after them.
    """

    @tf.function(jit_compile=True)
    @tensors.do_not_convert
    def program(count, tokens, targets, state, *arguments):
        def body(number, losses, state):
            of_words, state = step(tokens[number], targets[number], state, *arguments)
            return number + 1, tf.tensor_scatter_nd_update(losses, [[number]], [tf.cast(of_words, losses.dtype)]), state

        losses = tf.zeros([tokens.shape[0], tokens.shape[-1]], tf.float32)
        _, losses, state = tf.while_loop(lambda number, *_: number < count, body, (tf.constant(0), losses, state))
        return losses, state

    return program


def _run(program, tokens, targets, state, size, arguments=()):
    """Runs a program on tokens and targets [S, B, T], `size` steps at a time.

    Returns the losses that the steps return, float64 [S T], and the state after them.
    """
    losses, size, compiled = [], min(size, len(tokens)), None
    for start in tracked("Following the text", range(0, len(tokens), size)):
        group = [part[start : start + size] for part in (tokens, targets)]
        count = len(group[0])
        # A last group of fewer steps is filled up: a group of another size would be compiled anew.
        group = [np.concatenate([part, np.zeros((size - count, *part.shape[1:]), part.dtype)]) for part in group]
        inputs = (tf.constant(count), *map(tf.constant, group), state, *arguments)
        # TensorFlow would warn of tracing too often, where texts are short or models many.
        compiled = compiled or program.get_concrete_function(*inputs)
        of_words, state = compiled(*inputs)
        losses.append(of_words.numpy()[:count].astype("float64").ravel())
    return np.concatenate(losses), state
