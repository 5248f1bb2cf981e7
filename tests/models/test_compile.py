import math

import keras
import numpy as np
import pytest
import tensorflow as tf
from small_models import TRAIN, VALID, B, T, V, compiled_model, losses_of, small_model

from kerasptb.losses import SequenceCrossEntropy, SparseCategoricalCrossentropy
from kerasptb.metrics import Perplexity
from kerasptb.models import LanguageModel
from kerasptb.optimizers import ClippedSGD
from kerasptb.pipeline import make_dataset


class OwnMetrics(LanguageModel):
    def compute_metrics(self, x, y, y_pred, sample_weight=None):
        return {**super().compute_metrics(x, y, y_pred, sample_weight), "largest": keras.ops.max(y_pred)}


class OwnLogits(LanguageModel):
    def call(self, tokens, training=None, mask=None):
        return 2.0 * super().call(tokens, training=training, mask=mask)


class Added(keras.Regularizer):
    def __init__(self, value):
        self.value = value

    def __call__(self, x):
        return self.value + 0.0 * keras.ops.sum(x)

    def get_config(self):
        return {"value": self.value}


def test_what_the_defaults_do_not_train_on_is_named():
    x = TRAIN[: B * T].reshape(B, T)
    with pytest.raises(ValueError, match="Received: tokens alone"):
        compiled_model().fit(x, verbose=0)


def test_the_advice_for_weights_counts_them():
    model = small_model()
    model.compile(loss=SequenceCrossEntropy(), weighted_metrics=[Perplexity()], jit_compile=False)
    x, weights = TRAIN[: B * T].reshape(B, T), np.ones((B, T), "float32")
    weights[:, -1] = 0
    results = []
    for last in (0, 1):
        y = TRAIN[1 : B * T + 1].reshape(B, T).copy()
        y[:, -1] = last
        results.append(model.evaluate(x, y, sample_weight=weights, verbose=0, return_dict=True))
    assert results[0] == results[1]
    assert results[0]["loss"] == pytest.approx((T - 1) * math.log(results[0]["perplexity"]), rel=1e-5)


def test_loss_weights_count():
    plain, weighted, explicit = small_model(), small_model(), small_model()
    plain.compile(jit_compile=False)
    weighted.compile(loss_weights=0.1, jit_compile=False)
    explicit.compile(ClippedSGD(), SequenceCrossEntropy(), 0.1, metrics=[Perplexity()], jit_compile=False)
    assert losses_of(weighted) == losses_of(explicit)
    assert losses_of(weighted, epochs=1)[0] < 0.2 * losses_of(plain)[0]


def test_steps_per_execution_changes_nothing():
    several = small_model(keep_prob=0.8)
    several.compile(steps_per_execution=5)
    assert losses_of(several)[-1] == losses_of(compiled_model(keep_prob=0.8))[-1]


def test_compiled_defaults_are_the_explicit_parts_of_the_original():
    explicit = small_model()
    explicit.compile(ClippedSGD(1.0, global_clipnorm=5.0), SequenceCrossEntropy(), metrics=[Perplexity()])
    default = compiled_model()
    histories = [
        model.fit(make_dataset(TRAIN, B, T), epochs=3, validation_data=make_dataset(VALID, B, T), verbose=0).history
        for model in (default, explicit)
    ]
    assert histories[0].keys() == histories[1].keys() == {"loss", "perplexity", "val_loss", "val_perplexity"}
    for name, values in histories[0].items():
        np.testing.assert_allclose(values, histories[1][name], rtol=1e-4, err_msg=name)


def test_history_holds_the_exact_perplexity():
    model = compiled_model()
    history = model.fit(make_dataset(TRAIN, B, T), epochs=1, verbose=0).history
    assert history["perplexity"][0] == pytest.approx(math.exp(history["loss"][0] / T), rel=1e-6)


def test_stock_loss_and_optimizer_give_stock_behaviour():
    model = small_model()
    tokens = keras.Input(batch_shape=(B, T), dtype="int32")
    x = keras.layers.Embedding(V, 6)(tokens)
    for units in model.units:
        x = keras.layers.LSTM(units, return_sequences=True, stateful=True, unit_forget_bias=False)(x)
    plain = keras.Model(tokens, keras.layers.Dense(V)(x))
    plain.set_weights(model.get_weights())
    losses = []
    for candidate in (model, plain):
        candidate.compile(
            keras.optimizers.Adam(0.01),
            keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            metrics=["accuracy"],
        )
        history = candidate.fit(make_dataset(TRAIN, B, T), epochs=3, verbose=0, shuffle=False).history
        assert history.keys() == {"loss", "accuracy"}
        losses.append(history["loss"])
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-5)


