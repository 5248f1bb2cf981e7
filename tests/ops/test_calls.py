"""The programs around calls of the native library."""

import re

import numpy as np
import pytest
import tensorflow as tf

from kerasptb.ops import calls, linear_cross_entropy, lstm


def test_operands_and_results_are_row_major_beside_transpositions(native_library):
    # On a GPU, XLA chooses a call's open layouts so that its neighbours' transpositions are free.
    def time_major(x, h, c, kernel, recurrent_kernel, bias):
        h_seq, *_ = lstm(tf.transpose(x, (1, 0, 2)), h, c, kernel, recurrent_kernel, bias, backend="native")
        return tf.transpose(h_seq, (2, 1, 0))

    B, T, D, H = 3, 4, 5, 6
    shapes = (T, B, D), (B, H), (B, H), (D, 4 * H), (H, 4 * H), (4 * H,)
    arguments = [tf.constant(np.random.default_rng(0).normal(size=shape), "float32") for shape in shapes]
    program = tf.function(time_major, jit_compile=True).experimental_get_compiler_ir(*arguments)(stage="hlo")
    (call,) = [line for line in program.splitlines() if " custom-call(" in line]
    constraints = call.partition("operand_layout_constraints=")[2]
    layouts = re.findall(r"\[([\d,]*)\]\{([\d,]*)\}", constraints + call.partition(" custom-call(")[0])
    assert len(layouts) == len(arguments) + 3
    for sizes, layout in layouts:
        assert layout.split(",") == [str(i) for i in reversed(range(len(sizes.split(","))))]


@pytest.mark.parametrize("in_graph", [False, True])
def test_a_gradient_of_a_gradient_is_refused_by_name(native_library, in_graph):
    h = tf.constant([[1.0, 2.0]])

    def second_derivative():
        with tf.GradientTape() as outer:
            outer.watch(h)
            with tf.GradientTape() as inner:
                inner.watch(h)
                loss = linear_cross_entropy(h, np.eye(2, dtype="f"), np.zeros(2, "f"), [1], "sum", backend="native")
            penalty = tf.reduce_sum(inner.gradient(loss, h) ** 2)
        return outer.gradient(penalty, h)

    with pytest.raises(NotImplementedError, match=r'no gradients of its gradients.*backend="keras"'):
        (tf.function(second_derivative) if in_graph else second_derivative)()


def test_call_needs_static_shapes(native_library):
    @tf.function(input_signature=[tf.TensorSpec((3, None))])
    def function(x):
        return calls.call("kerasptb_softmax_cross_entropy_loss_float32", [x, x[0], x], [(3,)])

    with pytest.raises(ValueError, match=r"needs static shapes. Received: shape=\(3, None\)"):
        function.get_concrete_function()
