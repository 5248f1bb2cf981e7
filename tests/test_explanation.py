"""What `kerasptb.explain` says, against what models do."""

import keras
import numpy as np
import pytest

import kerasptb
from kerasptb.explanation import Row
from kerasptb.layers import Dense, Dropout, FusedLSTM
from kerasptb.losses import SequenceCrossEntropy
from kerasptb.metrics import Perplexity
from kerasptb.models import LanguageModel
from kerasptb.native import NativeUnavailableError
from kerasptb.ops.plan import Plan
from kerasptb.ops.platform import Platform

B, T, V = 3, 4, 20


@pytest.fixture(autouse=True)
def _native(native_library):
    pass


def language_model(**kwargs):
    return LanguageModel(V, 6, (6,), B, T, seed=1, **kwargs)


def own_model(batch_size=B, last=None, **lstm):
    words = keras.Input((T,), batch_size, dtype="int32")
    x = keras.layers.Embedding(V, 5)(words)
    x = FusedLSTM(6, return_sequences=True, name="lstm", **lstm)(x)
    return keras.Model(words, (last or Dense(V, name="logits"))(x))


def cost_of(model):
    return next(row for row in kerasptb.explain(model) if row.name == "cost")


def test_a_language_model_as_a_table():
    model = language_model(keep_prob=0.5, tie_embeddings=True)
    model.compile(jit_compile=True)
    rows = kerasptb.explain(model)
    assert rows == [
        Row("embedding_dropout", "Dropout", "native", "float32", None),
        Row("lstm_0", "StatefulLSTM", "native", "float32", None),
        Row("lstm_0_dropout", "Dropout", "native", "float32", None),
        Row("logits", "TiedDense", "native", "float32", None),
        Row("cost", "SequenceCrossEntropy", "native", "float32", None),
        Row("step", "fit", "XLA", None, None),
    ]
    lines = str(rows).splitlines()
    assert lines[0] == "layer              class                 runs             why nothing faster"
    assert lines[4] == "logits             TiedDense             native, float32"
    assert len(lines) == 7


def broken(y_true, y_pred):
    return None.mean()


class Broken(keras.metrics.Metric):
    num_words = 0

    def update_state(self, y_true, y_pred, sample_weight=None):
        raise NameError("of its own\nand more")

    def result(self):
        return 0.0


def nested_model():
    words = keras.Input((T,), dtype="int32")
    x = keras.layers.Embedding(V, 5, mask_zero=True)(words)
    x = keras.layers.Bidirectional(FusedLSTM(6, return_sequences=True, name="wrapped"))(x)
    x = keras.layers.TimeDistributed(Dropout(0.5, name="distributed"))(x)
    inner = keras.Sequential([keras.Input((T, 12)), FusedLSTM(3, name="inner"), Dropout(0.5, name="open")])
    inner.supports_masking = True
    return keras.Model(words, inner(x))


def test_layers_are_found_in_layers_with_the_shapes_they_get(monkeypatch):
    rows = {row.name: row for row in kerasptb.explain(nested_model())}
    assert set(rows) == {"forward_wrapped", "backward_wrapped", "distributed", "inner", "open"}
    assert rows["distributed"][1:5] == ("Dropout", "native", "float32", None)
    shapes = []
    monkeypatch.setattr(Dropout, "plan", lambda self, shape: shapes.append(shape) or Plan("native"))
    kerasptb.explain(nested_model())
    kerasptb.explain(nested_model(), batch_shape=(B, T))
    assert shapes == [None, (None, 3), None, (B, 3)]  # of TimeDistributed nobody knows


def test_layers_in_layers_have_the_masks_they_get(gpus):
    gpus(None)
    rows = {row.name: row for row in kerasptb.explain(nested_model())}
    handed_on = keras.layers.Bidirectional(FusedLSTM(6)).supports_masking  # up to Keras 3.15
    for name, size, mask in (("forward_wrapped", 5, True), ("backward_wrapped", 5, True), ("inner", 12, handed_on)):
        layer = FusedLSTM(6, go_backwards=name.startswith("backward"))
        plan = layer.plan((None, T, size), mask=mask)
        assert rows[name][2:5] == (plan.implementation, plan.precision, plan.reason)
        assert ("mask" in rows[name].reason) == mask


