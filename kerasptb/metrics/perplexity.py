"""Perplexity, exact over everything seen since the last reset."""

import functools
from typing import Any

import keras
from keras import ops

from kerasptb.compat.keras import get_keras_mask
from kerasptb.ops import tensors
from kerasptb.ops.logits import by_word, factors_of
from kerasptb.utils.types import Tensor


@keras.saving.register_keras_serializable(package="kerasptb")
class Perplexity(keras.metrics.SparseCategoricalCrossentropy):
    """Exponential of the mean cross-entropy of all words seen since the last reset.

    What `SequenceCrossEntropy` has computed of the same batch is used, not computed again (`kerasptb.ops.logits`). The
    perplexity is not a mean of batch perplexities, which would be larger (Jensen's inequality) and would depend on how
    the words are cut into batches. Formula: `exp(1/N Σ_n -log p(word_n | words before it))`.

    Args:
        from_logits: whether `y_pred` holds logits (the default) or probabilities.
        name: name in the progress bar and the history.
        dtype: dtype of the accumulators; `None` for float32 (or Keras' `floatx`, if that is wider). float32 counts
            exactly up to 16 million words; beyond, each batch's count is rounded. Use "float64" for more words.
        ignore_class: id of a word that does not count, such as padding.

    Call arguments:
        y_true: int [...], ids of the true words.
        y_pred: float [..., V], logits or probabilities. Words that a Keras mask leaves out do not count. The
            exception is `fit` with JAX, where Keras' trainer drops the mask before the metrics: use weights there.
        sample_weight: weights of the words, with y_true's shape or its first dimensions (one for each sequence).

    Example:
    >>> metric = Perplexity()
    >>> metric.update_state([[0, 1]], [[[0.0, 0.0], [0.0, 0.0]]])  # two equally likely words
    >>> float(metric.result())
    2.0
    """

    def __init__(
        self,
        from_logits: bool = True,
        name: str = "perplexity",
        dtype: str | keras.DTypePolicy | None = None,
        ignore_class: int | None = None,
    ) -> None:
        dtype = dtype or keras.backend.result_type(keras.config.floatx(), "float32")
        super().__init__(name=name, dtype=dtype, from_logits=from_logits, ignore_class=ignore_class)

    def update_state(self, y_true: Tensor, y_pred: Tensor, sample_weight: Tensor | None = None) -> None:
        """Adds the words of a batch; for the arguments' shapes see "Call arguments" of the class."""
        mask = get_keras_mask(y_pred)
        logits = getattr(y_pred, "_keras_logits", None)
        factors = factors_of(y_pred) if self.from_logits else None
        losses = None if factors is None else factors.losses_of(y_true, self.ignore_class)
        y_true, y_pred = tensors.word_ids(ops.convert_to_tensor(y_true), "targets"), ops.convert_to_tensor(y_pred)
        shape = ops.shape(y_pred)[:-1]
        weights = [] if sample_weight is None else [sample_weight]
        weights += [] if mask is None else [mask]
        if self.ignore_class is not None:
            # Keras gives an ignored word a loss of 0, but still counts it.
            weights.append(ops.not_equal(ops.reshape(y_true, shape), self.ignore_class))
        weights = [ops.reshape(by_word(weight, shape, self.dtype), [-1]) for weight in weights]
        weights = functools.reduce(ops.multiply, weights) if weights else None
        if losses is not None:
            with tensors.after(y_true):
                return keras.metrics.Mean.update_state(self, ops.reshape(losses, [-1]), sample_weight=weights)
        # Keras counts rows, whatever their length. With one word per row it counts words.
        y_pred = _in_float32_at_least(y_pred)
        y_true, y_pred = ops.reshape(y_true, [-1]), ops.reshape(y_pred, [-1, y_pred.shape[-1]])
        if logits is not None:
            # The logits behind Keras' softmax: from the probabilities alone, Keras would clip those below 1e-7.
            y_pred._keras_logits = ops.reshape(_in_float32_at_least(logits), [-1, logits.shape[-1]])
        with tensors.after(y_true):
            return super().update_state(y_true, y_pred, sample_weight=weights)

    def update_from_cross_entropy(self, cross_entropy: Tensor, num_words: Tensor) -> None:
        """Adds words whose cross-entropy is already known, so that no logits are needed.

        Args:
            cross_entropy: float32 scalar, the summed cross-entropy of the words, in nats.
            num_words: number of words, an int or a scalar tensor.
        """
        num_words = ops.cast(num_words, self.dtype)
        mean = ops.divide_no_nan(ops.cast(cross_entropy, self.dtype), num_words)
        keras.metrics.Mean.update_state(self, mean, sample_weight=num_words)

    @property
    def num_words(self) -> keras.Variable:
        """Number of words seen since the last reset, or the sum of their weights: a scalar variable of `dtype`."""
        return self.count

    def result(self) -> Tensor:
        """Returns the perplexity, a float32 scalar; 1.0 before any word."""
        return ops.exp(super().result())

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments of the constructor."""
        config = super().get_config()
        del config["axis"]
        return config


def _in_float32_at_least(x: Tensor) -> Tensor:
    """Casts logits to at least float32: Keras rounds each word's cross-entropy to the dtype of the logits."""
    return ops.cast(x, keras.backend.result_type(x.dtype, "float32"))


def find_perplexity(model: keras.Model) -> Perplexity | None:
    """Returns a model's `Perplexity`, or `None` if there is none (yet: the first batch builds compiled metrics)."""
    metrics = list(model.metrics)
    for several in (*model.metrics, getattr(model, "_compile_metrics", None)):
        metrics += getattr(several, "metrics", [])
    return next((metric for metric in metrics if isinstance(metric, Perplexity)), None)
