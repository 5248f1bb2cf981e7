"""Calls a handler of the native library on TensorFlow tensors.

A call is an `XlaCallModule` operation around a StableHLO program of one custom call. TensorFlow runs it eagerly, in a
graph, and inside a program that XLA compiles (`jit_compile=True`); under XLA it becomes part of that program.
"""

import contextlib
import functools
from collections.abc import Iterable
from typing import Any

import tensorflow as tf

from kerasptb.compat.tensorflow import xla_call_module
from kerasptb.ops.tensors import compiled_by_xla
from kerasptb.ops.types import Aliases, Attributes, Outputs, Shape, Tensors
from kerasptb.utils.types import Tensor

_ELEMENT_TYPES = {"float32": "f32", "bfloat16": "bf16", "int32": "i32", "int16": "i16"}
_MODULE_VERSION = 9  # of the StableHLO serialization: the lowest that carries `platforms` and textual modules


def call(
    target: str, arguments: Tensors, outputs: Outputs, aliases: Aliases, attributes: Attributes, sized_by: int | None
) -> list[Tensor]:
    """See `calls.call`; each output is a (shape, dtype) pair."""
    if not compiled_by_xla():
        aliases = {}  # TensorFlow owns the arguments, so an alias would cause a copy
    inputs = tuple((tuple(argument.shape), argument.dtype.name) for argument in arguments)
    return xla_call_module(
        args=arguments,
        version=_MODULE_VERSION,
        module=_module(target, inputs, outputs, tuple(aliases.items()), tuple(attributes.items()), sized_by),
        Sout=[[size if isinstance(size, int) else None for size in shape] for shape, _ in outputs],
        Tout=[tf.as_dtype(dtype) for _, dtype in outputs],
        # With several names, the program would get an argument that says which platform it runs on. One name is enough
        # for all platforms because the check is off: XLA uses the handler of the platform that it compiles for.
        platforms=["CPU"],
        dim_args_spec=[],
        function_list=[],
        has_token_input_output=False,
        # The custom call is ours, and XLA's name for the platform is not known before the operation is placed.
        disabled_checks=[f"custom_call@{target}", "platform"],
    )


def _no_gradient(operation: Any, *_: Tensor) -> None:
    if b"custom_call @kerasptb_" in operation.get_attr("module"):
        raise NotImplementedError(
            "The native backend has no gradients of its gradients, nor forward-mode ones. Received: a second "
            "derivative of a native operation, or a first one from outside of `tf.vectorized_map`, which drops custom "
            'gradients: take that inside, or use `tf.map_fn`. Use backend="keras" for the others.'
        )
    raise LookupError(f"gradient registry has no entry for: {operation.type}")  # TensorFlow's own words


with contextlib.suppress(KeyError):  # another package has registered one
    tf.RegisterGradient("XlaCallModule")(_no_gradient)


