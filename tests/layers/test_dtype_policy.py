"""FusedLSTM under Keras' policy mixed_bfloat16, which is the kernels' bfloat16 where they have it."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerasptb import native
from kerasptb.layers import FusedLSTM
from kerasptb.ops import platform as platforms
from kerasptb.ops.plan import Plan, default_precision

B, T, D, H = 4, 6, 3, 10


@pytest.fixture
def native_bfloat16(skip_without):
    skip_without("bfloat16")


def inputs():
    """Numbers that bfloat16 holds: to cast them to it changes nothing."""
    return np.random.default_rng(0).integers(-100, 100, (B, T, D)).astype("float32") / 64


def layer_of(dtype, **kwargs):
    layer = FusedLSTM(H, dtype=dtype, return_sequences=True, **kwargs)
    layer.build((B, T, D))
    generator = np.random.default_rng(1)
    layer.set_weights([generator.standard_normal(weight.shape) * 0.5 for weight in layer.weights])
    return layer


def outputs_and_gradients(layer, jit_compile):
    @tf.function(jit_compile=jit_compile)
    def run(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = layer(x)
            loss = tf.reduce_sum(tf.cast(y, "float32"))
        return y, tape.gradient(loss, [x, *layer.trainable_variables])

    y, gradients = run(tf.constant(inputs()))
    return y, [gradient.numpy() for gradient in gradients]


@pytest.mark.parametrize("jit_compile", [False, True], ids=["graph", "jit"])
@pytest.mark.parametrize("kwargs", [{}, {"backend": "native"}, {"precision": "bfloat16"}], ids=str)
def test_is_native_bfloat16_with_outputs_rounded(native_bfloat16, kwargs, jit_compile):
    mixed, (dx, *weight_gradients) = outputs_and_gradients(layer_of("mixed_bfloat16", **kwargs), jit_compile)
    expected, (dx_expected, *expected_gradients) = outputs_and_gradients(
        layer_of("float32", precision="bfloat16"), jit_compile
    )
    assert mixed.dtype == tf.bfloat16
    np.testing.assert_array_equal(tf.cast(mixed, "float32"), tf.cast(tf.cast(expected, "bfloat16"), "float32"))
    # The inputs were cast, so their gradient is; the weights were not.
    np.testing.assert_array_equal(dx, tf.cast(tf.cast(dx_expected, "bfloat16"), "float32"))
    for gradient, exact in zip(weight_gradients, expected_gradients, strict=True):
        assert gradient.dtype == "float32"
        np.testing.assert_array_equal(gradient, exact)
        assert (gradient != tf.cast(tf.cast(gradient, "bfloat16"), "float32").numpy()).any()


def test_what_only_keras_serves(native_bfloat16):
    ours, theirs = (kind(H, dtype="mixed_bfloat16", activation="relu") for kind in (FusedLSTM, keras.layers.LSTM))
    ours.build((B, T, D))
    theirs.build((B, T, D))
    theirs.set_weights(ours.get_weights())
    a, b = (np.asarray(keras.ops.cast(layer(inputs()), "float64")) for layer in (ours, theirs))
    np.testing.assert_array_equal(a, b)
    with pytest.raises(ValueError, match=r"activation=.*precision='bfloat16'"):
        FusedLSTM(H, dtype="mixed_bfloat16", backend="native", activation="relu")


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
@pytest.mark.parametrize("masked", [False, True])
def test_float32_kernels_serve_other_mixed_policies(native_library, policy, masked, monkeypatch):
    """Inputs and outputs are of the policy, the rest is float32."""
    monkeypatch.setattr(
        platforms, "why_not_native", lambda precision="float32": None if precision == "float32" else "No bfloat16."
    )
    mask = np.arange(T) < np.array([[1], [2], [4], [6]]) if masked else None
    mixed = layer_of(policy)
    assert mixed.plan((B, T, D)) == Plan("native")
    found, expected = mixed(inputs(), mask=mask), layer_of("float32")(inputs(), mask=mask)
    assert found.dtype == mixed.compute_dtype
    np.testing.assert_array_equal(tf.cast(found, "float32"), tf.cast(tf.cast(expected, found.dtype), "float32"))
    if policy == "mixed_bfloat16":
        with pytest.raises(native.NativeUnavailableError, match=r"No bfloat16\. Use .* Received: backend='native'"):
            FusedLSTM(H, dtype="mixed_bfloat16", backend="native")


DROPOUT = [
    {"dropout": 0.5},
    {"recurrent_dropout": 0.5},
    {"dropout": 0.5, "recurrent_dropout": 0.5},
    {"dropout": 0.5, "recurrent_dropout": 0.5, "shared_recurrent_dropout": True},
    {"dropout": 0.5, "recurrent_kernel_dropout": 0.5},
]


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
@pytest.mark.parametrize("rates", DROPOUT, ids=str)
def test_dropout_is_that_of_float32(native_library, policy, rates):
    """Masks have the numbers of a seed whatever the policy; 0 and 2 are exact in any of them."""
    options = {"seed": 3, "precision": "float32", **rates}
    mixed, expected = (layer_of(dtype, **options)(inputs(), training=True) for dtype in (policy, "float32"))
    np.testing.assert_array_equal(tf.cast(mixed, "float32"), tf.cast(tf.cast(expected, mixed.dtype), "float32"))
    assert np.abs(expected - layer_of("float32")(inputs())).max() > 0.05


@pytest.mark.parametrize("policy", ["float16", "mixed_float16", "mixed_bfloat16"])
@pytest.mark.parametrize("backend", ["reference", "keras"])
@pytest.mark.parametrize("rates", DROPOUT, ids=str)
def test_dropout_by_other_backends(native_library, policy, backend, rates):
    layer = layer_of(policy, backend=backend, seed=3, **rates)
    with tf.GradientTape() as tape:
        y = layer(inputs(), training=True)
        loss = tf.reduce_sum(tf.cast(y, "float32"))
    gradients = tape.gradient(loss, layer.trainable_variables)
    assert y.dtype == layer.compute_dtype
    assert all(np.isfinite(gradient).all() for gradient in [tf.cast(y, "float32"), *gradients])
    difference = np.abs(tf.cast(y, "float32") - tf.cast(layer(inputs()), "float32"))
    assert 0.05 < difference.max() < 2


@pytest.mark.parametrize("dtype", ["float32", "float64", "mixed_float16", "bfloat16"])
def test_no_other_policy_is_bfloat16(dtype):
    assert default_precision("native", keras.dtype_policies.get(dtype)) == "float32"


def test_stateful_goes_on_from_a_state_in_bfloat16(native_bfloat16):
    layer = layer_of("mixed_bfloat16", stateful=True)
    first = layer(inputs())
    state = [keras.ops.cast(s, "float32") for s in layer.states]
    second = layer(inputs())
    expected = layer_of("float32", precision="bfloat16")(inputs(), initial_state=state)
    np.testing.assert_array_equal(tf.cast(second, "float32"), tf.cast(tf.cast(expected, "bfloat16"), "float32"))
    assert np.abs(tf.cast(first - second, "float32")).max() > 0.01


def test_the_choice_is_not_saved(native_bfloat16):
    config = layer_of("mixed_bfloat16").get_config()
    assert config["precision"] is None
    assert FusedLSTM.from_config(config).dtype_policy.name == "mixed_bfloat16"
