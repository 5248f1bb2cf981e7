"""Logits that carry what they were made of, so that a loss need not read them.

A layer over the vocabulary hands on `LogitFactors`, as Keras' softmax hands on its logits: `attach(logits, factors)`. A
loss asks for `factors_of(logits)` and computes the cross-entropy from them (`LogitFactors.cross_entropy`); what nobody
reads, TensorFlow and XLA never compute. The losses of the words stay with the factors, for metrics
(`LogitFactors.losses_of`). A layer, a loss or a metric of one's own joins by these three calls.

They reach whoever is given the very tensor that the layer returned: under TensorFlow all of Keras' `train_step`, under
JAX what runs inside of the differentiated function. There Keras' step computes the logits again for its metrics,
and takes three times as long; `kerasptb/trainers/jax.py` updates them inside.
"""

import contextlib
import contextvars
import functools
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Literal

import keras
from keras import ops

from kerasptb.compat.keras import get_tensor_attr, set_tensor_attr
from kerasptb.ops.linear_cross_entropy import check_arguments
from kerasptb.ops.linear_cross_entropy import plan as plan_cross_entropy
from kerasptb.ops.linear_cross_entropy import run as run_cross_entropy
from kerasptb.ops.plan import Plan
from kerasptb.ops.tensors import as_tensor, is_traced, matmul, without_gradients, word_ids
from kerasptb.utils.types import Tensor

_ATTRIBUTE = "_kerasptb_factors"
_UNREAD = contextvars.ContextVar("unread", default=False)


class LogitFactors:
    """What logits `h @ kernel + bias` were made of, and how their cross-entropy is to be computed.

    Args:
        h: float [..., D], in any precision.
        kernel: float [D, V], or [V, D] with `transpose_kernel`; a tensor, since a variable may be updated before a
            metric reads it. It and the bias are read in float32 at least.
        bias: float [V], a tensor.
        transpose_kernel: whether the kernel is [V, D].
        plan: the `Plan` of the cross-entropy (`kerasptb.ops.linear_cross_entropy.plan`); `None` for that of "auto".
    """

    def __init__(
        self, h: Tensor, kernel: Tensor, bias: Tensor, transpose_kernel: bool = False, plan: Plan | None = None
    ) -> None:
        # Where weights have 16 bits, sums over a vocabulary or a batch need more.
        dtype = keras.backend.result_type(kernel.dtype, "float32")
        self.h, self.transpose_kernel = h, transpose_kernel
        self.kernel, self.bias = ops.cast(kernel, dtype), ops.cast(bias, dtype)
        self.plan = plan or plan_cross_entropy(tuple(h.shape), bias.shape[0], dtype)
        self._targets, self._losses = None, None
        self._ignored: int | None = None
        self._teacher: tuple[LogitFactors, float] | None = None

    def learn_from(self, teacher: "LogitFactors", weight: float) -> None:
        """Lets `cross_entropy` be that against the mean of the targets and a teacher's distributions.

        With the teacher's distribution q and the target y of a word, the loss is the cross-entropy against
        `(1 - weight) onehot(y) + weight q`, as in Hinton et al., 2015, "Distilling the Knowledge in a Neural Network",
        at temperature 1. `losses_of` stays that of the targets.

        Args:
            teacher: its `LogitFactors`, of the same words and vocabulary; no gradient flows into them.
            weight: from 0 to 1.
        """
        self._teacher = teacher, weight

    def cross_entropy(
        self,
        targets: Tensor,
        reduction: Literal["sum", "none"] = "sum",
        weights: Tensor | None = None,
        scale: float = 1.0,
        ignore_class: int | None = None,
    ) -> Tensor:
        """Returns the cross-entropy of the logits against targets, in nats; [...], or a scalar for the sum.

        Args:
            targets: int [...], or [..., 1]; whole numbers of a float type serve too.
            reduction: "sum" or "none".
            weights: float [...], or `None`.
            scale: a number.
            ignore_class: an id, also one out of range, of words whose weights are 0.
        """
        words = ops.reshape(word_ids(ops.convert_to_tensor(targets), "targets"), ops.shape(self.h)[:-1])
        if ignore_class is not None and not 0 <= ignore_class < self.bias.shape[0]:
            words = ops.where(ops.equal(words, ignore_class), ops.zeros_like(words), words)
            self._ignored = ignore_class
        h = ops.cast(self.h, self.kernel.dtype)  # it has a lower precision under a mixed dtype policy
        weights = None if weights is None else as_tensor(weights)
        arguments = h, self.kernel, self.bias, words, reduction, scale, self.transpose_kernel, weights
        check_arguments(*arguments)
        loss, losses = run_cross_entropy(self.plan, *arguments)
        self._targets, self._losses = targets, losses
        if self._teacher is None:
            return loss
        further = self._towards_teacher(words)
        if weights is not None:
            further *= ops.stop_gradient(ops.cast(weights, further.dtype))
        return loss + scale * (ops.sum(further) if reduction == "sum" else further)

    def _towards_teacher(self, words: Tensor) -> Tensor:
        """Returns what a word's loss has more than against its target alone: weight Σ_v (onehot(y) - q)_v z_v.

        The logits z = h W + b are linear in W, so Σ_v d_v z_v = h · (W d) + b · d, and no softmax of them is needed.
        """
        assert self._teacher is not None
        teacher, weight = self._teacher
        words = ops.reshape(words, (-1,))
        with without_gradients():
            at_targets = ops.stack([ops.arange(ops.shape(words)[0], dtype="int32"), ops.cast(words, "int32")], axis=-1)
            q = ops.stop_gradient(ops.cast(ops.softmax(teacher.logits()), self.kernel.dtype))
            difference = ops.scatter_update(q, at_targets, ops.take_along_axis(q, words[:, None], axis=-1)[:, 0] - 1.0)
        vectors = matmul(difference, self.kernel, transpose_b=not self.transpose_kernel)
        along = ops.sum(self._rows() * vectors, axis=-1) + ops.matmul(difference, self.bias)
        return ops.reshape(-weight * along, ops.shape(self.h)[:-1])

    def logits(self) -> Tensor:
        """Returns the logits of all words, float [N, V]."""
        return matmul(self._rows(), self.kernel, transpose_b=self.transpose_kernel) + self.bias

    def _rows(self) -> Tensor:
        """Returns h as [N, D], in the kernel's dtype."""
        return ops.cast(ops.reshape(self.h, (-1, self.h.shape[-1])), self.kernel.dtype)

    def losses_of(self, targets: Tensor, ignore_class: int | None = None) -> Tensor | None:
        """Returns the words' losses [...], without gradient, if a loss has computed those of this tensor, else None.

        Args:
            targets: the tensor that the loss was given.
            ignore_class: id of words that the caller leaves out.
        """
        known = targets is self._targets and self._ignored in (None, ignore_class)
        return self._losses if known else None


