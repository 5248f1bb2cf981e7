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
        self._direction = "down"

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
