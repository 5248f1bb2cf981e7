"""The training step as one XLA program, with TensorFlow on the CPU."""

import re
from collections import Counter

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.python.framework import config

from kerasptb.layers import FusedLSTM
from kerasptb.metrics import Perplexity
from kerasptb.models import LanguageModel
from kerasptb.ops.tensors import compiled_by_xla
from kerasptb.optimizers import ClippedAdamW, ClippedSGD
from kerasptb.pipeline import make_dataset

V, B, T = 23, 4, 5
TEXT = np.random.default_rng(0).integers(0, V, 404).astype("int32")


@pytest.fixture(autouse=True)
def _native(native_library):
    pass


def trained(jit_compile, **options):
    """A model, and the losses and perplexities of two epochs with validation."""
    model = LanguageModel(V, 6, (8, 6), B, T, seed=3, backend="native", **options)
    model.compile(jit_compile=jit_compile)
    history = model.fit(make_dataset(TEXT, B, T), epochs=2, validation_data=make_dataset(TEXT, 2, 7), verbose=0).history
    return model, history


def hlo_of(function, *arguments):
    return tf.function(function, jit_compile=True).experimental_get_compiler_ir(*arguments)(stage="hlo")


@pytest.mark.parametrize("options", [{}, {"tie_embeddings": True}, {"keep_prob": 0.5}], ids=str)
@pytest.mark.fast_cases(1)
def test_compiled_step_trains_as_the_graph_does(options):
    model, compiled = trained(True, **options)
    assert model.jit_compile is True  # Keras has not fallen back
    _, graph = trained(False, **options)
    for name, values in graph.items():
        np.testing.assert_allclose(compiled[name], values, rtol=1e-5, err_msg=name)


@pytest.mark.parametrize(
    "optimizer",
    [
        lambda: keras.optimizers.Adam(0.01),
        lambda: ClippedSGD(1.0, use_ema=True),
        lambda: ClippedAdamW(0.01, polyak_averaging=True),
        lambda: ClippedSGD(1.0, gradient_accumulation_steps=3),
    ],
    ids=["Adam", "moving average", "AdamW with averages", "accumulation"],
)
@pytest.mark.fast_cases(1)
def test_compiled_step_with_an_optimizer_that_has_variables(optimizer):
    histories = []
    for jit_compile in (True, False):
        model = LanguageModel(V, 6, 8, B, T, seed=3)
        model.compile(optimizer(), jit_compile=jit_compile)
        histories.append(model.fit(make_dataset(TEXT, B, T), epochs=2, verbose=0).history)
    for name, values in histories[1].items():
        np.testing.assert_allclose(histories[0][name], values, rtol=1e-5, err_msg=name)


@pytest.mark.parametrize("gpu", [False, True], ids=["processor", "GPU"])
def test_step_is_one_program_with_our_kernels_and_no_loop(gpus, gpu):
    if gpu:
        gpus(None)
    model, _ = trained(True)
    batch = tf.constant(TEXT[: B * T].reshape(B, T))
    hlo = hlo_of(model.train_step, (batch, batch))
    lstm, loss = ("lstm_recurrence", "softmax_cross_entropy") if gpu else ("lstm", "linear_cross_entropy")
    assert Counter(re.findall(r'custom_call_target="kerasptb_(\w+)"', hlo)) == {
        f"{lstm}_forward_float32": 2,
        f"{lstm}_backward_float32": 2,
        f"{loss}_loss_and_gradients_float32": 1,
    } | ({} if gpu else {"clipped_sgd_float32": 1})
    # A loop over chunks, steps or rows would be a launch from the host for each on a GPU.
    assert not re.search(r"\bwhile\(", hlo)
    evaluation = hlo_of(model.test_step, (batch, batch))
    assert f"kerasptb_{lstm}_inference_float32" in evaluation
    assert f"kerasptb_{loss}_loss_float32" in evaluation
    assert "backward" not in evaluation


