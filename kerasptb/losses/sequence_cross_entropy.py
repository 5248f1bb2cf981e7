"""The cost of the original tutorial: cross-entropy summed over time, averaged over the batch."""

import keras
from keras import ops

from kerasptb.compat.keras import get_keras_mask
from kerasptb.ops.logits import LogitFactors, by_word, factors_for
from kerasptb.ops.tensors import word_ids
from kerasptb.utils.types import Tensor


@keras.saving.register_keras_serializable(package="kerasptb")
class SequenceCrossEntropy(keras.losses.Loss):
    """Cross-entropy of the next word, summed over the time steps and averaged over the batch.

    This is `num_steps` times the value of `keras.losses.SparseCategoricalCrossentropy`, which also averages over
    time. The scale matters as soon as gradients are clipped: a global norm of 5 on this cost is a global norm of
    `5 / num_steps` on Keras' mean. With 10,000 words and 20 steps an untrained model costs 20 ln 10000 ≈ 184.2.

    Formula: `cost = 1/B Σ_b Σ_t -log softmax(logits[b, t])[targets[b, t]]`, in nats (Zaremba et al., 2014,
    "Recurrent Neural Network Regularization", section 4.1, with the sum over time of its published code).

    From logits of `kerasptb.layers.Dense` or `TiedDense` it is computed without reading them (`kerasptb.ops.logits`).

    Args:
        reduction: as in `keras.losses.Loss`; the default averages over the batch.
        name: name of the loss.
        dtype: dtype of the computation; `None` for Keras' `floatx`.

    Call arguments:
        y_true: int [B, T], the ids of the true next words.
        y_pred: float [B, T, V], logits. Words that a Keras mask leaves out, such as that of an `Embedding` with
            `mask_zero=True`, cost nothing.
        sample_weight: float [B], one weight for each sequence, or [B, T], one for each word.

    Returns:
        float32 scalar; with `reduction=None` float32 [B], the cost of each sequence.

    Raises:
        ValueError: without targets; if `y_pred` has another rank; for word weights or a mask together with
            `reduction="mean_with_sample_weight"`, which divides by the weights of sequences.
    """

    def __init__(
        self,
        reduction: str | None = "sum_over_batch_size",
        name: str = "sequence_cross_entropy",
        dtype: str | keras.DTypePolicy | None = None,
    ) -> None:
        super().__init__(name=name, reduction=reduction, dtype=dtype)

    def __call__(self, y_true: Tensor, y_pred: Tensor, sample_weight: Tensor | None = None) -> Tensor:
        """Returns the cost, reduced over the batch."""
        if y_true is None:
            raise ValueError("Expected tokens and targets, the next words. Received: tokens alone")
        y_pred = y_pred if hasattr(y_pred, "shape") else ops.convert_to_tensor(y_pred)
        _check_rank(y_pred)
        weights = get_keras_mask(y_pred)
        sample_weight = None if sample_weight is None else ops.convert_to_tensor(sample_weight)
        if sample_weight is not None and tuple(sample_weight.shape[1:]) == (1,):
            sample_weight = ops.reshape(sample_weight, (-1,))
        if sample_weight is not None and len(sample_weight.shape) > 1:
            word_weights = ops.reshape(ops.cast(sample_weight, self.dtype), ops.shape(y_pred)[:2])
            weights = word_weights if weights is None else word_weights * ops.cast(weights, self.dtype)
            sample_weight = None
        if weights is not None and self.reduction == "mean_with_sample_weight":
            raise ValueError(
                'Expected weights of whole sequences, [B], and no mask, with reduction="mean_with_sample_weight". '
                "Received: weights of words"
            )
        # Read here: `Loss.__call__` may cast the logits, and what it casts no longer carries them.
        factors = factors_for(self, y_pred)
        if factors is not None and self.reduction in ("sum", "sum_over_batch_size", "mean"):
            return self._sum(factors, y_true, weights, sample_weight)
        if weights is None and factors is None:
            return super().__call__(y_true, y_pred, sample_weight)
        # Keras would apply the weights to the result of `call`, which has only one cost for each sequence.
        losses = self._word_losses(y_true, y_pred) if factors is None else factors.cross_entropy(y_true, "none")
        weights = ops.ones_like(losses) if weights is None else ops.cast(weights, self.dtype)
        return _WeightedSum(self.name, self.reduction, self.dtype)(weights, losses, sample_weight)

    def _sum(
        self, factors: LogitFactors, y_true: Tensor, weights: Tensor | None, sample_weight: Tensor | None
    ) -> Tensor:
        """The cost in one operation, which computes the gradients with it."""
        shape = ops.shape(factors.h)[:-1]
        if sample_weight is not None:
            by_rows = by_word(sample_weight, shape, self.dtype)
            weights = by_rows if weights is None else by_rows * ops.cast(weights, self.dtype)
        mean, known = self.reduction != "sum", isinstance(shape[0], int)
        cost = factors.cross_entropy(y_true, "sum", weights, scale=1.0 / shape[0] if mean and known else 1.0)
        cost = ops.cast(cost, self.dtype)
        return cost if known or not mean else cost / ops.cast(shape[0], self.dtype)

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        """Returns the cost of each sequence, float32 [B]."""
        return ops.sum(self._word_losses(y_true, y_pred), axis=-1)

    def _word_losses(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        _check_rank(y_pred)
        y_true, y_pred = word_ids(ops.convert_to_tensor(y_true), "targets"), ops.cast(y_pred, self.dtype)
        return ops.sparse_categorical_crossentropy(y_true, y_pred, from_logits=True)


def _check_rank(y_pred: Tensor) -> None:
    if len(y_pred.shape) != 3:
        raise ValueError(f"Expected logits of the shape [B, T, V]. Received: y_pred of shape {tuple(y_pred.shape)}")


class _WeightedSum(keras.losses.Loss):
    """Sums `y_pred`, the costs of words, over time, weighted by `y_true`."""

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        return ops.sum(y_true * y_pred, axis=-1)
