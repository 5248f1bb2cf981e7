import re

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerasptb.ops import platform as platforms
from kerasptb.optimizers import ClippedSGD
from kerasptb.optimizers.one_pass import norm_of_gradients


def variables():
    random = np.random.default_rng(0)
    return [keras.Variable(random.normal(size=shape).astype("float32")) for shape in ((30, 4), (4, 5), (5,))]


def gradients(scale):
    random = np.random.default_rng(1)
    values = tf.constant(random.normal(size=(6, 4)).astype("float32") * scale)
    rows = tf.IndexedSlices(values, tf.constant([3, 7, 7, 0, 29, 7]), tf.constant([30, 4]))
    return [rows, *(tf.constant(random.normal(size=shape).astype("float32") * scale) for shape in ((4, 5), (5,)))]


def apply_compiled(optimizer, gradients, variables, jit_compile):
    optimizer.build(variables)
    tf.function(lambda: optimizer.apply(gradients, variables), jit_compile=jit_compile)()


@pytest.mark.parametrize("scale", [0.01, 1.0, 1e4], ids=["below the limit", "above", "far above"])
@pytest.mark.parametrize("jit_compile", [False, True], ids=["graph", "jit"])
def test_updates_as_the_original_clips_and_descends(native_library, scale, jit_compile):
    ours, expected = variables(), [v.numpy() for v in variables()]
    apply_compiled(ClippedSGD(0.7, global_clipnorm=5.0), gradients(scale), ours, jit_compile)
    clipped, norm = tf.clip_by_global_norm(gradients(scale), 5.0)
    assert (norm > 5.0) == (scale >= 1.0)
    for variable, value, gradient in zip(ours, expected, clipped, strict=True):
        value_after = value - 0.7 * tf.convert_to_tensor(gradient).numpy()
        np.testing.assert_allclose(variable.numpy(), value_after, rtol=2e-6, atol=1e-6)


@pytest.mark.parametrize(
    "options",
    [
        {"weight_decay": 0.3},
        {"use_ema": True, "ema_momentum": 0.75},
        {"weight_decay": 0.3, "use_ema": True, "ema_momentum": 0.75, "ema_overwrite_frequency": 3},
    ],
    ids=str,
)
@pytest.mark.parametrize("jit_compile", [False, True], ids=["graph", "jit"])
def test_decays_and_averages_as_keras_own(native_library, options, jit_compile):
    ours, theirs = variables(), variables()
    optimizers = ClippedSGD(0.7, 5.0, **options), keras.optimizers.SGD(0.7, global_clipnorm=5.0, **options)
    for optimizer, of_it, compiled in zip(optimizers, (ours, theirs), (jit_compile, False), strict=True):
        optimizer.build(of_it)
        step = tf.function(optimizer.apply, jit_compile=compiled)
        for scale in (0.1, 1.0, 3.0, 10.0):
            step(gradients(scale))
    averages = [optimizer._model_variables_moving_average if optimizer.use_ema else [] for optimizer in optimizers]
    for a, b in zip([*ours, *averages[0]], [*theirs, *averages[1]], strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=3e-6, atol=2e-6)


@pytest.mark.parametrize("largest", [1e20, np.inf, np.nan])
def test_a_norm_that_is_not_finite_does_not_pass_for_a_small_step(largest):
    # The square of 1e20 is beyond float32: divided by such a norm every step would be zero.
    variable, theirs = (keras.Variable(np.array([1.0, 2.0, 3.0], "float32")) for _ in range(2))
    gradient = tf.constant([largest, 1.0, 2.0])
    ClippedSGD(1.0, global_clipnorm=5.0).apply([gradient], [variable])
    keras.optimizers.SGD(1.0, global_clipnorm=5.0).apply([gradient], [theirs])
    np.testing.assert_array_equal(theirs, [np.nan] * 3)
    np.testing.assert_array_equal(variable, theirs)


def test_norm_counts_a_repeated_row_once_for_each_occurrence():
    rows = tf.IndexedSlices(tf.constant([[3.0], [4.0]]), tf.constant([0, 0]), (2, 1))
    assert float(norm_of_gradients([rows])) == 5.0  # summed first, it would be 7


def test_sparse_gradient_stays_sparse_in_a_graph():
    embedding = keras.Variable(np.zeros((1000, 8), "float32"))
    optimizer = ClippedSGD()
    optimizer.build([embedding])

    @tf.function
    def step(values, rows):
        optimizer.apply([tf.IndexedSlices(values, rows, (1000, 8))], [embedding])

    operations = step.get_concrete_function(tf.TensorSpec((3, 8)), tf.TensorSpec((3,), tf.int32)).graph.get_operations()
    dense = [operation.name for operation in operations for output in operation.outputs if output.shape == (1000, 8)]
    assert dense == []
    assert "ResourceScatterSub" in {operation.type for operation in operations}