def test_arguments_come_in_keras_order():
    model = small_model()
    model.compile(keras.optimizers.SGD(0.1), SequenceCrossEntropy(), 0.5, ["accuracy"])
    rows = np.arange(6 * B * T, dtype="int32").reshape(-1, T) % V
    history = model.fit(rows, rows, B, 2, 0, None, 0.5, None, False).history
    assert history.keys() == {"loss", "accuracy", "val_loss", "val_accuracy"}
    assert history["loss"][0] == pytest.approx(0.5 * T * math.log(V), rel=0.01)
    # Half of the rows trained: the others do not matter.
    other = small_model()
    other.compile(keras.optimizers.SGD(0.1), SequenceCrossEntropy(), loss_weights=0.5, metrics=["accuracy"])
    assert other.fit(rows[: 3 * B], rows[: 3 * B], epochs=2, verbose=0).history["loss"] == history["loss"]


def test_embedding_gradient_stays_sparse():
    model = compiled_model()
    x, y = next(iter(make_dataset(TRAIN, B, T)))
    with tf.GradientTape() as tape:
        loss = model.compute_cost(x, y, training=True)
    gradients = tape.gradient(loss, model.trainable_weights)
    assert isinstance(gradients[0], tf.IndexedSlices)
    assert gradients[0].values.shape == (B * T, 6)


def test_compiles_with_xla():
    model = small_model()
    model.compile(jit_compile=True)
    np.testing.assert_allclose(losses_of(model), losses_of(compiled_model()), rtol=1e-4)


