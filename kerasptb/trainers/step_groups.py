"""Several training or evaluation steps as one XLA program, with TensorFlow on a processor.

Where a call takes several steps (`steps_per_execution`), Keras' function is a TensorFlow loop that fetches a batch,
starts the compiled step and keeps its logs. That takes a twentieth of a step of the notebook model in bfloat16. Here
the dataset yields the batches of a call as one group, and the loop over them is part of the program.
"""

from collections import namedtuple
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from kerasptb.ops.tensors import do_not_convert
from kerasptb.utils.types import Tensor

# What is known of groups: the `element_spec` of their dataset, and the batches of a group.
Groups = namedtuple("Groups", ["element_spec", "size"])


def can_be_grouped(dataset: tf.data.Dataset) -> bool:
    """Returns whether a `tf.data.Dataset` is of tensors of static shapes."""
    return all(
        isinstance(spec, tf.TensorSpec) and spec.shape.is_fully_defined()
        for spec in tf.nest.flatten(dataset.element_spec)
    )


def function_of_groups(step: Callable[[Any], Any], results: Callable[[], Any], size: int) -> Callable[[Any], Any]:
    """Returns a function for Keras' trainer: `step` takes each batch of a group of `size`, `results` gives the logs."""

    @tf.function(jit_compile=True)
    @do_not_convert
    def program(count: Tensor, group: Any) -> Any:
        def body(number: Tensor) -> tuple[Tensor]:
            step(tf.nest.map_structure(lambda batches: batches[number], group))
            return (number + 1,)

        tf.while_loop(lambda number: number < count, body, (tf.constant(0),))
        return results()

    traced = None

    def function(iterator: Any) -> Any:
        nonlocal traced
        group = next(iterator)  # at its end a StopIteration, which the trainer expects
        count = tf.nest.flatten(group)[0].shape[0]
        if count < size:  # filled up: a group of another size would be compiled anew
            group = tf.nest.map_structure(
                lambda batches: tf.pad(batches, [(0, size - count)] + [(0, 0)] * (batches.shape.rank - 1)), group
            )
        arguments = tf.constant(count), group
        if traced is None:
            # Else TensorFlow would trace at the first call, count the traces of all models together, and warn of them.
            traced = program.get_concrete_function(*arguments)
        return traced(*arguments)

    function.program = program  # type: ignore[attr-defined]
    return function
