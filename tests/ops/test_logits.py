"""Logits that carry their factors: what reads them, what is never computed, and how parts of one's own join."""

import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerasptb.layers import Dense, Embedding, FusedLSTM, TiedDense
from kerasptb.losses import SequenceCrossEntropy, SparseCategoricalCrossentropy
from kerasptb.metrics import Perplexity
from kerasptb.ops.logits import attach, factors_of, warn_of_reading
from kerasptb.ops.plan import Plan

B, T, V = 4, 5, 11
RANDOM = np.random.default_rng(0)
X, Y = RANDOM.integers(0, V, (2, 3 * B, T)).astype("int32")
WEIGHTS = RANDOM.uniform(0, 2, (3 * B, T)).astype("float32")


class Unread(Dense):
    """Its logits are an error as soon as they are computed."""

    def call(self, inputs, training=None):
        logits = super().call(inputs, training=training)
        trap = tf.gather(logits, tf.range(B) + 999)
        attach(trap, factors_of(logits))
        return trap


class MeanCost(keras.losses.Loss):
    """A loss of one's own: the mean over words."""

    def __call__(self, y_true, y_pred, sample_weight=None):
        return factors_of(y_pred).cross_entropy(y_true, weights=sample_weight, scale=1 / (B * T))


class WorstWord(keras.metrics.Metric):
    """A metric of one's own: the largest loss of a word."""

    def __init__(self):
        super().__init__(name="worst")
        self.worst = self.add_variable((), initializer="zeros")

    def update_state(self, y_true, y_pred, sample_weight=None):
        losses = factors_of(y_pred).losses_of(y_true)
        self.worst.assign(keras.ops.maximum(self.worst, keras.ops.max(losses)))

    def result(self):
        return self.worst.value


def network(last=Dense, mask_zero=False):
    keras.utils.set_random_seed(1)
    embedding = (keras.layers.Embedding if mask_zero else Embedding)(V, 6, mask_zero=mask_zero)
    layers = [embedding, FusedLSTM(8, return_sequences=True), last(V)]
    return keras.Sequential([keras.Input(batch_shape=(B, T), dtype="int32"), *layers])


def trained(model, loss, metrics, jit_compile=False, **data):
    model.compile("sgd", loss, metrics=metrics, weighted_metrics=metrics and [Perplexity(name="weighted")])
    model.jit_compile = jit_compile
    history = model.fit(X, Y, B, epochs=2, shuffle=False, verbose=0, **data).history
    evaluated = model.evaluate(X, Y, B, verbose=0, return_dict=True, **data)
    return {**{name: values[-1] for name, values in history.items()}, **{f"eval {k}": v for k, v in evaluated.items()}}


@pytest.mark.parametrize("jit_compile", [False, True])
def test_logits_that_nobody_reads_are_never_computed(jit_compile):
    results = trained(network(Unread), SequenceCrossEntropy(), [Perplexity()], jit_compile)
    assert all(np.isfinite(value) for value in results.values())
    if not jit_compile:  # XLA has no such trap
        with pytest.raises(tf.errors.InvalidArgumentError, match="999 is not in"):
            trained(network(Unread), SequenceCrossEntropy(), ["accuracy"])


@pytest.mark.parametrize(
    "data", [{}, {"sample_weight": WEIGHTS}, {"sample_weight": WEIGHTS[:, 0]}], ids=["", "BT", "B"]
)
@pytest.mark.parametrize("mask_zero", [False, True])
@pytest.mark.fast_cases(3)
def test_the_same_as_from_plain_logits(data, mask_zero):
    results = [
        trained(model, SequenceCrossEntropy(), [Perplexity()], **data)
        for model in (network(mask_zero=mask_zero), network(keras.layers.Dense, mask_zero))
    ]
    assert results[0].keys() == results[1].keys() >= {"loss", "perplexity", "weighted", "eval weighted"}
    for name, value in results[1].items():
        assert results[0][name] == pytest.approx(value, rel=2e-6), name


@pytest.mark.parametrize("reduction", ["sum", "sum_over_batch_size", "mean", "none", "mean_with_sample_weight"])
def test_every_reduction(reduction):
    layer, h = Dense(V), RANDOM.normal(size=(B, T, 8)).astype("float32")
    carrying = layer(h)
    plain = keras.ops.convert_to_tensor(carrying.numpy())
    for weights in (None, WEIGHTS[:B, 0]):
        loss = SequenceCrossEntropy(reduction=reduction)
        np.testing.assert_allclose(
            loss(Y[:B], carrying, weights), loss(Y[:B], plain, weights), rtol=2e-6, err_msg=str(weights)
        )


def test_parts_of_ones_own_join():
    model = network(Unread)
    model.compile("sgd", MeanCost(), metrics=[WorstWord()])
    found = model.evaluate(X[:B], Y[:B], B, verbose=0, return_dict=True)
    logits = network()(X[:B])
    losses = keras.ops.sparse_categorical_crossentropy(Y[:B], logits, from_logits=True).numpy()
    assert found["loss"] == pytest.approx(losses.mean(), rel=1e-6)
    assert found["worst"] == pytest.approx(losses.max(), rel=1e-6)


