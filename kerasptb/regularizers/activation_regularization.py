"""Keeps a layer's outputs small."""

import keras
from keras import ops

from kerasptb.utils.types import Tensor


@keras.saving.register_keras_serializable(package="kerasptb")
class ActivationRegularization(keras.regularizers.Regularizer):
    """Activation regularisation (AR): `alpha · Σ_t mean(h[t]²)`, the mean over rows and units.

    Merity et al., 2017, "Revisiting Activation Regularization for Language RNNs"; AWD-LSTM applies it to the last
    layer's outputs after dropout. It is summed over the steps as `SequenceCrossEntropy` is, so that with this loss
    `alpha` has the paper's scale. With a loss that is averaged over the steps, divide it by their number.

    Args:
        alpha: weight of the penalty; at least 0.

    Call arguments:
        x: float [B, T, H].

    Returns:
        Scalar: the penalty times B, since Keras divides what an `activity_regularizer` returns by B.

    Raises:
        ValueError: if `alpha` is negative.

    Example:
    >>> layer = keras.layers.Dropout(0.4, activity_regularizer=ActivationRegularization(2.0))
    """

    def __init__(self, alpha: float) -> None:
        if not alpha >= 0:
            raise ValueError(f"`alpha` must be at least 0. Received: alpha={alpha}")
        self.alpha = float(alpha)

    def __call__(self, x: Tensor) -> Tensor:
        """Returns the penalty, times B."""
        x = ops.cast(x, "float32")
        return self.alpha * ops.sum(x * x) / x.shape[-1]

    def get_config(self) -> dict[str, float]:
        """Returns the arguments of the constructor."""
        return {"alpha": self.alpha}