def test_a_model_of_ones_own_that_was_only_called():
    class Own(keras.Model):
        def __init__(self):
            super().__init__()
            self.embedding = keras.layers.Embedding(V, 5)
            self.lstm = FusedLSTM(6, return_sequences=True, name="lstm")

        def call(self, words):
            return self.lstm(self.embedding(words))

    model = Own()
    with pytest.raises(ValueError, match="Expected a model that is built"):
        kerasptb.explain(model)
    model(np.zeros((B, T), "int32"))
    assert kerasptb.explain(model) == [Row("lstm", "FusedLSTM", "native", "float32", None)]


@pytest.mark.parametrize(
    ("arguments", "implementation", "reason"),
    [
        ({"loss": SequenceCrossEntropy(), "metrics": [Perplexity()]}, "native", None),
        ({"loss": SequenceCrossEntropy(), "weighted_metrics": [Perplexity()]}, "native", None),
        ({"loss": SequenceCrossEntropy(), "metrics": ["accuracy"]}, "native", "The metrics accuracy read the logits."),
        ({"loss": SequenceCrossEntropy(), "metrics": [Perplexity(False, "p")]}, "native", "metrics p read"),
        ({"loss": "mse"}, "keras", "mse reads the logits"),
        ({"loss": keras.losses.CategoricalCrossentropy()}, "keras", "CategoricalCrossentropy reads the logits"),
        ({"loss": broken}, "keras", "Tried on one word, broken raised AttributeError: 'NoneType' object has no"),
        ({"loss": SequenceCrossEntropy(), "metrics": [Broken()]}, "native", "Broken raised NameError: of its own"),
    ],
)
def test_what_reads_the_logits(arguments, implementation, reason):
    model = own_model()
    model.compile("sgd", **arguments)
    cost = cost_of(model)
    assert cost.implementation == implementation
    assert cost.reason == reason if reason is None or reason.endswith(".") else reason in cost.reason
    given = [*arguments.get("metrics", []), *arguments.get("weighted_metrics", [])]
    assert all(metric.num_words == 0 for metric in given if metric != "accuracy")


@pytest.mark.parametrize(
    ("last", "reason"),
    [
        (lambda: keras.layers.Dense(V), "does not end in `kerasptb.layers.Dense`"),
        (lambda: Dense(V, activation="softmax", name="logits"), "logits of logits carry no factors"),
    ],
)
def test_a_model_without_factors(last, reason):
    model = own_model(last=last())
    model.compile("sgd", SequenceCrossEntropy())
    cost = cost_of(model)
    assert (cost.kind, cost.implementation) == ("SequenceCrossEntropy", "keras")
    assert reason in cost.reason


def test_a_loss_of_ones_own_that_joins():
    class Joins(keras.losses.Loss):
        def __call__(self, y_true, y_pred, sample_weight=None):
            return kerasptb.ops.logits.factors_of(y_pred).cross_entropy(y_true)

    model = own_model()
    model.compile("sgd", Joins())
    assert cost_of(model) == Row("cost", "Joins", "native", "float32", None)


def test_a_forecaster_has_no_rows_of_a_language_model():
    model = keras.Sequential([keras.Input((6, 2)), keras.layers.LSTM(4), keras.layers.Dense(1)])
    model.compile("adam", "mse")
    kerasptb.accelerate(model)
    *layers, step = kerasptb.explain(model)
    assert [(row.kind, row.implementation) for row in layers] == [("LSTM", "native")]
    assert step == Row("step", "fit", "graph", None, None)


