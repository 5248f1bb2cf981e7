"""Private names of TensorFlow; importing this module imports TensorFlow."""

from tensorflow.compiler.tf2xla.python import xla
from tensorflow.python.eager.record import could_possibly_record
from tensorflow.python.framework.ops import gradient_registry
from tensorflow.python.ops.control_flow_util import GraphOrParentsInXlaContext
from tensorflow.python.ops.resource_variable_ops import default_variable_creator_v2

__all__ = [
    "could_possibly_record",
    "create_variable",
    "dot_dimensions",
    "dot_general",
    "forget_gradient",
    "in_xla_context",
    "xla_call_module",
]

# could_possibly_record: whether any gradient tape records; a public tape knows only of itself.

# XLA's product with operands in bfloat16 and sums in float32, which `tf.matmul` does not have, and its dimensions.
dot_general = xla.dot_general
dot_dimensions = xla.xla_data_pb2.DotDimensionNumbers

# The operation that runs a StableHLO program, and so XLA's custom calls: `tf.raw_ops` lacks it.
xla_call_module = xla.gen_xla_ops.xla_call_module


def in_xla_context(graph):
    """Whether a graph is compiled by XLA, or is part of one that is."""
    return GraphOrParentsInXlaContext(graph)


def forget_gradient(name):
    """Removes a custom gradient, which TensorFlow keeps for ever, with all that its graph has captured."""
    gradient_registry._registry.pop(name, None)


def create_variable(_, **arguments):
    """Makes a variable while a function is traced: the creator of `tf.function` refuses from the second trace on."""
    return default_variable_creator_v2(None, **arguments)
