"""Dropout."""

import keras
from keras import ops

from kerasptb.ops import platform as platforms
from kerasptb.ops.plan import choose
from kerasptb.ops.sharding import Rows, first_of_replica
from kerasptb.ops.tensors import differentiable


def dropout(x, rate, seed):
    """Sets elements to zero at random and scales the others by 1 / (1 - rate), in the native library.

    The draws depend on nothing but the seed and an element's index. The gradient draws them anew instead of keeping
    them. Keras' and XLA's dropout draw other numbers.

    Args:
        x: float32, any shape; with TensorFlow the first two sizes of several may be open.
        rate: probability of zero, in [0, 1).
        seed: int [2].

    Returns:
        float32 of x's shape.

    Raises:
        NativeUnavailableError: if the native library cannot be used.
        ValueError: if other sizes are.
    """
    from kerasptb.ops.native import calls  # noqa: PLC0415  (imports private parts of TensorFlow: only when used)

    keep_prob = ops.convert_to_tensor(1.0 - rate, "float32")

    def run(x, seed):
        sized_by = 0 if len(x.shape) > 1 else None
        arguments, outputs = [x, seed, keep_prob], [calls.open_shape(x.shape)]
        if (first := first_of_replica(x.shape)) is not None:
            arguments.append(first)  # replicas draw the numbers that one process would draw
        return calls.call("kerasptb_dropout_float32", arguments, outputs, sized_by=sized_by)[0]

    def forward(x, seed):
        return run(x, seed), seed

    def backward(seed, upstream):
        return dropout(upstream[0], rate, seed), None  # itself differentiable: dropout is linear

    rows = Rows((0, None), (0,)) if len(x.shape) > 1 else None
    return differentiable(run, forward, backward, rows)(x, ops.cast(seed, "int32"))


def check_rates(**rates):
    """Raises ValueError unless all rates are in [0, 1)."""
    for name, rate in rates.items():
        if not 0 <= rate < 1:
            raise ValueError(f"Expected {name} to be in [0, 1). Received: {name}={rate}")


def draw_dropout(x, rate, seeds):
    """Returns `dropout` of x, with the next seed of a `keras.random.SeedGenerator`; or Keras' own if it cannot be."""
    if keras.backend.standardize_dtype(x.dtype) == "float32" and plan(tuple(x.shape)).is_native:
        return dropout(x, rate, seeds.next())
    return keras.random.dropout(x, rate, seed=seeds)


def plan(shape, dtype="float32", platform=None):
    """Returns the `Plan` of dropout: "native" as above, or "keras" for Keras' own, which draws other numbers.

    Args:
        shape: the input's, with None for unknown sizes; `None` if all will be known.
        dtype: name of the input's dtype.
        platform: a `Platform`; `None` for this process's.
    """
    platform = platform or platforms.this_process()
    fixed = () if shape is None else shape[2:] if len(shape) > 1 else shape
    limits = {
        "The native kernel of dropout is for processors.": platform.gpu,
        f"Native dropout is in float32. Received: dtype={dtype}.": dtype not in ("float32", "bfloat16", "float16"),
        f"The native backend needs static shapes. Received: shape={shape}.": None in fixed,
    }
    return choose("auto", limit=next((limit for limit, holds in limits.items() if holds), None), platform=platform)
