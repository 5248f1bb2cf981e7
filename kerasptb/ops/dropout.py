"""Dropout."""

import math
from typing import Any

import keras
import numpy as np
from keras import ops

from kerasptb.ops import calls
from kerasptb.ops import platform as platforms
from kerasptb.ops.backend import ON_TORCH
from kerasptb.ops.plan import Plan, choose
from kerasptb.ops.sharding import Rows, first_of_replica
from kerasptb.ops.tensors import differentiable, do_not_convert
from kerasptb.ops.types import Shape, Tensors
from kerasptb.utils.types import Backend, Tensor

_FLOATS = ("float32", "bfloat16", "float16")  # float32 holds all of their numbers
_ROTATIONS = (13, 15, 26, 6, 17, 29, 16, 24)


@do_not_convert
def dropout(x: Tensor, rate: float, seed: Any, backend: Backend = "auto") -> Tensor:
    """Sets elements to zero at random, with probability `rate`, and scales the others by 1 / (1 - rate).

    The draws of "reference" and "native" depend on nothing but the seed and an element's index: Threefry-2x32 of J.
    Salmon et al., 2011, "Parallel random numbers: as easy as 1, 2, 3", as `src/dropout/dropout.h` says. The native
    gradient draws them anew instead of keeping them. "keras", Keras' dropout, draws other numbers. The seed is a
    `keras.random.SeedGenerator`, or int [2]; "keras" takes only the former.
    """
    return run(plan(tuple(x.shape), keras.backend.standardize_dtype(x.dtype), backend=backend), x, rate, seed)


def plan(
    shape: Shape | None,
    dtype: str = "float32",
    *,
    backend: Backend = "auto",
    platform: platforms.Platform | None = None,
) -> Plan:
    """Returns the `Plan` of a call; the shape is x's, with None for unknown sizes, or `None` if all will be known."""
    platform = platform or platforms.this_process()
    fixed = () if shape is None else shape[2:] if len(shape) > 1 else shape
    limits = {
        "The native kernel of dropout is for processors.": platform.gpu,
        f"Native dropout is in float32. Received: dtype={dtype}.": dtype not in _FLOATS,
        f"The native backend needs static shapes. Received: shape={shape}.": None in fixed,
    }
    return choose(backend, limits=limits, platform=platform)


def run(plan: Plan, x: Tensor, rate: float, seed: Any) -> Tensor:
    """Drops elements as planned; arguments and result are those of `dropout`."""
    if plan.implementation == "keras":
        if not isinstance(seed, keras.random.SeedGenerator):
            raise ValueError(f"Keras' dropout needs a keras.random.SeedGenerator. Received: seed={seed}")
        return keras.random.dropout(x, rate, seed=seed)
    seed = ops.cast(seed.next() if isinstance(seed, keras.random.SeedGenerator) else seed, "int32")
    function = _native if plan.implementation == "native" else _reference
    return ops.cast(function(ops.cast(x, "float32"), rate, seed), x.dtype)


def _reference(x: Tensor, rate: float, seed: Tensor) -> Tensor:
    if rate == 0:
        return x
    # Element 32 g + 16 j + l has number j of the counter 16 g + l.
    groups = -(-math.prod(x.shape) // 32)
    numbers = ops.stack(_threefry(ops.cast(ops.arange(16 * groups), "uint32"), ops.cast(seed, "uint32")))
    draws = ops.reshape(ops.transpose(ops.reshape(numbers, (2, groups, 16)), (1, 0, 2)), (-1,))
    keep_prob = np.float32(1.0 - rate)
    last_kept = ops.convert_to_tensor(math.ceil(float(keep_prob) * 2**32) - 1, "uint32")
    kept = ops.reshape(draws[: math.prod(x.shape)] <= last_kept, x.shape)
    return ops.where(kept, x * (np.float32(1) / keep_prob), 0.0)


def _threefry(counters: Tensor, key: Tensor) -> tuple[Tensor, Tensor]:
    """Both numbers of Threefry-2x32 with 20 rounds, for counters below 2^32; all uint32."""
    key = [_word(key[i]) for i in (0, 1)]
    keys = [key[0], key[1], ops.bitwise_xor(ops.bitwise_xor(key[0], key[1]), ops.cast(0x1BD11BDA, "uint32"))]
    x, y = _word(counters + keys[0]), ops.zeros_like(counters) + keys[1]
    for i in range(20):
        x = _word(x + y)
        left, right = (ops.cast(distance, "uint32") for distance in (_ROTATIONS[i % 8], 32 - _ROTATIONS[i % 8]))
        y = ops.bitwise_xor(_word(ops.bitwise_or(ops.left_shift(y, left), ops.right_shift(y, right))), x)
        if i % 4 == 3:
            n = i // 4 + 1
            x, y = _word(x + keys[n % 3]), _word(y + keys[(n + 1) % 3] + ops.cast(n, "uint32"))
    return x, y


def _word(x: Tensor) -> Tensor:
    """The low 32 bits, which Keras on PyTorch keeps in 64."""
    return ops.bitwise_and(x, ops.cast(2**32 - 1, "uint32")) if ON_TORCH else x


def _native(x: Tensor, rate: float, seed: Tensor) -> Tensor:
    keep_prob = ops.convert_to_tensor(1.0 - rate, "float32")

    def drop(x: Tensor, seed: Tensor) -> Tensor:
        sized_by = 0 if len(x.shape) > 1 else None
        arguments, outputs = [x, seed, keep_prob], [calls.open_shape(x.shape)]
        if (first := first_of_replica(x.shape)) is not None:
            arguments.append(first)  # replicas draw the numbers that one process would draw
        return calls.call("kerasptb_dropout_float32", arguments, outputs, sized_by=sized_by)[0]

    def forward(x: Tensor, seed: Tensor) -> tuple[Tensor, Tensor]:
        return drop(x, seed), seed

    def backward(seed: Tensor, upstream: Tensors) -> tuple[Tensor, None]:
        return _native(upstream[0], rate, seed), None  # itself differentiable: dropout is linear

    rows = Rows((0, None), (0,)) if len(x.shape) > 1 else None
    return differentiable(drop, forward, backward, rows)(x, seed)


def check_rates(**rates: float) -> None:
    """Raises ValueError unless all rates are in [0, 1)."""
    for name, rate in rates.items():
        if not 0 <= rate < 1:
            raise ValueError(f"Expected {name} to be in [0, 1). Received: {name}={rate}")