def test_the_argument_that_compiles_a_step_is_named():
    model = own_model()
    model.compile("sgd", SequenceCrossEntropy(), metrics=["accuracy"])
    step = kerasptb.explain(model)[-1]
    assert step[:3] == ("step", "fit", "graph")
    advice = "In a script, compile(jit_compile=True) lets XLA compile it: "
    assert step.reason.startswith(f"{advice}slower on a processor, until")
    model.compile("sgd", SequenceCrossEntropy(), metrics=[Perplexity()])
    assert kerasptb.explain(model)[-1].reason == f"{advice}1 to 3 % faster."
    model.compile("sgd", SequenceCrossEntropy(), jit_compile=True)
    assert kerasptb.explain(model)[-1] == Row("step", "fit", "XLA", None, None)
    model.layers[1].supports_jit = False
    model.compile("sgd", SequenceCrossEntropy())
    assert kerasptb.explain(model)[-1].reason == f"XLA cannot compile {model.layers[1].name} (`supports_jit`)."


def test_a_compute_loss_of_ones_own_and_eager_steps():
    class Own(LanguageModel):
        def compute_loss(self, *args, **kwargs):
            return super().compute_loss(*args, **kwargs)

    model = Own(V, 6, (6,), B, T)
    model.compile(run_eagerly=True)
    *_, cost, step = kerasptb.explain(model)
    assert (cost.implementation, cost.reason) == ("native", "The model's own `compute_loss` may read them too.")
    assert step.implementation == "eager"


@pytest.mark.filterwarnings("error:Slower than it could be")  # the table says it: trying the cost does not
def test_a_missing_library_and_a_backend_that_was_named(monkeypatch):
    monkeypatch.setattr("kerasptb.ops.plan._reported", set())
    models = [language_model(backend=backend) for backend in ("auto", "keras", "native")]
    monkeypatch.setattr("kerasptb.ops.platform.why_not_native", lambda precision="float32": "It is not built.")
    monkeypatch.setattr("kerasptb.ops.platform.this_process", lambda: Platform(False, lambda _: "It is not built."))
    for model, reason in zip(models, ("It is not built.", '`backend="keras"` was named.'), strict=False):
        model.compile()
        *rows, _ = kerasptb.explain(model)
        assert [(row.implementation, row.reason) for row in rows] == [("keras", reason)] * 3
    with pytest.raises(NativeUnavailableError, match="It is not built"):
        kerasptb.explain(models[2])


@pytest.mark.parametrize("options", [{"activation": "relu"}, {"use_bias": False}])
def test_a_dense_layer_that_is_keras_own_says_so(options):
    model = keras.Sequential([keras.Input((5, 4)), kerasptb.layers.Dense(8, **options)])
    (row,) = kerasptb.explain(model)
    assert (row.implementation, row.reason[:34]) == ("keras", "With an activation, without a bias")


def test_the_last_layer_is_that_of_the_graph():
    inputs = keras.Input((5, 4))
    logits = kerasptb.layers.Dense(8)
    aside = keras.layers.Dense(2)(inputs)
    outputs = logits(keras.layers.Concatenate()([inputs, aside]))
    model = keras.Model(inputs, [outputs, keras.layers.Identity()(aside)])
    model.compile(loss=[kerasptb.losses.SequenceCrossEntropy(), None])
    cost = next(row for row in kerasptb.explain(model) if row.name == "cost")
    assert "does not end in" not in (cost.reason or "")


def test_the_products_around_the_recurrence_are_seen():
    model = own_model(recurrent_dropout=0.5)
    (row, _) = kerasptb.explain(model)
    assert row[2:4] == ("native_recurrence", "float32")
    assert "native_recurrence, float32  In float32 the framework computes the products of" in str(
        kerasptb.explain(model)
    )


def test_a_gpu_s_products_are_seen(gpus):
    gpus(None)
    lstm, logits = kerasptb.explain(own_model())
    assert (lstm.implementation, logits.implementation) == ("native_recurrence", "native_softmax")
    assert lstm.reason == logits.reason == "On a GPU the framework computes the products."