@pytest.mark.parametrize(
    ("model_arguments", "compile_arguments", "compiled"),
    [
        ({}, {}, True),
        ({"tie_embeddings": True}, {"optimizer": "adam"}, True),
        ({"tie_embeddings": True, "projection": True, "units": 9}, {}, True),
        ({"backend": "auto"}, {}, True),
        ({"backend": "keras"}, {}, False),
        ({"backend": "reference"}, {}, False),
        ({"keep_prob": 0.9}, {}, True),
        ({"units": (4, 651), "batch_size": 8}, {}, False),  # the framework's products, of 651 features
        ({"units": (4, 651), "batch_size": 3}, {}, True),  # too few words for them, on any processor
        ({}, {"loss": keras.losses.SparseCategoricalCrossentropy(from_logits=True)}, True),
        ({}, {"loss": "mse"}, False),
        ({}, {"metrics": []}, True),
        ({}, {"metrics": [Perplexity()], "weighted_metrics": [Perplexity(name="weighted")]}, True),
        ({}, {"metrics": [Perplexity(), "accuracy"]}, False),
        ({}, {"weighted_metrics": ["accuracy"]}, False),
        ({}, {"run_eagerly": True}, False),
    ],
)
def test_compiled_where_the_kernels_do_all_the_work(model_arguments, compile_arguments, compiled):
    arguments = {"units": (8, 6), "batch_size": B, "num_steps": T, "backend": "native", **model_arguments}
    model = LanguageModel(V, 6, **arguments)
    for wish in (None, "auto"):
        model.compile(**compile_arguments, jit_compile=wish)
        assert model.jit_compile is compiled


class OwnCall(LanguageModel):
    def call(self, inputs, training=None, mask=None):
        return super().call(inputs, training=training, mask=mask)


class OwnLoss(LanguageModel):
    def compute_loss(self, *args, **kwargs):
        return super().compute_loss(*args, **kwargs)


@pytest.mark.parametrize(("model_class", "compiled"), [(OwnCall, True), (OwnLoss, False)])
def test_what_a_subclass_computes_may_need_the_logits(model_class, compiled):
    model = model_class(V, 6, 8, B, T, seed=3, backend="native")
    model.compile()
    assert model.jit_compile is compiled
    plain = LanguageModel(V, 6, 8, B, T, seed=3, backend="native")
    plain.compile(jit_compile=False)
    losses = [m.fit(make_dataset(TEXT, B, T), verbose=0).history["loss"][0] for m in (model, plain)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_what_must_be_deterministic_is_not_compiled(monkeypatch):
    monkeypatch.setattr(config, "is_op_determinism_enabled", lambda: True)
    model = LanguageModel(V, 6, 8, B, T, backend="native")
    model.compile()  # without a warning
    assert model.jit_compile is False


SEEN = []


class Compiled(LanguageModel):
    """Notes which steps XLA compiles."""

    def train_step(self, data):
        SEEN.append(("train", compiled_by_xla()))
        return super().train_step(data)

    def test_step(self, data):
        SEEN.append(("test", compiled_by_xla()))
        return super().test_step(data)

    def predict_step(self, data):
        SEEN.append(("predict", compiled_by_xla()))
        return super().predict_step(data)


@pytest.mark.parametrize("wish", [None, True])
def test_steps_of_open_length_and_predictions_are_compiled_if_that_is_asked_for(wish):
    model = Compiled(V, 6, 8, B, T, seed=3)
    model.compile(jit_compile=wish)
    SEEN.clear()
    data = make_dataset(TEXT, B, T).take(3)
    spec = (tf.TensorSpec((B, None), tf.int32),) * 2
    losses = []
    of_open_length = tf.data.Dataset.from_generator(data.as_numpy_iterator, output_signature=spec)
    for batches in (data, of_open_length.apply(tf.data.experimental.assert_cardinality(3))):
        model.reset_states()
        losses.append(model.evaluate(batches, verbose=0)[0])
        model.fit(batches, verbose=0)
    model.predict(data, verbose=0)
    assert model.jit_compile is True
    asked = bool(wish)
    assert set(SEEN) == {
        ("test", True),
        ("train", True),
        ("test", asked),
        ("train", asked),
        ("predict", asked),
    }
    assert losses[1] < losses[0]


def test_layer_compiles_alone():
    layer = FusedLSTM(8, backend="native", return_sequences=True)
    x = tf.random.stateless_normal((B, T, 3), (1, 2))
    expected = layer(x)
    np.testing.assert_allclose(tf.function(layer, jit_compile=True)(x), expected, rtol=1e-5, atol=1e-6)
    assert layer.supports_jit