def tied(words):
    embedding = keras.layers.Embedding(words, 8)
    embedding.build()
    return TiedDense(embedding)


@pytest.mark.parametrize("last", [Dense, tied])
def test_the_loss_of_keras_is_warned_of_once(last):
    warn_of_reading.cache_clear()
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    with pytest.warns(UserWarning, match=r"write loss=kerasptb\.losses\.SparseCategoricalCrossentropy\(\)") as warned:
        expected = trained(network(last), loss, [])
        trained(network(last), loss, [])
    assert len(warned) == 1
    warn_of_reading.cache_clear()
    found = trained(network(last), SparseCategoricalCrossentropy(), [])
    assert found == {name: pytest.approx(value, rel=2e-6) for name, value in expected.items()}
    network(last)(X[:B])  # of a model that has not been compiled
    last(V)(np.zeros((B, T, 8), "float32"))


@pytest.mark.parametrize("loss", [SequenceCrossEntropy, SparseCategoricalCrossentropy])
def test_the_dense_layer_of_keras_is_warned_of_once(loss):
    warn_of_reading.cache_clear()
    with pytest.warns(
        UserWarning, match=rf"losses\.{loss.__name__} reads .* those of kerasptb\.layers\.Dense"
    ) as warned:
        for _ in range(2):
            trained(network(keras.layers.Dense), loss(), [])
    assert len(warned) == 1
    warn_of_reading.cache_clear()
    logits = network(keras.layers.Dense)(X[:B])  # by themselves, outside of a step
    loss()(Y[:B], logits)


def test_losses_are_of_these_targets_only():
    logits = Dense(V)(RANDOM.normal(size=(B, T, 8)).astype("float32"))
    targets, others = tf.constant(Y[:B]), tf.constant(Y[B : 2 * B])
    assert factors_of(logits).losses_of(targets) is None  # none have been computed
    SequenceCrossEntropy()(targets, logits)
    assert factors_of(logits).losses_of(others) is None
    metric = Perplexity()
    metric.update_state(others, logits)
    expected = np.exp(keras.ops.sparse_categorical_crossentropy(others, logits, from_logits=True).numpy().mean())
    assert float(metric.result()) == pytest.approx(expected, rel=1e-6)


def test_a_word_that_is_ignored_does_not_count_in_losses_either():
    logits, targets = Dense(V)(RANDOM.normal(size=(B, T, 8)).astype("float32")), tf.constant(Y[:B])
    SequenceCrossEntropy()(targets, logits)
    results = []
    for given in (logits, tf.constant(logits.numpy())):
        metric = Perplexity(ignore_class=int(Y[0, 0]))
        metric.update_state(targets, given)
        results.append(float(metric.result()))
    assert results[0] == pytest.approx(results[1], rel=1e-6)
    assert float(metric.num_words) == (Y[:B] != Y[0, 0]).sum() < B * T


def test_the_loss_is_planned_once_by_the_layer(monkeypatch):
    h, targets = RANDOM.normal(size=(B, T, 8)).astype("float32"), tf.constant(Y[:B])
    layer = Dense(V, backend="reference")
    logits = layer(h)
    assert factors_of(logits).plan == layer.plan((B, T, 8)) == Plan("reference", reason=layer.plan((B, T, 8)).reason)
    monkeypatch.setattr(sys.modules["kerasptb.ops.linear_cross_entropy"], "choose", None)  # no plan is made without
    expected = keras.ops.sparse_categorical_crossentropy(targets, logits, from_logits=True).numpy()
    np.testing.assert_allclose(factors_of(logits).cross_entropy(targets, "none").numpy(), expected, rtol=1e-5)


def test_a_model_whose_sizes_are_open_is_built_with_a_named_backend(gpus):
    gpus(None)
    layer = Dense(V, backend="native")
    keras.Sequential([keras.Input((None, 8)), layer])  # the kernels of a GPU need static shapes, when they run
    with pytest.raises(ValueError, match="needs static shapes"):
        layer.plan((None, None, 8))


def test_what_is_no_plain_product_carries_nothing():
    h = np.zeros((B, T, 8), "float32")
    for layer in (Dense(V, activation="softmax"), Dense(V, use_bias=False), keras.layers.Dense(V)):
        assert factors_of(layer(h)) is None
    embedding = keras.layers.Embedding(V, 8)
    factors = factors_of(TiedDense(embedding)(embedding(X[:B])))
    assert factors.transpose_kernel
    assert factors.kernel.shape == (V, 8)


def test_no_gradient_goes_through_losses_and_weights():
    layer, h = Dense(V), tf.constant(RANDOM.normal(size=(B, T, 8)).astype("float32"))
    weights = tf.constant(WEIGHTS[:B])
    with tf.GradientTape(persistent=True) as tape:
        tape.watch([h, weights])
        factors = factors_of(layer(h))
        loss = factors.cross_entropy(Y[:B], weights=weights)
        total = tf.reduce_sum(factors._losses)
    assert tape.gradient(loss, weights) is None
    assert tape.gradient(total, h) is None
    assert np.abs(tape.gradient(loss, h)).max() > 0.01
