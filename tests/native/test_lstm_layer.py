"""What the LSTM layer's handlers for processors have in common in every precision."""

import numpy as np
import pytest
import tensorflow as tf

from kerasptb.cells import CELLS
from kerasptb.native import loader
from kerasptb.ops import native_recurrence as recurrence
from kerasptb.ops.plan import Plan

# B, T, D, H: edges of tiles and of padding; more units than have their gates together; few rows for the threads; so
# many weights that x W is computed ahead.
SHAPES = [(1, 1, 1, 1), (3, 4, 5, 7), (16, 2, 33, 32), (20, 5, 70, 50), (2, 3, 8, 515), (2, 2, 1100, 1100)]


def arguments(shape, repeated=False):
    """x, h0, c0, kernel, recurrent_kernel and bias; with `repeated`, most rows of x occur several times."""
    B, T, D, H = shape
    generator = np.random.default_rng(shape)
    arrays = [
        generator.standard_normal(size) * scale
        for size, scale in [
            *[((B, T, D), 1), ((B, H), 0.5), ((B, H), 1)],
            *[((D, 4 * H), D**-0.5), ((H, 4 * H), H**-0.5), ((4 * H,), 0.2)],
        ]
    ]
    if repeated:
        arrays[0] = arrays[0].reshape(-1, D)[generator.integers(3, size=(B, T))]
    return [tf.constant(array, tf.float32) for array in arrays]


def layer(precision):
    if precision != "float32" and loader.cpu_level() not in loader.BFLOAT16_LEVELS:
        pytest.skip("this processor has no bfloat16")
    return recurrence._LAYERS[precision]


@pytest.mark.parametrize("precision", loader.PRECISIONS)
@pytest.mark.parametrize(("shape", "repeated"), [*((shape, False) for shape in SHAPES), ((60, 5, 256, 40), True)])
def test_inference_gives_the_bits_of_the_forward_pass(native_library, precision, shape, repeated):
    x, h0, c0, *weights = arguments(shape, repeated)
    inputs = recurrence.Inputs("lstm", x, [h0, c0], weights, [])
    forward, inference = layer(precision).forward(inputs), layer(precision).inference(inputs)
    assert len(inference) == 3
    for value, expected in zip(inference, forward, strict=False):
        np.testing.assert_array_equal(value, expected)


@pytest.mark.parametrize("precision", loader.PRECISIONS)
def test_an_operation_that_nothing_differentiates_saves_nothing(native_library, precision, monkeypatch):
    layer(precision)
    targets, call = [], recurrence.call
    monkeypatch.setattr(
        recurrence, "call", lambda target, *rest, **options: targets.append(target) or call(target, *rest, **options)
    )
    x, h0, c0, *weights = arguments((3, 4, 5, 7))
    recurrence.run(Plan("native", precision), CELLS["lstm"], x, [h0, c0], weights)
    with tf.GradientTape() as tape:
        tape.watch(weights)
        h_seq, _, _ = recurrence.run(Plan("native", precision), CELLS["lstm"], x, [h0, c0], weights)
    tape.gradient(h_seq, weights)
    assert targets == [f"kerasptb_lstm_{which}_{precision}" for which in ("inference", "forward", "backward")]


@pytest.mark.parametrize("precision", loader.PRECISIONS)
@pytest.mark.parametrize("operands", [1, 4])
def test_what_is_saved_is_asked_of_the_library(native_library, precision, operands):
    """Sizes as in `LayerSizes`, of B, T, D, H = 2, 3, 5, 20: 16 units' gates together in float32, 32 in bfloat16."""
    found = recurrence.saved_arrays("lstm", precision, 2, 3, 5, 20, operands)
    if precision == "float32":
        assert found == [((2, 3, 128), "float32"), ((2, 3, 20), "float32")]
        return
    parts, gates = (2, "float32") if precision == "bfloat16x3" else (1, "int16")
    rows = ((parts * operands, 4 * 2 + 32, 64), "bfloat16")
    assert found == [rows, ((3, 2, 128), gates), ((4, 2, 32), "float32")]