@pytest.mark.parametrize("options", [{}, {"weight_decay": 0.1, "polyak_averaging": True}], ids=str)
def test_compiled_by_xla_one_operation_updates_the_memory_of_all_variables(native_library, options):
    ours = variables()
    optimizer = ClippedSGD(**options)
    optimizer.build(ours)
    given = gradients(1.0)
    step = tf.function(lambda: optimizer.apply(given, ours), jit_compile=True)
    program = step.experimental_get_compiler_ir()(stage="optimized_hlo")
    assert program.count('custom_call_target="kerasptb_') == 1
    assert "kerasptb_clipped_sgd_float32" in program
    for shape in ("30,4", "4,5", "5"):
        assert f"f32[{shape}]" in program
        assert not re.search(rf"f32\[{shape}\]\S* copy\(", program)


@pytest.mark.parametrize("jit_compile", [False, True], ids=["graph", "jit"])
def test_a_step_is_planned_once(native_library, monkeypatch, jit_compile):
    planned, this_process = [], platforms.this_process
    monkeypatch.setattr(platforms, "this_process", lambda: planned.append(1) or this_process())
    ours = variables()
    apply_compiled(ClippedSGD(), gradients(1.0), ours, jit_compile)
    assert len(planned) == 1


@pytest.mark.parametrize("jit_compile", [False, True], ids=["graph", "jit"])
def test_elements_of_a_vector_may_have_a_gradient(native_library, jit_compile):
    vector = keras.Variable(np.zeros(50, "float32"))
    gradient = tf.IndexedSlices(tf.constant([1.0, 2.0, 4.0]), tf.constant([7, 3, 7]), (50,))
    apply_compiled(ClippedSGD(0.5, global_clipnorm=None), [gradient], [vector], jit_compile)
    assert vector.numpy()[7] == -2.5
    assert vector.numpy()[3] == -1.0
    assert np.count_nonzero(vector.numpy()) == 2


@pytest.mark.parametrize("jit_compile", [False, True], ids=["graph", "jit"])
def test_rows_that_occur_often_give_the_same_bits_each_time(native_library, jit_compile):
    random = np.random.default_rng(3)
    values = tf.constant(random.normal(size=(20000, 64)).astype("float32"))
    rows = tf.constant(random.integers(0, 50, 20000).astype("int32"))
    results = []
    for _ in range(5):
        embedding = keras.Variable(np.zeros((50, 64), "float32"))
        gradient = tf.IndexedSlices(values, rows, (50, 64))
        apply_compiled(ClippedSGD(global_clipnorm=None), [gradient], [embedding], jit_compile)
        results.append(embedding.numpy())
    expected = np.zeros((50, 64))
    np.subtract.at(expected, rows.numpy(), np.float64(values))
    np.testing.assert_allclose(results[0], expected, atol=1e-3)
    for result in results[1:]:
        np.testing.assert_array_equal(result, results[0])


def test_without_clipping_is_plain_gradient_descent():
    ours, keras_own = variables(), variables()
    dense = [tf.convert_to_tensor(gradient) * 100 for gradient in gradients(1.0)]
    ClippedSGD(0.1, global_clipnorm=None).apply(dense, ours)
    keras.optimizers.SGD(0.1).apply(dense, keras_own)
    for a, b in zip(ours, keras_own, strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("argument", [{"momentum": 0.9}, {"clipnorm": 1.0}, {"clipvalue": 1.0}])
def test_refuses_what_it_does_not_do(argument):
    with pytest.raises(ValueError, match=r"use keras\.optimizers\.SGD"):
        ClippedSGD(**argument)


def test_round_trips_through_its_config():
    optimizer = keras.optimizers.deserialize(keras.optimizers.serialize(ClippedSGD(0.3, global_clipnorm=2.0)))
    assert isinstance(optimizer, ClippedSGD)
    assert float(optimizer.learning_rate) == pytest.approx(0.3)
    assert optimizer.global_clipnorm == 2.0


def test_several_replicas_are_refused(monkeypatch):
    monkeypatch.setattr(type(tf.distribute.get_strategy()), "num_replicas_in_sync", 2)
    with pytest.raises(ValueError, match="Received: a strategy of 2 replicas"):
        ClippedSGD().apply(gradients(1.0), variables())


def test_gradients_of_rows_are_not_for_keras_to_accumulate_or_scale():
    assert ClippedSGD().takes_row_gradients()
    assert not ClippedSGD(gradient_accumulation_steps=2).takes_row_gradients()
    assert not ClippedSGD(loss_scale_factor=8.0).takes_row_gradients()