@functools.lru_cache(maxsize=1024)
def _module(
    target: str,
    inputs: Outputs,
    outputs: Outputs,
    aliases: tuple[tuple[int, int], ...],
    attributes: tuple[tuple[str, bool], ...],
    sized_by: int | None,
) -> bytes:
    """Returns the StableHLO text of one call."""
    operands = [f"%arg{i}" for i in range(len(inputs))]
    operand_types = [_tensor_type(*entry) for entry in inputs]
    output_types = ", ".join(_tensor_type(*entry) for entry in outputs)
    parameters = ", ".join(f"{name}: {kind}" for name, kind in zip(operands, operand_types, strict=True))
    lines: list[str] = []
    module_attributes = call_attributes = ""
    if sized_by is not None and any(None in shape for shape, _ in inputs):
        # The shapes of the results are further operands. TensorFlow knows the sizes when it compiles the program: it
        # fills in these shapes and the types that depend on them, and drops the operands.
        lines = _size_lines(f"%arg{sized_by}", operand_types[sized_by])
        for i, (shape, _) in enumerate(outputs):
            lines += _shape_lines(f"%shape{i}", shape)
            operands.append(f"%shape{i}")
            operand_types.append(f"tensor<{len(shape)}xi32>")
        indices = ", ".join(str(i) for i in range(len(inputs), len(operands)))
        call_attributes = f", indices_of_shape_operands = dense<[{indices}]> : tensor<{len(outputs)}xi64>"
        module_attributes = "attributes {jax.uses_shape_polymorphism = true} "
    # The handlers assume row-major arrays. Without explicit layouts, XLA for a GPU chooses those that suit the
    # neighbouring operations: it may turn a transposition next to the call into a layout, which the kernel ignores.
    operand_ranks = [len(shape) for shape, _ in inputs] + [1] * (len(operands) - len(inputs))
    call_attributes += f", operand_layouts = [{_row_major(operand_ranks)}]"
    call_attributes += f", result_layouts = [{_row_major(len(shape) for shape, _ in outputs)}]"
    alias_list = ", ".join(
        f"#stablehlo.output_operand_alias<output_tuple_indices = [{output if len(outputs) > 1 else ''}], "
        f"operand_index = {argument}, operand_tuple_indices = []>"
        for argument, output in aliases
    )
    call_attributes += f", output_operand_aliases = [{alias_list}]"
    config = ", ".join(f"{name} = {str(value).lower()}" for name, value in attributes)
    bound, results = "%out", "%out"
    if len(outputs) > 1:
        bound, results = f"%out:{len(outputs)}", ", ".join(f"%out#{i}" for i in range(len(outputs)))
    return f"""
module @{target} {module_attributes}{{
  func.func public @main({parameters}) -> ({output_types}) {{
    {" ".join(lines)}
    {bound} = stablehlo.custom_call @{target}({", ".join(operands)})
        {{api_version = 4 : i32, backend_config = {{{config}}}, has_side_effect = false{call_attributes}}}
        : ({", ".join(operand_types)}) -> ({output_types})
    return {results} : {output_types}
  }}
}}""".encode()


def _size_lines(array: str, kind: str) -> list[str]:
    """Returns lines of StableHLO that bind %batch, %steps and %both, each a tensor<1xi32>, for an array [B, T, ...]."""
    sizes = [
        line
        for dimension, name in enumerate(("batch", "steps"))
        for line in (
            f"%{name}0 = stablehlo.get_dimension_size {array}, dim = {dimension} : ({kind}) -> tensor<i32>",
            f"%{name} = stablehlo.reshape %{name}0 : (tensor<i32>) -> tensor<1xi32>",
        )
    ]
    return [*sizes, "%both = stablehlo.multiply %batch, %steps : tensor<1xi32>"]


def _shape_lines(name: str, shape: Shape) -> list[str]:
    """Returns lines of StableHLO that bind a shape of ints and `OpenSize`s to a name."""
    lines: list[str] = []
    sizes: list[str] = []
    for i, size in enumerate(shape):
        constant, *factors = (size, 0, 0, 0) if isinstance(size, int) else size
        sizes.append(f"{name}_{i}")
        lines.append(f"{sizes[-1]} = stablehlo.constant dense<[{constant}]> : tensor<1xi32>")
        for of, factor in zip(("batch", "steps", "both"), factors, strict=True):
            if factor:
                product = f"{name}_{i}{of}"
                lines += [
                    f"{product}f = stablehlo.constant dense<[{factor}]> : tensor<1xi32>",
                    f"{product}p = stablehlo.multiply %{of}, {product}f : tensor<1xi32>",
                    f"{product} = stablehlo.add {sizes[-1]}, {product}p : tensor<1xi32>",
                ]
                sizes[-1] = product
    kinds = ", ".join(["tensor<1xi32>"] * len(shape))
    joined = f"{name} = stablehlo.concatenate {', '.join(sizes)}, dim = 0 : ({kinds}) -> tensor<{len(shape)}xi32>"
    return [*lines, joined]


def _row_major(ranks: Iterable[int]) -> str:
    """Returns the layouts of arrays of these ranks: each lists the dimensions, the fastest-varying one first."""
    return ", ".join(f"dense<{list(reversed(range(rank)))}> : tensor<{rank}xindex>" for rank in ranks)


def _tensor_type(shape: Shape, dtype: str) -> str:
    sizes = "".join(f"{size if isinstance(size, int) else '?'}x" for size in shape)
    return f"tensor<{sizes}{_ELEMENT_TYPES[dtype]}>"
