"""Keras' cross-entropy from factors, against Keras' own from the same logits."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerasptb.layers import Dense
from kerasptb.losses import SparseCategoricalCrossentropy
from kerasptb.losses.sparse_categorical_crossentropy import from_factors
from kerasptb.metrics import Perplexity
from kerasptb.ops.logits import factors_of

B, T, D, V = 4, 5, 3, 7
RANDOM = np.random.default_rng(0)
H = RANDOM.normal(size=(B, T, D)).astype("float32")
Y = RANDOM.integers(0, V, (B, T)).astype("int32")
OF_WORDS = RANDOM.uniform(0.5, 2, (B, T)).astype("float32")
MASK = np.arange(B * T).reshape(B, T) % 3 > 0
UNKNOWN = np.where(np.arange(T) == 2, -1, Y)
KERAS = keras.losses.SparseCategoricalCrossentropy


class Unread(Dense):
    """Its logits are an error as soon as they are computed in a graph."""

    def call(self, inputs):
        logits = super().call(inputs)
        return self._hand_on(lambda: tf.gather(logits, tf.range(B) + 999), inputs)


def value_and_gradients(layer, loss, targets, weights=None, mask=None):
    """In a graph, where logits that nobody reads are never computed."""

    @tf.function
    def compute(h):
        with tf.GradientTape() as tape:
            tape.watch(h)
            logits = layer(h)
            if mask is not None:
                keras.src.backend.set_keras_mask(logits, tf.constant(mask))
            value = loss(targets, logits, weights)
            # Costs without a reduction get different upstream gradients.
            total = tf.reduce_sum(value * tf.reshape(tf.range(tf.size(value), dtype="float32") + 1, tf.shape(value)))
        return value, tape.gradient(total, [h, layer.kernel.value, layer.bias.value])

    return compute(tf.constant(H))


def layers():
    made = [cls(V) for cls in (Unread, keras.layers.Dense)]
    for layer in made:
        layer.build((B, T, D))
        layer.set_weights([np.random.default_rng(1).normal(size=w.shape) for w in layer.get_weights()])
    return made


@pytest.mark.parametrize("reduction", ["sum_over_batch_size", "sum", "mean_with_sample_weight", None])
@pytest.mark.parametrize(
    ("settings", "arguments"),
    [
        ({}, {"targets": Y}),
        ({}, {"targets": Y[..., None]}),
        ({}, {"targets": Y, "weights": OF_WORDS}),
        ({}, {"targets": Y, "mask": MASK}),
        ({}, {"targets": Y, "weights": OF_WORDS, "mask": MASK}),
        ({"ignore_class": int(Y[0, 0])}, {"targets": Y}),
        ({"ignore_class": -1}, {"targets": UNKNOWN, "weights": OF_WORDS, "mask": MASK}),
    ],
    ids=["plain", "a column", "weights", "mask", "both", "ignored", "an ignored id out of range"],
)
def test_values_and_gradients_are_those_of_keras(settings, arguments, reduction):
    ours, theirs = layers()
    settings = {**settings, "reduction": reduction}
    found, gradients = value_and_gradients(ours, SparseCategoricalCrossentropy(**settings), **arguments)
    expected, expected_gradients = value_and_gradients(theirs, KERAS(from_logits=True, **settings), **arguments)
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=2e-6, atol=1e-6)
    for gradient, wanted in zip(gradients, expected_gradients, strict=True):
        np.testing.assert_allclose(gradient, wanted, rtol=1e-5, atol=1e-6)


def test_weights_of_rows_are_of_rows_from_any_logits():
    weights = OF_WORDS[:, 0]  # Keras would take them for weights of steps
    ours, theirs = layers()
    expected, _ = value_and_gradients(theirs, KERAS(from_logits=True), Y, np.repeat(weights[:, None], T, 1))
    for layer in (ours, theirs):
        value, _ = value_and_gradients(layer, SparseCategoricalCrossentropy(), Y, weights)
        np.testing.assert_allclose(value, expected, rtol=2e-6)


def test_all_words_ignored_cost_nothing():
    ours, _ = layers()
    value, gradients = value_and_gradients(ours, SparseCategoricalCrossentropy(ignore_class=-1), np.full((B, T), -1))
    assert float(value) == 0
    assert all(not np.any(gradient) for gradient in gradients)


@pytest.mark.parametrize(("of_metric", "known"), [(-1, True), (None, False)])
def test_a_metric_reads_the_losses_only_if_it_ignores_the_same(of_metric, known):
    _, layer = layers()
    own, targets = Dense(V), tf.constant(UNKNOWN)
    own.build(H.shape)
    own.set_weights(layer.get_weights())
    logits = own(H)
    SparseCategoricalCrossentropy(ignore_class=-1)(targets, logits)
    assert (factors_of(logits).losses_of(targets, of_metric) is not None) == known
    metric = Perplexity(ignore_class=-1)
    metric.update_state(targets, logits)
    kept = np.arange(T) != 2
    losses = keras.ops.sparse_categorical_crossentropy(Y[:, kept], layer(H).numpy()[:, kept], from_logits=True).numpy()
    assert float(metric.result()) == pytest.approx(np.exp(losses.mean()), rel=1e-5)


def test_probabilities_are_read_as_keras_reads_them():
    probabilities = np.full((B, T, V), 1 / V, "float32")
    loss = SparseCategoricalCrossentropy(from_logits=False)
    assert float(loss(Y, probabilities)) == pytest.approx(np.log(V), rel=1e-5)


def test_takes_the_place_of_keras_own_with_its_settings():
    found = from_factors(KERAS(from_logits=True, ignore_class=3, reduction="sum", name="mine", dtype="float64"))
    assert type(found) is SparseCategoricalCrossentropy
    config = {"name": "mine", "reduction": "sum", "from_logits": True, "ignore_class": 3}
    assert found.get_config() == config
    assert found.dtype == "float64"
    restored = keras.losses.deserialize(keras.losses.serialize(found))
    assert type(restored) is SparseCategoricalCrossentropy
    assert restored.get_config() == config


class Own(KERAS):
    pass


def named(loss):
    """A name without the address that the loss has in this process."""
    return loss if isinstance(loss, str) else getattr(loss, "__name__", type(loss).__name__)


@pytest.mark.parametrize("loss", ["mse", keras.losses.MeanSquaredError(), Own(from_logits=True), len], ids=named)
def test_any_other_loss_stays(loss):
    assert from_factors(loss) is loss


@pytest.mark.parametrize(
    "loss",
    [
        "sparse_categorical_crossentropy",
        "SparseCategoricalCrossentropy",
        "crossentropy",
        keras.losses.sparse_categorical_crossentropy,
        KERAS(),
        Own(),
        SparseCategoricalCrossentropy(from_logits=False),
    ],
    ids=named,
)
def test_a_loss_of_probabilities_is_refused(loss):
    with pytest.raises(ValueError, match=r"write loss=kerasptb\.losses\.SparseCategoricalCrossentropy\(\)\. Received"):
        from_factors(loss)


@pytest.mark.parametrize("policy", ["bfloat16", "float16"])
def test_weights_of_16_bits_are_summed_in_more(policy):
    """Of 16 bits a sum over so many words would be infinite, or have two digits."""
    keras.utils.set_random_seed(0)
    h, targets = RANDOM.normal(size=(40, 50, D)), RANDOM.integers(0, 5000, (40, 50))
    layer = Dense(5000, dtype=policy, bias_initializer="normal")
    logits = layer(keras.ops.cast(h, policy))
    found = SparseCategoricalCrossentropy(reduction="sum")(targets, logits)
    exact = keras.ops.cast(logits, "float64")
    expected = KERAS(from_logits=True, reduction="sum", dtype="float64")(targets, exact)
    assert float(found) == pytest.approx(float(expected), rel=1e-4)
    metric = Perplexity()
    metric.update_state(targets, logits)
    assert float(metric.result()) == pytest.approx(np.exp(float(expected) / targets.size), rel=2e-3)
