import numpy as np
import pytest
import tensorflow as tf

from kerasptb.ops.tensors import compiled_by_xla, matmul_bfloat16


@pytest.mark.parametrize("transposed", [(False, False), (True, False), (False, True), (True, True)])
@pytest.mark.parametrize("jit_compile", [None, False, True])
def test_product_of_operands_rounded_to_bfloat16(transposed, jit_compile):
    generator = np.random.default_rng(0)
    shapes = ((70, 5) if transposed[0] else (5, 70)), ((9, 70) if transposed[1] else (70, 9))
    arrays = [tf.constant(generator.normal(size=shape), "float32") for shape in shapes]
    rounded = [tf.cast(tf.cast(x, "bfloat16"), "float64").numpy() for x in arrays]
    exact, unrounded = (
        (a.T if transposed[0] else a) @ (b.T if transposed[1] else b) for a, b in (rounded, [x.numpy() for x in arrays])
    )

    def product(a, b):
        return matmul_bfloat16(a, b, *transposed)

    found = (product if jit_compile is None else tf.function(product, jit_compile=jit_compile))(*arrays)
    assert found.dtype == tf.float32
    np.testing.assert_allclose(found, exact, atol=1e-5)
    assert np.abs(found - unrounded).max() > 1e-3


def test_xla_gets_a_product_of_bfloat16():
    # XLA may drop a rounding to bfloat16 that is widened again before a product.
    a, b = tf.zeros((5, 7)), tf.zeros((7, 9))
    program = tf.function(lambda: matmul_bfloat16(a, b), jit_compile=True).experimental_get_compiler_ir()(stage="hlo")
    (product,) = [line for line in program.splitlines() if " dot(" in line]
    assert "f32[5,9]" in product
    assert "bf16[5,7]" in program
    assert "f32[5,7]{1,0} convert(" not in program


def test_compiled_by_xla_is_known_where_it_is_traced():
    found = []

    def trace(x):
        found.append(compiled_by_xla())
        return x

    trace(1)
    tf.function(trace)(1)
    tf.function(trace, jit_compile=True)(1)
    assert found == [False, False, True]
