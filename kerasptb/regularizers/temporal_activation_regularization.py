"""Keeps a layer's outputs from changing much between steps."""

import keras
from keras import ops

from kerasptb.utils.types import Tensor


@keras.saving.register_keras_serializable(package="kerasptb")
class TemporalActivationRegularization(keras.regularizers.Regularizer):
    """Temporal activation regularisation (TAR): `beta · T/(T-1) Σ_t mean((h[t+1] - h[t])²)`, over rows and units.

    Merity et al., 2017, "Revisiting Activation Regularization for Language RNNs"; AWD-LSTM applies it to the last
    layer's outputs before dropout. The paper's mean over T - 1 differences, times T, has the scale of
    `SequenceCrossEntropy`. With a loss that is averaged over the steps, divide `beta` by their number.

    Args:
        beta: weight of the penalty; at least 0.

    Call arguments:
        x: float [B, T, H]. Keras also calls it on a layer's further outputs, such as the states [B, H], which have no
            steps.

    Returns:
        Scalar: the penalty times B, since Keras divides what an `activity_regularizer` returns by B; 0 for T = 1, and
        without steps.

    Raises:
        ValueError: if `beta` is negative.

    Example:
    >>> layer = keras.layers.LSTM(8, return_sequences=True, activity_regularizer=TemporalActivationRegularization(1.0))
    """

    def __init__(self, beta: float) -> None:
        if not beta >= 0:
            raise ValueError(f"`beta` must be at least 0. Received: beta={beta}")
        self.beta = float(beta)

    def __call__(self, x: Tensor) -> Tensor:
        """Returns the penalty, times B."""
        if len(x.shape) != 3:
            return ops.zeros(())
        x = ops.cast(x, "float32")
        change = x[:, 1:] - x[:, :-1]
        steps = ops.cast(ops.shape(x)[1], "float32")
        factor = ops.divide_no_nan(steps, steps - 1)
        return self.beta * factor * ops.sum(change * change) / x.shape[-1]

    def get_config(self) -> dict[str, float]:
        """Returns the arguments of the constructor."""
        return {"beta": self.beta}
