"""Operations whose rows are divided among replicas: `keras.distribution.DataParallel`, with Keras on JAX.

XLA does not know what a native operation does. It would gather the rows of all replicas, and compute all of them on
each. Here each replica runs the operation on its own rows, by `jax.shard_map`. Results stay where their rows are, and
so does what is kept for the gradient. Of an argument that all rows share, such as weights, the gradients are summed.
"""

import contextlib
import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import keras

from kerasptb.ops.backend import ON_JAX, jax
from kerasptb.ops.types import Shape, Tensors
from kerasptb.utils.types import Tensor

_inside: list[str] = []  # the axes of the divisions that are being traced


class Passes(NamedTuple):
    """The three functions of an operation with its own gradient, as `tensors.differentiable` takes them."""

    inference: Callable[..., Any]
    forward: Callable[..., tuple[Any, Any]]
    backward: Callable[..., Any]


class Rows(NamedTuple):
    """Where the rows of an operation are: a dimension of each argument and result."""

    arguments: tuple[int | None, ...]  # None for one that all rows share
    results: tuple[int | None, ...]  # None for a sum over the rows


def divided(passes: Passes, rows: Rows | None, arguments: Tensors) -> Passes:
    """Returns the passes of an operation, divided if there is a distribution that divides the rows of its arguments."""
    if rows is None or (division := _division(rows, arguments)) is None:
        return passes
    mesh, axis = division
    by_replica = jax.sharding.PartitionSpec(axis)

    def spec(dimension: int | None) -> Any:
        return jax.sharding.PartitionSpec(*(() if dimension is None else (*[None] * dimension, axis)))

    of_arguments = tuple(map(spec, rows.arguments))
    of_results = tuple(map(spec, rows.results))

    def divide(function: Callable[..., Any], in_specs: Any, out_specs: Any) -> Callable[..., Any]:
        def of_replica(*own_arguments: Tensor) -> Any:
            with _tracing(axis):
                return function(*own_arguments)

        return jax.shard_map(of_replica, mesh=mesh, in_specs=in_specs, out_specs=out_specs, check_vma=False)

    def summed(results: Any) -> Any:
        several = isinstance(results, tuple)
        added = tuple(
            jax.lax.psum(result, axis) if dimension is None else result
            for result, dimension in zip(results if several else (results,), rows.results, strict=True)
        )
        return added if several else added[0]

    def inference(*own_arguments: Tensor) -> Any:
        return summed(passes.inference(*own_arguments))

    def forward(*own_arguments: Tensor) -> tuple[Any, Any]:
        results, saved = passes.forward(*own_arguments)
        # What is saved need not have rows: each replica keeps its own, side by side.
        return summed(results), jax.tree.map(lambda array: array[None], saved)

    def backward(saved: Any, upstream: Tensors) -> tuple[Tensor | None, ...]:
        gradients = passes.backward(jax.tree.map(lambda array: array[0], saved), upstream)
        return tuple(
            jax.lax.psum(gradient, axis) if gradient is not None and dimension is None else gradient
            for gradient, dimension in zip(gradients, rows.arguments, strict=True)
        )

    results = of_results if len(of_results) > 1 else of_results[0]
    return Passes(
        divide(inference, of_arguments, results),
        divide(forward, of_arguments, (results, by_replica)),
        divide(backward, (by_replica, of_results), of_arguments),
    )


def first_of_replica(shape: Shape) -> Tensor | None:
    """Returns where this replica's array of a shape begins in that of all, counted in elements; `None` if it is all."""
    if not _inside:
        return None
    return jax.lax.axis_index(_inside[-1]) * math.prod(shape)


def data_parallel() -> tuple[Any, str] | None:
    """Returns the mesh and the axis of the `DataParallel` distribution that is in force, for JAX; else None."""
    distribution = keras.distribution.distribution() if ON_JAX else None
    if not isinstance(distribution, keras.distribution.DataParallel):
        return None
    mesh, axis = distribution.device_mesh.backend_mesh, distribution.batch_dim_name
    return (mesh, axis) if mesh.shape[axis] > 1 else None


def place_rows(variable: keras.Variable) -> None:
    """Divides the rows of a variable, its first dimension, among the replicas, if there are any and the rows divide."""
    if (found := data_parallel()) is None or variable.shape[0] % found[0].shape[found[1]]:
        return
    mesh = keras.distribution.distribution().device_mesh
    variable._layout = keras.distribution.TensorLayout([found[1], *[None] * (len(variable.shape) - 1)], mesh)
    variable.assign(variable.value)


def on_every_replica(*arrays: Tensor) -> tuple[Tensor, ...]:
    """Returns arrays of divided rows such that each replica has all of them, if there are replicas."""
    if (found := data_parallel()) is None:
        return arrays
    whole = jax.sharding.NamedSharding(found[0], jax.sharding.PartitionSpec())
    return tuple(jax.lax.with_sharding_constraint(array, whole) for array in arrays)


def _division(rows: Rows, arguments: Tensors) -> tuple[Any, str] | None:
    """Returns mesh and axis if the rows can be divided and are not divided already, else None."""
    if (found := data_parallel()) is None:
        return None
    mesh, axis = found
    if axis in jax.sharding.get_abstract_mesh().manual_axes:
        return None
    sizes = [a.shape[d] for a, d in zip(arguments, rows.arguments, strict=True) if d is not None]
    return found if all(size > 0 and size % mesh.shape[axis] == 0 for size in sizes) else None


@contextlib.contextmanager
def _tracing(axis: str) -> Iterator[None]:
    _inside.append(axis)
    try:
        yield
    finally:
        _inside.pop()
