"""Call a handler of the native library on TensorFlow tensors.

A call is an `XlaCallModule` operation around a StableHLO program of one custom call. TensorFlow runs it eagerly, in a
graph, and inside a program that XLA compiles (`jit_compile=True`); under XLA it becomes part of that program.
"""

import functools

import tensorflow as tf
from tensorflow.compiler.tf2xla.python import xla as tf2xla

from kerasptb.ops.native import loader

_ELEMENT_TYPES = {"float32": "f32", "bfloat16": "bf16", "int32": "i32"}
_MODULE_VERSION = 9  # of the StableHLO serialization: the lowest that carries `platforms` and textual modules


def call(target, arguments, outputs):
    """Run the handler registered under `target`.

    Args:
        target: Name of the handler, as the headers in `src/` give them.
        arguments: Tensors of static shape; float32, bfloat16 or int32.
        outputs: The shape of each output, or a (shape, dtype) pair; dtype float32 unless given.

    Returns:
        A list of tensors.

    Raises:
        NativeUnavailableError: The library cannot be loaded.
        ValueError: An argument's shape is not static.
        tf.errors.InvalidArgumentError: The handler refused its arguments.
    """
    loader.load()
    for argument in arguments:
        if not argument.shape.is_fully_defined():
            raise ValueError(f"A native operation needs static shapes. Received: shape={argument.shape} for {target}")
    outputs = tuple(
        (tuple(output[0]), output[1]) if len(output) == 2 and isinstance(output[1], str) else (tuple(output), "float32")
        for output in outputs
    )
    inputs = tuple((tuple(argument.shape), argument.dtype.name) for argument in arguments)
    return tf2xla.gen_xla_ops.xla_call_module(
        args=arguments,
        version=_MODULE_VERSION,
        module=_module(target, inputs, outputs),
        Sout=[list(shape) for shape, _ in outputs],
        Tout=[tf.as_dtype(dtype) for _, dtype in outputs],
        platforms=["CPU"],
        dim_args_spec=[],
        function_list=[],
        has_token_input_output=False,
        # The custom call is ours, and XLA's name for the platform is not known before the operation is placed.
        disabled_checks=[f"custom_call@{target}", "platform"],
    )


@functools.lru_cache(maxsize=1024)
def _module(target, inputs, outputs):
    """The StableHLO text of one call."""
    input_types = [_tensor_type(*entry) for entry in inputs]
    output_types = ", ".join(_tensor_type(*entry) for entry in outputs)
    parameters = ", ".join(f"%arg{i}: {kind}" for i, kind in enumerate(input_types))
    operands = ", ".join(f"%arg{i}" for i in range(len(inputs)))
    results = ", ".join(f"%out#{i}" for i in range(len(outputs)))
    if len(outputs) == 1:
        bound, results = "%out", "%out"
    else:
        bound = f"%out:{len(outputs)}"
    return f"""
module @{target} {{
  func.func public @main({parameters}) -> ({output_types}) {{
    {bound} = stablehlo.custom_call @{target}({operands})
        {{api_version = 4 : i32, backend_config = {{}}, has_side_effect = false}}
        : ({", ".join(input_types)}) -> ({output_types})
    return {results} : {output_types}
  }}
}}""".encode()


def _tensor_type(shape, dtype):
    return f"tensor<{''.join(f'{size}x' for size in shape)}{_ELEMENT_TYPES[dtype]}>"
