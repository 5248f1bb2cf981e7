"""Keras' cross-entropy of integer targets, from logits that need not be computed."""

from typing import Any, Literal

import keras
from keras import ops

from kerasptb.compat.keras import get_keras_mask, takes_logits
from kerasptb.ops.logits import by_word, factors_for
from kerasptb.ops.tensors import word_ids
from kerasptb.utils.types import Tensor


@keras.saving.register_keras_serializable(package="kerasptb")
class SparseCategoricalCrossentropy(keras.losses.SparseCategoricalCrossentropy):
    """`keras.losses.SparseCategoricalCrossentropy` that does not read logits which carry their factors.

    The values are Keras'. From logits of `kerasptb.layers.Dense` or `TiedDense` they are computed without the logits
    (`kerasptb.ops.logits`). `LanguageModel.compile` takes this loss in the place of Keras'. Where gradients are
    clipped, mind the scale: `SequenceCrossEntropy` sums over the steps, this averages over them too.

    Args:
        from_logits: whether `y_pred` holds logits, the default here, or probabilities.
        ignore_class: as in Keras' class, like all further arguments.
        reduction: how the losses of the words become one.
        name: name of the loss.
        dtype: dtype of the computation.

    Call arguments:
        y_true: int [...], the ids of the true words.
        y_pred: float [..., V].
        sample_weight: weights of y_true's shape or of its first dimensions, such as one for each row.

    Returns:
        A scalar; with `reduction=None` [...].
    """

    def __init__(
        self,
        from_logits: bool = True,
        ignore_class: int | None = None,
        reduction: str | None = "sum_over_batch_size",
        name: str = "sparse_categorical_crossentropy",
        dtype: str | keras.DTypePolicy | None = None,
    ) -> None:
        super().__init__(from_logits, ignore_class, reduction, name=name, dtype=dtype)
        self.from_logits, self.ignore_class = from_logits, ignore_class

    def __call__(self, y_true: Tensor, y_pred: Tensor, sample_weight: Tensor | None = None) -> Tensor:
        """Returns the loss, reduced."""
        y_pred = y_pred if hasattr(y_pred, "shape") else ops.convert_to_tensor(y_pred)
        factors = factors_for(self, y_pred) if self.from_logits else None
        shape = ops.shape(y_pred if factors is None else factors.h)[:-1]
        if sample_weight is not None:  # Keras would take the weights of B rows for those of B steps
            sample_weight = by_word(sample_weight, shape, self.dtype)
        if factors is None:
            y_true = word_ids(ops.convert_to_tensor(y_true), "targets")
            return super().__call__(y_true, y_pred, sample_weight)
        counted, mask = ops.ones(shape, self.dtype), get_keras_mask(y_pred)
        if mask is not None:
            counted *= by_word(mask, shape, self.dtype)
        if self.ignore_class is not None:
            counted *= by_word(ops.not_equal(y_true, self.ignore_class), shape, self.dtype)
        weights = counted if sample_weight is None else counted * sample_weight
        if self.reduction in ("sum_over_batch_size", "mean", "mean_with_sample_weight"):
            divisor = weights if self.reduction == "mean_with_sample_weight" else counted
            weights = ops.divide_no_nan(weights, ops.sum(divisor))
        reduction: Literal["none", "sum"] = "none" if self.reduction in (None, "none") else "sum"
        return ops.cast(factors.cross_entropy(y_true, reduction, weights, ignore_class=self.ignore_class), self.dtype)

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments of the constructor."""
        return {name: value for name, value in super().get_config().items() if name != "axis"}  # which 3.16 has


def from_factors(loss: Any) -> Any:
    """Returns our loss for Keras' `SparseCategoricalCrossentropy` of logits, with its settings; any other as it is.

    A cross-entropy of integer targets that expects probabilities raises ValueError: on logits it trains nonsense.
    """
    keras_loss = keras.losses.SparseCategoricalCrossentropy
    found = keras_loss() if loss in ("crossentropy", "ce") else loss  # names that only Keras' `compile` knows
    found = keras.losses.get(found) if isinstance(found, str) else found
    if found is keras.losses.sparse_categorical_crossentropy or (
        isinstance(found, keras_loss) and not takes_logits(found)
    ):
        raise ValueError(
            "The model's outputs are logits: write loss=kerasptb.losses.SparseCategoricalCrossentropy(). "
            f"Received: loss={loss!r:.60}, which expects probabilities"
        )
    config = found.get_config() if type(found) is keras_loss else {"axis": None}
    if config.pop("axis", -1) != -1:  # up to Keras 3.15 there is none in it
        return loss
    return SparseCategoricalCrossentropy(**config, dtype=found.dtype)
