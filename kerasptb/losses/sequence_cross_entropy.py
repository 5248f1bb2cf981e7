"""The cost of the original tutorial: cross-entropy summed over time, averaged over the batch."""

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="kerasptb")
class SequenceCrossEntropy(keras.losses.Loss):
    """Cross-entropy of the next word, summed over the time steps and averaged over the batch.

    This is `num_steps` times what `keras.losses.SparseCategoricalCrossentropy` gives, which averages over time
    too. The scale matters as soon as gradients are clipped: a global norm of 5 on this cost is a global norm of
    `5 / num_steps` on Keras' mean. With 10,000 words and 20 steps an untrained model costs 20 ln 10000 ≈ 184.2.

    Formula: `cost = 1/B Σ_b Σ_t -log softmax(logits[b, t])[targets[b, t]]`, in nats (Zaremba et al., 2014,
    "Recurrent Neural Network Regularization", section 4.1, with the sum over time of its published code).

    Args:
        reduction: as in `keras.losses.Loss`; the default averages over the batch.
        name: name of the loss.

    Call arguments:
        y_true: int [B, T], the ids of the true next words.
        y_pred: float [B, T, V], logits.

    Returns:
        float32 scalar; with `reduction=None` float32 [B], the cost of each sequence.
    """

    def __init__(self, reduction="sum_over_batch_size", name="sequence_cross_entropy", dtype=None):
        super().__init__(name=name, reduction=reduction, dtype=dtype)

    def call(self, y_true, y_pred):
        """Returns the cost of each sequence, float32 [B]."""
        losses = ops.sparse_categorical_crossentropy(ops.cast(y_true, "int32"), y_pred, from_logits=True)
        return ops.sum(losses, axis=-1)