def by_word(weights: Tensor, shape: Sequence[int], dtype: str) -> Tensor:
    """Returns weights of the first dimensions as one for each word: of this shape and dtype.

    Args:
        weights: numbers of the shape's first dimensions, or of the whole shape with a further dimension of 1.
        shape: of the words.
        dtype: of the result.
    """
    weights = ops.cast(weights, dtype)
    if len(weights.shape) > len(shape):
        return ops.reshape(weights, shape)
    missing = len(shape) - len(weights.shape)
    return ops.broadcast_to(ops.reshape(weights, (*ops.shape(weights), *[1] * missing)), shape)


@functools.cache
def warn_of_reading(loss: str, instead: str) -> None:
    """Warns once that a loss, by name, reads all logits; `instead` says what would not."""
    warnings.warn(f"{loss} reads all logits, which takes half a step or more: {instead}.", stacklevel=2)


def factors_for(loss: keras.losses.Loss, logits: Tensor) -> LogitFactors | None:
    """Returns what `factors_of` does, for a loss that reads the logits without them: of a step, a warning says so."""
    factors = factors_of(logits)
    if factors is None and is_traced(logits):
        given = "give it those of kerasptb.layers.Dense or TiedDense, without an activation, which carry what it needs"
        warn_of_reading(f"kerasptb.losses.{type(loss).__name__}", given)
    return factors


@contextlib.contextmanager
def unread(is_unread: bool = True) -> Iterator[None]:
    """Says that nobody reads the logits of the body but by their factors, if that is so: none are computed then."""
    token = _UNREAD.set(is_unread)
    try:
        yield
    finally:
        _UNREAD.reset(token)


def logits_or_none_read(compute: Callable[[], Tensor], shape: Sequence[int], dtype: str) -> Tensor:
    """Returns the logits that `compute` returns; where they are unread, NaN that take no memory."""
    return ops.broadcast_to(ops.cast(float("nan"), dtype), shape) if _UNREAD.get() else compute()


def attach(logits: Tensor, factors: LogitFactors) -> None:
    """Makes logits carry their `LogitFactors`."""
    set_tensor_attr(logits, _ATTRIBUTE, factors)


def factors_of(logits: Tensor) -> LogitFactors | None:
    """Returns the `LogitFactors` that the logits carry, or None."""
    return get_tensor_attr(logits, _ATTRIBUTE)
