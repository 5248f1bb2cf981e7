import keras
import numpy as np
import pytest
import tensorflow as tf

import kerasptb
from kerasptb.optimizers import ClippedAdamW, ClippedSGD
from kerasptb.optimizers.one_pass import OnePassStep

SHAPES = {"embeddings": (30, 4), "kernel": (4, 5), "bias": (5,)}
STEPS = 4
OPTIONS = [
    {},
    {"global_clipnorm": None},
    {"weight_decay": 0.3},
    {"use_ema": True, "ema_momentum": 0.75},
    {"weight_decay": 0.3, "use_ema": True, "ema_momentum": 0.75, "ema_overwrite_frequency": 3},
]


def variables():
    random = np.random.default_rng(0)
    return [keras.Variable(random.normal(size=shape).astype("float32"), name=name) for name, shape in SHAPES.items()]


def gradients(step):
    """Of step 0 below the limit, of the others above it."""
    random, scale = np.random.default_rng(1 + step), 0.1 if step == 0 else 3.0
    values = tf.constant(random.normal(size=(6, 4)).astype("float32") * scale)
    rows = tf.IndexedSlices(values, tf.constant([3, 7, 7, 0, 29, 7]), tf.constant([30, 4]))
    return [rows, *(tf.constant(random.normal(size=shape).astype("float32") * scale) for shape in ((4, 5), (5,)))]


def dense_gradients(step):
    return [tf.convert_to_tensor(gradient) for gradient in gradients(step)]


def train(optimizer, jit_compile, steps=STEPS, gradients=gradients):
    """Returns the variables after some steps, and the optimizer's own."""
    ours = variables()
    optimizer.build(ours)
    step = tf.function(lambda given: optimizer.apply(given, ours), jit_compile=jit_compile)
    for i in range(steps):
        step(gradients(i))
    state = [v for v in optimizer.variables if v.dtype == "float32"]
    return [v.numpy() for v in ours], [v.numpy() for v in state]


def assert_equal(found, expected, **tolerance):
    for some, others in zip(found, expected, strict=True):
        assert len(some) == len(others)
        for a, b in zip(some, others, strict=True):
            np.testing.assert_allclose(a, b, **{"rtol": 3e-6, "atol": 1e-6} | tolerance)


@pytest.fixture
def in_one_pass(native_library, monkeypatch):
    """The numbers of variables of the steps that were traced as one pass."""
    done, original = [], OnePassStep._backend_update_step

    def noted(self, grads, trainable_variables, learning_rate):
        if self._plan is not None:
            done.append(len(trainable_variables))
        return original(self, grads, trainable_variables, learning_rate)

    monkeypatch.setattr(OnePassStep, "_backend_update_step", noted)
    return done


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("jit_compile", [False, True], ids=["graph", "jit"])
def test_trains_as_keras_own(in_one_pass, options, jit_compile):
    options = {"weight_decay": 0.01, "global_clipnorm": 5.0, "beta_2": 0.99, **options}
    theirs = keras.optimizers.AdamW(0.1, **options)
    theirs.exclude_from_weight_decay(var_names=["bias"])
    found = train(ClippedAdamW(0.1, **options), jit_compile)
    # Without clipping, Keras squares each part of a row that occurs several times by itself.
    given = gradients if options["global_clipnorm"] else dense_gradients
    assert_equal(found, train(theirs, False, gradients=given))
    assert in_one_pass == ([3] if jit_compile else [])


def test_without_decay_it_is_adam(in_one_pass):
    optimizer = ClippedAdamW(0.1, weight_decay=None)
    copy = keras.optimizers.deserialize(keras.optimizers.serialize(optimizer))
    expected = train(keras.optimizers.Adam(0.1, beta_2=0.99, global_clipnorm=5.0), False)
    for ours in (optimizer, copy):
        assert_equal(train(ours, True), expected)


@pytest.mark.parametrize("jit_compile", [False, True], ids=["graph", "jit"])
def test_biases_do_not_decay(in_one_pass, jit_compile):
    optimizer = ClippedAdamW(0.5, weight_decay=0.5)
    zeros = [tf.zeros(shape) for shape in SHAPES.values()]
    (embeddings, kernel, bias), _ = train(optimizer, jit_compile, 1, lambda step: zeros)
    for found, start, factor in zip((embeddings, kernel, bias), variables(), (0.75, 0.75, 1), strict=True):
        np.testing.assert_allclose(found, factor * start.numpy(), rtol=1e-6)


def test_the_bias_of_a_normalised_state_does_not_decay():
    layer = kerasptb.LanguageModel(9, 4, 4, 2, 3, cell="layer_norm_lstm").stateful_layers()[0]
    optimizer = ClippedAdamW()
    optimizer.build(layer.trainable_variables)
    kept = {each.name for each in layer.trainable_variables if not optimizer._use_weight_decay(each)}
    assert kept == {"bias", "state_bias"}


