"""Logits that carry what they were made of, so that a loss need not read them.

A layer over the vocabulary hands on `LogitFactors`, as Keras' softmax hands on its logits: `attach(logits, factors)`. A
loss asks for `factors_of(logits)` and computes the cross-entropy from them (`LogitFactors.cross_entropy`); what nobody
reads, TensorFlow and XLA never compute. The losses of the words stay with the factors, for metrics
(`LogitFactors.losses_of`). A layer, a loss or a metric of one's own joins by these three calls.

They reach whoever is given the very tensor that the layer returned: under TensorFlow all of Keras' `train_step`, under
JAX what runs inside of the differentiated function (`kerasptb/trainers/jax.py`).
"""

import keras
from keras import ops

from kerasptb.compat.keras import get_tensor_attr, set_tensor_attr
from kerasptb.ops.linear_cross_entropy import linear_cross_entropy

_ATTRIBUTE = "_kerasptb_factors"


class LogitFactors:
    """What logits `h @ kernel + bias` were made of, and how their cross-entropy is to be computed.

    Args:
        h: float [..., D], in any precision.
        kernel: float [D, V], or [V, D] with `transpose_kernel`; a tensor, since a variable may be updated before a
            metric reads it.
        bias: float [V], a tensor.
        transpose_kernel: whether the kernel is [V, D].
        backend: as in `linear_cross_entropy`.
        precision: as in `linear_cross_entropy`.
    """

    def __init__(self, h, kernel, bias, transpose_kernel=False, backend="auto", precision="float32"):
        self.h, self.kernel, self.bias = h, kernel, bias
        self.transpose_kernel, self.backend, self.precision = transpose_kernel, backend, precision
        self._targets, self._losses = None, None

    def cross_entropy(self, targets, reduction="sum", weights=None, scale=1.0):
        """Returns the cross-entropy of the logits against targets; arguments and result as `linear_cross_entropy`.

        Args:
            targets: int [...].
            reduction: "sum" or "none".
            weights: float [...], or `None`.
            scale: a number.
        """
        words = ops.convert_to_tensor(targets)
        loss, losses = linear_cross_entropy(
            ops.cast(self.h, self.kernel.dtype),  # it has a lower precision under a mixed dtype policy
            self.kernel,
            self.bias,
            words if "int" in keras.backend.standardize_dtype(words.dtype) else ops.cast(words, "int32"),
            reduction,
            backend=self.backend,
            precision=self.precision,
            scale=scale,
            transpose_kernel=self.transpose_kernel,
            weights=weights,
            return_losses=True,
        )
        self._targets, self._losses = targets, losses
        return loss

    def losses_of(self, targets):
        """Returns the words' losses [...], without gradient, if a loss has computed those of this tensor, else None."""
        return self._losses if targets is self._targets else None


def attach(logits, factors):
    """Makes logits carry their `LogitFactors`."""
    set_tensor_attr(logits, _ATTRIBUTE, factors)


def factors_of(logits):
    """Returns the `LogitFactors` that the logits carry, or None."""
    return get_tensor_attr(logits, _ATTRIBUTE)