@pytest.mark.parametrize("shape", [(B,), (B, T)])
def test_sample_weights_weigh_the_cost_but_no_metrics(shape):
    weights = np.random.default_rng(3).uniform(0, 2, shape).astype("float32")
    weighted = make_dataset(TRAIN, B, T).map(lambda x, y: (x, y, weights))
    model, other = compiled_model(), small_model()
    # Without factors: the loss of plain logits, weighted by Keras' own rules.
    other.compile(ClippedSGD(), lambda y, z: T * keras.losses.sparse_categorical_crossentropy(y, z, from_logits=True))
    w = weights if weights.ndim == 2 else np.repeat(weights[:, None], T, 1)
    (found,) = model.fit(weighted, verbose=0).history["loss"]
    (expected,) = other.fit(make_dataset(TRAIN, B, T).map(lambda x, y: (x, y, w)), verbose=0).history["loss"]
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    for own, wanted in zip(model.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_allclose(own, wanted, atol=2e-5)
    result = model.evaluate(weighted, verbose=0, return_dict=True)
    assert result["perplexity"] == pytest.approx(
        model.evaluate(make_dataset(TRAIN, B, T), verbose=0, return_dict=True)["perplexity"], rel=1e-6
    )


@pytest.mark.parametrize("loss", ["crossentropy", ["sparse_categorical_crossentropy"]], ids=str)
def test_a_loss_of_probabilities_is_refused(loss):
    with pytest.raises(ValueError, match=r"outputs are logits: write loss=kerasptb\.losses\.Sparse.*Received: loss='"):
        small_model().compile(loss=loss)


def test_what_is_given_the_logits_gets_them():
    batch = VALID[: B * T].reshape(B, T), VALID[1 : B * T + 1].reshape(B, T)
    arguments = {**small_model().get_config(), "init_scale": 1.0}
    plain = LanguageModel(**arguments)
    plain.compile()
    doubled, measured = OwnLogits(**arguments), OwnMetrics(**arguments)
    for model in (doubled, measured):
        model.compile()
    logits = plain.predict(batch[0], verbose=0)
    plain.reset_evaluation_states()
    expected = keras.ops.sparse_categorical_crossentropy(batch[1], 2.0 * logits, from_logits=True)
    assert doubled.test_on_batch(*batch)[0] == pytest.approx(float(np.sum(expected)) / B, rel=1e-5)
    assert measured.test_on_batch(*batch, return_dict=True) == pytest.approx(
        {**plain.test_on_batch(*batch, return_dict=True), "largest": logits.max()}, rel=1e-5
    )


def test_a_regularizer_of_the_logits_adds_to_the_loss():
    model, plain = small_model(), compiled_model()
    model.get_layer("logits").activity_regularizer = Added(20.0)
    model.compile()
    (loss, perplexity), (loss_of_plain, perplexity_of_plain) = (
        model.evaluate(make_dataset(VALID, B, T), verbose=0) for model in (model, plain)
    )
    assert loss == pytest.approx(loss_of_plain + 20.0 / B, rel=1e-5)
    assert perplexity == pytest.approx(perplexity_of_plain, rel=1e-5)


@pytest.mark.parametrize("jit_compile", [False, True])
def test_regularizers_add_to_the_loss_not_to_the_perplexity(jit_compile):
    plain, regularized, explicit = small_model(), small_model(), small_model()
    for model in (regularized, explicit):
        model.get_layer("lstm_1").cell.kernel.regularizer = keras.regularizers.L2(0.1)
        model.get_layer("logits").kernel.regularizer = Added(1.0)
        model.get_layer("lstm_0").activity_regularizer = Added(20.0)  # Keras divides it by the rows of a batch
    plain.compile()
    regularized.compile(jit_compile=jit_compile)
    explicit.compile(ClippedSGD(), SequenceCrossEntropy(), metrics=[Perplexity()])
    penalty = 1.0 + 20.0 / B + 0.1 * float(np.square(plain.get_layer("lstm_1").cell.kernel.numpy()).sum())
    (loss, perplexity), (loss_of_plain, perplexity_of_plain) = (
        model.evaluate(make_dataset(VALID, B, T), verbose=0) for model in (regularized, plain)
    )
    assert loss == pytest.approx(loss_of_plain + penalty, rel=1e-6)
    assert perplexity == pytest.approx(perplexity_of_plain, rel=1e-6)
    np.testing.assert_allclose(losses_of(regularized), losses_of(explicit), rtol=1e-4)
    kernels = [model.get_layer("lstm_1").cell.kernel.numpy() for model in (regularized, plain)]
    assert np.abs(kernels[0]).sum() < 0.1 * np.abs(kernels[1]).sum()


def test_an_overridden_loss_is_used():
    class Constant(LanguageModel):
        def compute_loss(self, *args, **kwargs):
            return 123.0 + 0.0 * super().compute_loss(*args, **kwargs)

    model = Constant(V, 6, (8, 7), B, T)
    model.compile()
    assert model.evaluate(make_dataset(VALID, B, T), verbose=0)[0] == pytest.approx(123.0)


def test_callbacks_of_keras_know_that_a_lower_perplexity_is_better(tmp_path):
    stop = keras.callbacks.EarlyStopping("val_perplexity", patience=1, restore_best_weights=True)
    keep = keras.callbacks.ModelCheckpoint(tmp_path / "best.keras", "val_perplexity", save_best_only=True)
    lower = keras.callbacks.ReduceLROnPlateau("val_perplexity", patience=0, factor=0.5)
    model = compiled_model()
    history = model.fit(
        make_dataset(TRAIN, B, T),
        epochs=50,
        validation_data=make_dataset(VALID, B, T),
        callbacks=[stop, keep, lower],
        verbose=0,
    ).history["val_perplexity"]
    assert len(history) < 50
    assert history[-1] > min(history)
    for best in (model, keras.saving.load_model(tmp_path / "best.keras")):
        _, perplexity = best.evaluate(make_dataset(VALID, B, T), verbose=0)
        assert perplexity == pytest.approx(min(history), rel=1e-6)


def test_is_of_one_device():
    with tf.distribute.OneDeviceStrategy("/cpu:0").scope(), pytest.raises(ValueError, match=r"Received: .* OneDevice"):
        compiled_model()
    with tf.distribute.MirroredStrategy(["/cpu:0"]).scope():
        model = small_model()
    with pytest.raises(ValueError, match=r"Received: a model made under MirroredStrategy"):
        model.compile()


@pytest.mark.parametrize("before", [{"weighted_metrics": []}, {"metrics": ["accuracy"]}], ids=str)
def test_the_defaults_leave_nothing_of_an_earlier_compile(before):
    model = small_model()
    model.compile(**before)
    if "metrics" in before:
        model.fit(make_dataset(TRAIN, B, T), verbose=0)
        model.compile()
    history = model.fit(make_dataset(TRAIN, B, T), verbose=0).history
    assert set(history) == {"loss", "perplexity"}
    assert history["perplexity"][0] == pytest.approx(math.exp(history["loss"][0] / T), rel=1e-5)


def test_the_default_metric_counts_the_words_that_the_loss_counts():
    model = LanguageModel(12, 6, 8, 4, 5, seed=1)
    model.compile(loss=SparseCategoricalCrossentropy(ignore_class=0))
    x = np.arange(20).reshape(4, 5) % 12
    y = np.where(x % 3 == 0, 0, x)
    loss, perplexity = model.evaluate(x, y, batch_size=4, verbose=0)
    assert perplexity == pytest.approx(math.exp(loss), rel=1e-5)
