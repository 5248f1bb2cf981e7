"""Perplexity, exact over everything seen since the last reset."""

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="kerasptb")
class Perplexity(keras.metrics.SparseCategoricalCrossentropy):
    """Exponential of the mean cross-entropy of all words seen since the last reset.

    It is not a mean of batch perplexities, which would be larger (Jensen's inequality) and would depend on how
    the words are cut into batches. Formula: `exp(1/N Σ_n -log p(word_n | words before it))`.

    Args:
        from_logits: whether `y_pred` holds logits (the default) or probabilities.
        name: name in the progress bar and the history.
        dtype: dtype of the accumulators.
        ignore_class: id of a word that does not count, such as padding.

    Call arguments:
        y_true: int [...], ids of the true words.
        y_pred: float [..., V], logits or probabilities.

    Example:
    >>> metric = Perplexity()
    >>> metric.update_state([[0, 1]], [[[0.0, 0.0], [0.0, 0.0]]])  # two equally likely words
    >>> float(metric.result())
    2.0
    """

    def __init__(self, from_logits=True, name="perplexity", dtype=None, ignore_class=None):
        super().__init__(name=name, dtype=dtype, from_logits=from_logits, ignore_class=ignore_class)

    def update_state(self, y_true, y_pred, sample_weight=None):
        """Adds the words of a batch; `sample_weight`, float and of a shape that broadcasts to [...], weighs them."""
        y_true, y_pred = ops.convert_to_tensor(y_true), ops.convert_to_tensor(y_pred)
        if self.ignore_class is not None:
            # Keras gives an ignored word the loss 0, but counts it.
            counted = ops.cast(ops.not_equal(y_true, self.ignore_class), self.dtype)
            sample_weight = counted if sample_weight is None else counted * ops.cast(sample_weight, self.dtype)
        if sample_weight is not None:
            sample_weight = ops.reshape(ops.broadcast_to(sample_weight, ops.shape(y_true)), [-1])
        # Keras counts rows, whatever their length; one word a row counts words.
        y_true, y_pred = ops.reshape(y_true, [-1]), ops.reshape(y_pred, [-1, y_pred.shape[-1]])
        return super().update_state(y_true, y_pred, sample_weight=sample_weight)

    def update_from_cross_entropy(self, cross_entropy, num_words):
        """Adds words whose cross-entropy is known already, so that no logits are needed.

        Args:
            cross_entropy: float32 scalar, the summed cross-entropy of the words, in nats.
            num_words: number of words, an int or a scalar tensor.
        """
        num_words = ops.cast(num_words, self.dtype)
        keras.metrics.Mean.update_state(self, ops.cast(cross_entropy, self.dtype) / num_words, sample_weight=num_words)

    @property
    def num_words(self):
        """Number of words seen since the last reset, a float32 scalar variable."""
        return self.count

    def result(self):
        """Returns the perplexity, a float32 scalar; 1.0 before any word."""
        return ops.exp(super().result())

    def get_config(self):
        """Returns the arguments of the constructor."""
        config = super().get_config()
        del config["axis"]
        return config
