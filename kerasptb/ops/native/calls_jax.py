"""Call a handler of the native library on JAX arrays: eagerly, or as part of a program that `jax.jit` compiles."""

import jax


def call(target, arguments, outputs, aliases, attributes):
    """See `calls.call`; each output is a (shape, dtype) pair."""
    results = [jax.ShapeDtypeStruct(shape, dtype) for shape, dtype in outputs]
    return jax.ffi.ffi_call(target, results, input_output_aliases=aliases)(*arguments, **attributes)
