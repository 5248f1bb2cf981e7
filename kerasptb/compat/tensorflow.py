"""Private names of TensorFlow; importing this module imports TensorFlow."""

import weakref as _weakref
from typing import Any as _Any

from tensorflow.compiler.tf2xla.python import xla as _xla

# Whether any gradient tape records: a public tape knows only of itself.
from tensorflow.python.eager.record import could_possibly_record as could_possibly_record

# A context in which no gradient tape records: a public tape pauses only itself.
from tensorflow.python.eager.record import stop_recording as stop_recording
from tensorflow.python.framework.ops import gradient_registry as _gradient_registry
from tensorflow.python.ops import control_flow_util as _control_flow
from tensorflow.python.ops.resource_variable_ops import default_variable_creator_v2 as _default_variable_creator

# Whether a graph is compiled by XLA, or is part of one that is.
in_xla_context = _control_flow.GraphOrParentsInXlaContext

# XLA's product with operands in bfloat16 and sums in float32, which `tf.matmul` does not have, and its dimensions.
dot_general, dot_dimensions = _xla.dot_general, _xla.xla_data_pb2.DotDimensionNumbers

# The operation that runs a StableHLO program, and so XLA's custom calls: `tf.raw_ops` lacks it.
xla_call_module = _xla.gen_xla_ops.xla_call_module


def keep_gradient_with_graph(operation: _Any) -> None:
    """Lets a custom gradient live as long as the graph of its operation, and the graphs around it."""
    # TensorFlow keeps it for ever, in a registry, and by it the graph and all that it has captured, such as weights.
    name, graph = operation.get_attr("_gradient_op_type").decode(), operation.graph
    entry = _gradient_registry._registry[name]
    function = entry["type"]
    while graph is not None:
        graph._kerasptb_gradients = [*getattr(graph, "_kerasptb_gradients", ()), function]
        graph = getattr(graph, "outer_graph", None)
        graph = graph if hasattr(graph, "outer_graph") else None  # the one around all functions lives for ever
    alive = _weakref.ref(function, lambda _: _gradient_registry._registry.pop(name, None))

    def gradient(operation: _Any, *upstream: _Any) -> _Any:
        return alive()(operation, *upstream)  # type: ignore[misc]

    entry["type"] = gradient


def create_variable(_: _Any, **arguments: _Any) -> _Any:
    """Makes a variable while a function is traced: the creator of `tf.function` refuses from the second trace on."""
    return _default_variable_creator(None, **arguments)
