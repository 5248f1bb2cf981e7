"""Calls of the native library's handlers with shapes, types and attributes that do not fit, under sanitizers.

    python tests/fuzz/handlers.py [SECONDS] [SEED]

The library is compiled with the address and the undefined-behaviour sanitizer. Sound calls of every operation are
recorded and changed at random; each must succeed, or be refused. What a sanitizer finds ends the process.
"""

import collections
import itertools
import os
import random
import subprocess
import sys
import time

FLAGS = "-fsanitize=address,undefined -g -O1 -fno-omit-frame-pointer -fno-sanitize-recover=undefined"


def under_sanitizers():
    """Starts this program again with the sanitizers' runtimes, which must be loaded first."""
    from kerasptb.native import build

    os.environ |= {"KERASPTB_CXXFLAGS": FLAGS, "KERASPTB_NVCC": "", "KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu"}
    build.build()
    runtimes = [
        subprocess.run(
            [*build.find_compiler(), f"-print-file-name={name}"], capture_output=True, text=True, check=True
        ).stdout.strip()
        for name in ("libasan.so", "libubsan.so", "libstdc++.so.6")
    ]
    options = "detect_leaks=0:detect_stack_use_after_return=0"
    environment = {**os.environ, "LD_PRELOAD": " ".join(runtimes), "ASAN_OPTIONS": options}
    os.execve(sys.executable, [sys.executable, *sys.argv], environment)


def sound_calls():
    """Returns calls as (target, arguments, outputs, attributes), of every operation once or twice."""
    import jax
    import numpy as np

    from kerasptb import ops
    from kerasptb.cells import CELLS
    from kerasptb.cells.gru import GRU
    from kerasptb.ops import calls as native_calls
    from kerasptb.ops import clipped_adamw, clipped_sgd
    from kerasptb.ops import platform as platforms
    from kerasptb.ops.clipped_step import plan_of
    from kerasptb.ops.dropout import dropout
    from kerasptb.ops.global_norm import global_norm
    from kerasptb.ops.recurrence import recur

    recorded, call = [], native_calls.call_jax

    def record(target, arguments, outputs, aliases, attributes):
        specs = [(tuple(argument.shape), str(argument.dtype)) for argument in arguments]
        recorded.append((target, specs, list(outputs), dict(attributes)))
        return call(target, arguments, outputs, aliases, attributes)

    native_calls.call_jax = record
    made = np.random.default_rng(0)

    def numbers(*shape):
        return jax.numpy.asarray(made.normal(size=shape), "float32")

    batch, steps, features, units, words = 4, 3, 5, 6, 9
    for precision in ("float32", "bfloat16", "bfloat16x3"):
        if platforms.why_not_native(precision) is not None:
            continue
        layer = [numbers(batch, steps, features), numbers(batch, units), numbers(batch, units)]
        layer += [numbers(features, 4 * units), numbers(units, 4 * units), numbers(4 * units)]

        def of_layer(*arrays, precision=precision):
            return ops.lstm(*arrays, backend="native", precision=precision)[0].sum()

        jax.grad(of_layer, argnums=tuple(range(6)))(*layer)
        of_layer(*layer)
        targets = jax.numpy.asarray(made.integers(0, words, batch * steps), "int32")

        def of_words(h, kernel, bias, targets=targets, precision=precision):
            return ops.linear_cross_entropy(h, kernel, bias, targets, backend="native", precision=precision).sum()

        jax.grad(of_words, argnums=(0, 1, 2))(numbers(batch * steps, units), numbers(units, words), numbers(words))
    for cell in [CELLS["gru"], GRU(reset_after=False), CELLS["cifg"], CELLS["capped_lstm"]]:
        shapes = [shape for _, shape in cell.weight_shapes(features, units).values()]
        arrays = (
            numbers(batch, steps, features),
            [numbers(batch, units)] * len(cell.states),
            [numbers(*s) for s in shapes],
        )
        masks = (None, numbers(batch, units), numbers(len(cell.gates), batch, units))
        precisions = [precision for precision in cell.precisions if platforms.why_not_native(precision) is None]
        for mask, precision in itertools.product(masks, precisions):

            def of_cell(x, state, weights, cell=cell, mask=mask, precision=precision):
                masks = {} if mask is None else {"recurrent_mask": mask}
                return recur(cell, x, state, weights, "native", precision, **masks)[0].sum()

            jax.grad(of_cell, argnums=(0, 1, 2))(*arrays)
            of_cell(*arrays)
    dropout(numbers(batch, units), 0.5, jax.numpy.asarray([1, 2]))
    variables, gradients = [numbers(7), numbers(4, 3)], [numbers(7), numbers(4, 3)]
    global_norm(gradients)
    options = {"global_clipnorm": 1.0, "weight_decays": [0.1, 0.0]}
    plan = plan_of(variables, gradients, "native")
    clipped_sgd.run(plan, variables, gradients, 0.1, **options)
    squares = [jax.numpy.abs(array) for array in variables]
    clipped_adamw.run(plan, variables, variables, squares, gradients, 0.1, 1, 0.9, 0.999, 1e-7, **options)
    native_calls.call_jax = call
    return recorded


def changed(target, arguments, outputs, attributes, draw):
    """Returns a call in which something is another."""
    arguments, outputs, attributes = list(arguments), list(outputs), dict(attributes)
    for _ in range(draw.choice([0, 1, 1, 1, 2, 3])):
        specs = draw.choice([arguments, outputs])
        if not specs:
            continue
        i = draw.randrange(len(specs))
        shape, dtype = specs[i]
        match draw.randrange(7):
            case 0:
                del specs[i]
            case 1:
                specs.insert(i, specs[i])
            case 2:
                specs[i] = (shape, draw.choice(["float32", "bfloat16", "int32", "int16", "float16"]))
            case 3:
                specs[i] = ((*shape, draw.choice([0, 1, 2])), dtype)
            case 4:
                specs[i] = (shape[1:], dtype)
            case 5 if shape:
                j = draw.randrange(len(shape))
                size = draw.choice([0, 1, 2, 3, 17, 64, 1000, shape[j] + 1, max(shape[j] - 1, 0)])
                specs[i] = ((*shape[:j], size, *shape[j + 1 :]), dtype)
            case _ if attributes:
                name = draw.choice(list(attributes))
                attributes[name] = draw.choice([True, False, 7, "text"])
    return target, arguments, outputs, attributes


def main(seconds, seed):
    """Calls handlers until the time is over."""
    import jax
    import numpy as np

    from kerasptb.ops import calls as native_calls

    calls, draw, counts = sound_calls(), random.Random(seed), collections.Counter()
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        target, arguments, outputs, attributes = changed(*draw.choice(calls), draw)
        arrays = [
            jax.numpy.asarray(np.random.default_rng(seed).integers(-2, 9, shape) / 4, dtype)
            for shape, dtype in arguments
        ]
        try:
            jax.block_until_ready(native_calls.call_jax(target, arrays, tuple(outputs), {}, attributes))
            counts["succeeded"] += 1
        except (jax.errors.JaxRuntimeError, ValueError, TypeError):
            counts["refused"] += 1
    targets = len({target for target, *_ in calls})
    print(f"handlers: {counts.total()} calls of {targets} handlers, {counts['refused']} refused, nothing found")


if __name__ == "__main__":
    if "LD_PRELOAD" not in os.environ:
        under_sanitizers()
    main(*(int(text) for text in (sys.argv[1:] + ["60", "0"][len(sys.argv) - 1 :])))