@pytest.mark.parametrize("jit_compile", [False, True], ids=["graph", "jit"])
def test_averages_are_means_since_their_start(in_one_pass, jit_compile):
    optimizer, ours, past = ClippedAdamW(0.1, polyak_averaging=True), variables(), []
    optimizer.build(ours)
    step = tf.function(lambda given: optimizer.apply(given, ours), jit_compile=jit_compile)
    averages = optimizer._model_variables_moving_average
    for i in range(5):
        if i == 2:
            optimizer.start_averaging()
        step(gradients(i))
        past.append([v.numpy() for v in ours])
        expected = [np.mean(x, axis=0, dtype="float64") for x in zip(*past[2:], strict=True)] if i >= 2 else past[-1]
        assert_equal([[a.numpy() for a in averages]], [expected])
    assert in_one_pass == ([3] if jit_compile else [])


def test_a_variable_without_a_gradient_keeps_its_value_and_its_average_follows(in_one_pass):
    def some(step):
        return [gradients(step)[0], None, gradients(step)[2]]

    options = {"use_ema": True, "ema_momentum": 0.5, "weight_decay": 0.1}
    theirs = keras.optimizers.AdamW(0.1, global_clipnorm=5.0, beta_2=0.99, **options)
    theirs.exclude_from_weight_decay(var_names=["bias"])
    with pytest.warns(UserWarning, match="Gradients do not exist for variables"):
        found, expected = (
            train(ClippedAdamW(0.1, **options), True, gradients=some),
            train(theirs, False, gradients=some),
        )
    assert_equal(found, expected)
    assert in_one_pass == [2]
    np.testing.assert_array_equal(found[0][1], variables()[1].numpy())


@pytest.mark.parametrize("largest", [1e20, np.inf, np.nan])
@pytest.mark.parametrize("jit_compile", [False, True], ids=["graph", "jit"])
def test_a_norm_that_is_not_finite_gives_nan(in_one_pass, largest, jit_compile):
    def given(step):
        return [*gradients(step)[:2], tf.constant([largest, 0.0, 1.0, 2.0, 3.0])]

    for array in train(ClippedAdamW(0.1), jit_compile, 1, given)[0]:
        assert np.isnan(array).all()


def test_compiled_by_xla_one_operation_updates_the_memory_of_all_variables(native_library):
    ours, optimizer, given = variables(), ClippedAdamW(polyak_averaging=True), gradients(1)
    optimizer.build(ours)
    step = tf.function(lambda: optimizer.apply(given, ours), jit_compile=True)
    program = step.experimental_get_compiler_ir()(stage="optimized_hlo")
    assert program.count('custom_call_target="kerasptb_') == 1
    assert "kerasptb_clipped_adamw_float32" in program
    for shape in ("30,4", "4,5", "5"):
        assert f"f32[{shape}]" in program
        assert f"f32[{shape}]{{" not in "".join(line for line in program.splitlines() if " copy(" in line)


@pytest.mark.parametrize(
    "options",
    [{"amsgrad": True}, {"gradient_accumulation_steps": 2}, {"clipnorm": 1.0}, {"clipvalue": 0.5}],
    ids=str,
)
def test_what_the_native_operation_does_not_do_is_keras_own(in_one_pass, options):
    if not {"clipnorm", "clipvalue"} & set(options):
        options = {"global_clipnorm": 5.0, **options}
    else:
        options = {"global_clipnorm": None, **options}
    theirs = keras.optimizers.AdamW(0.1, weight_decay=0.1, beta_2=0.99, use_ema=True, **options)
    theirs.exclude_from_weight_decay(var_names=["bias"])
    ours = ClippedAdamW(0.1, weight_decay=0.1, use_ema=True, **options)
    found, expected = train(ours, True, gradients=dense_gradients), train(theirs, False, gradients=dense_gradients)
    assert_equal(found, expected, atol=3e-6)
    assert in_one_pass == []


def test_round_trips_through_its_config():
    optimizer = ClippedAdamW(0.3, global_clipnorm=2.0, polyak_averaging=True, weight_decay=0.2)
    copy = keras.optimizers.deserialize(keras.optimizers.serialize(optimizer))
    assert isinstance(copy, ClippedAdamW)
    assert copy.get_config() == optimizer.get_config()


def test_a_name_that_holds_bias_is_none():
    layer = keras.layers.Dense(1, kernel_initializer="ones", name="debiased")
    layer.build((None, 2))
    optimizer = ClippedAdamW(1.0, weight_decay=0.5)
    optimizer.build(layer.trainable_variables)
    optimizer.apply([tf.zeros((2, 1)), tf.zeros((1,))])
    np.testing.assert_allclose(layer.kernel, np.full((2, 1), 0.5))


@pytest.mark.parametrize("kind", [ClippedAdamW, ClippedSGD])
def test_a_clip_norm_below_zero_is_refused_and_zero_does_not_clip(kind):
    with pytest.raises(ValueError, match="Expected global_clipnorm of at least 0, or None"):
        kind(global_clipnorm=-1.0)
    assert kind(global_clipnorm=0.0).global_clipnorm is None
