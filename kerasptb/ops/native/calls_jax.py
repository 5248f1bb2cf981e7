"""Calls a handler of the native library on JAX arrays: eagerly, or as part of a program that `jax.jit` compiles."""

import jax


def call(target, arguments, outputs, aliases, attributes, sized_by):
    """See `calls.call`; each output is a (shape, dtype) pair. JAX knows all sizes."""
    results = [jax.ShapeDtypeStruct(shape, dtype) for shape, dtype in outputs]
    # Under `jax.vmap` the calls run one after the other, each with all threads.
    function = jax.ffi.ffi_call(target, results, input_output_aliases=aliases, vmap_method="sequential")
    return function(*arguments, **attributes)
