import gc
import weakref

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.python.framework.ops import gradient_registry

import kerasptb
from kerasptb.data import ptb_iterator
from kerasptb.layers import Embedding
from kerasptb.losses import SequenceCrossEntropy
from kerasptb.metrics import Perplexity
from kerasptb.metrics.perplexity import find_perplexity
from kerasptb.models import LanguageModel, build_language_model
from kerasptb.pipeline import make_dataset
from kerasptb.trainers import tensorflow as trainer

V, B, T = 23, 4, 5
TRAIN = np.random.default_rng(0).integers(0, V, 404).astype("int32")
X, Y = (np.concatenate(parts) for parts in zip(*make_dataset(TRAIN, B, T).as_numpy_iterator(), strict=True))


class Losses(keras.callbacks.Callback):
    def __init__(self):
        super().__init__()
        self.values = []

    def on_train_batch_end(self, batch, logs=None):
        self.values.append(logs["loss"])


class Batches(keras.utils.PyDataset):
    def __len__(self):
        return len(X) // B

    def __getitem__(self, index):
        return X[index * B : (index + 1) * B], Y[index * B : (index + 1) * B]


def custom_gradients():
    return {name for name in gradient_registry._registry if name.startswith("CustomGradient-")}


def compiled_model(loss=None):
    model = build_language_model(V, 6, (8, 7), B, T, seed=3)
    model.compile(loss=loss, jit_compile=False)  # to save time: nothing here depends on it
    return model


def losses_of(model, data, **kwargs):
    losses = Losses()
    model.fit(data, callbacks=[losses], verbose=0, **kwargs)
    return losses.values


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_every_word_of_a_text_is_evaluated_in_batches_of_open_length(skip_without, precision):
    skip_without(precision)
    model = build_language_model(V, 6, (8, 7), B, T, seed=3, precision=precision)
    model.compile()
    data = make_dataset(TRAIN, 1, 35, every_word=True)
    assert data.element_spec[0].shape[1] is None
    whole = model.evaluate(make_dataset(TRAIN, 1, 403), verbose=0, return_dict=True)
    assert find_perplexity(model).num_words == 403
    by_parts = model.evaluate(data, verbose=0, return_dict=True)
    assert find_perplexity(model).num_words == 403
    assert by_parts["perplexity"] == pytest.approx(whole["perplexity"], rel=1e-5 if precision == "float32" else 1e-3)


def test_training_batch_of_another_size_is_refused():
    with pytest.raises(ValueError, match=r"rows of batches of 4"):
        compiled_model().fit(make_dataset(TRAIN, B + 1, T), verbose=0)


@pytest.mark.parametrize(
    "wrap", [lambda x: {"tokens": x}, pytest.param(lambda x: [x], marks=pytest.mark.slow)], ids=["dict", "list"]
)
def test_the_input_may_come_by_its_name_or_in_a_list(wrap):
    model, plain = compiled_model(), compiled_model()
    losses = Losses()
    model.fit(wrap(X), Y, callbacks=[losses], verbose=0)
    assert losses.values == losses_of(plain, make_dataset(TRAIN, B, T))
    assert model.evaluate(wrap(X), Y, verbose=0) == plain.evaluate(X, Y, verbose=0)
    np.testing.assert_array_equal(model.predict(wrap(X), verbose=0), plain.predict(X, verbose=0))
    batches = make_dataset(TRAIN, B, T).map(lambda x, y: ({"tokens": x}, y))
    assert losses_of(model, batches) == losses_of(plain, make_dataset(TRAIN, B, T))
    with pytest.raises(ValueError, match="Received: 7 rows; drop the last 3"):
        model.fit(wrap(X[:7]), Y[:7], verbose=0)


@pytest.mark.parametrize(
    ("kwargs", "received"),
    [
        ({"validation_data": (X[:6], Y[:6])}, "6 rows of validation; drop the last 2"),
        ({"validation_data": (X[:8], Y[:8]), "validation_batch_size": 3}, "8 rows of validation; drop the last 2"),
        ({"validation_split": 0.5}, "10 rows before `validation_split`; drop the last 2"),
        ({"validation_split": 0.4, "validation_batch_size": 3}, "8 rows of `validation_split`; drop the last 2"),
    ],
    ids=str,
)
def test_validation_is_checked_before_training_begins(kwargs, received):
    model = compiled_model()
    before = model.get_weights()
    with pytest.raises(ValueError, match=f"Received: {received}"):
        model.fit(X[:20], Y[:20], verbose=0, **kwargs)
    for now, then in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(now, then)


def test_a_split_that_divides_is_validated_on():
    model = compiled_model()
    history = model.fit(X[:20], Y[:20], validation_split=0.4, validation_batch_size=2, verbose=0).history
    assert history["val_loss"] == [pytest.approx(model.evaluate(X[12:20], Y[12:20], batch_size=2, verbose=0)[0])]


def test_a_split_is_rounded_as_keras_rounds_it():
    model = compiled_model()
    history = model.fit(X[:13], Y[:13], validation_split=0.33, validation_batch_size=5, verbose=0).history
    assert history["val_loss"] == [pytest.approx(model.evaluate(X[8:13], Y[8:13], batch_size=5, verbose=0)[0])]


def test_arrays_must_divide_into_whole_batches_and_keep_their_order():
    x, y = (np.concatenate(parts) for parts in zip(*make_dataset(TRAIN, B, T).as_numpy_iterator(), strict=True))
    model, other = compiled_model(), compiled_model()
    losses = Losses()
    model.fit(x, y, callbacks=[losses], verbose=0)
    assert losses.values == losses_of(other, make_dataset(TRAIN, B, T))
    for method in (model.fit, model.evaluate):
        with pytest.raises(ValueError, match="Received: 7 rows; drop the last 3"):
            method(x[:7], y[:7], verbose=0)
        with pytest.raises(ValueError, match="Received: 3 rows; give more, or a smaller batch size"):
            method(x[:3], y[:3], verbose=0)
    shuffled = compiled_model()
    with pytest.warns(UserWarning, match="`shuffle=True` is ignored"):
        shuffled.fit(x, y, shuffle=True, verbose=0)
    for weight, expected in zip(shuffled.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(weight, expected)


def test_any_number_of_rows_is_predicted():
    model = compiled_model()
    eight = model.predict(X[:8], verbose=0)  # in two batches of four
    for rows in (1, 3, 7):
        found = model.predict(X[:rows], verbose=0)
        assert found.shape == (rows, T, V)
        np.testing.assert_allclose(found[:4], eight[: min(rows, 4)], rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(found, model.predict(X[:rows], batch_size=rows, verbose=0), rtol=1e-5, atol=1e-6)
    with pytest.raises(ValueError, match="Received: 7 rows"):
        model.predict(X[:7], batch_size=4, verbose=0)


_OTHER_THAN_ARRAYS = {
    "dataset": lambda: tf.data.Dataset.from_tensor_slices((X, Y)).batch(B, drop_remainder=True),
    "generator": lambda: ptb_iterator(TRAIN, B, T),
    "PyDataset": Batches,
}


@pytest.mark.parametrize("make", _OTHER_THAN_ARRAYS.values(), ids=_OTHER_THAN_ARRAYS)
@pytest.mark.filterwarnings("ignore:Your input ran out of data")
@pytest.mark.fast_cases(1)
def test_arrays_and_others_validate_one_another_in_batches_of_the_model(make):
    trained, validated, plain = compiled_model(), compiled_model(), compiled_model()
    expected = plain.fit(X, Y, validation_data=(X, Y), verbose=0).history
    assert expected["val_perplexity"] == [plain.evaluate(X, Y, verbose=0)[1]]
    # Keras would cut 80 rows into batches of 32, every row from a zero state, and one that is too short.
    assert validated.fit(make(), validation_data=(X, Y), verbose=0).history == expected
    assert trained.fit(X, Y, validation_data=make(), verbose=0).history == expected


def test_weights_of_words_and_of_rows_take_turns():
    model = LanguageModel(V, 6, (8,), B, T, seed=3)
    model.compile(loss=SequenceCrossEntropy(), weighted_metrics=[Perplexity()], jit_compile=False)
    words = np.ones(X.shape, "float32")
    unweighted = model.evaluate(X, Y, verbose=0)
    for weight in (words, words[:, 0], None, words):
        assert model.evaluate(X, Y, sample_weight=weight, verbose=0) == pytest.approx(unweighted, rel=1e-6)
        assert model.test_on_batch(X[:B], Y[:B], weight if weight is None else weight[:B])[0] > 0


def test_weights_of_words_and_of_rows_take_turns_in_training_too():
    model = LanguageModel(V, 6, (8,), B, T, seed=3)
    model.compile(loss=SequenceCrossEntropy(), weighted_metrics=[Perplexity()], jit_compile=False)
    words = np.ones((B, T), "float32")
    for weight in (words, words[:, 0], None, words):
        assert model.train_on_batch(X[:B], Y[:B], weight)[0] > 0


def test_a_batch_size_beside_a_dataset_is_of_no_effect():
    assert losses_of(compiled_model(), _OTHER_THAN_ARRAYS["dataset"](), batch_size=7) == losses_of(
        compiled_model(), make_dataset(TRAIN, B, T)
    )


# Every way to hand over the same batches


class OfLogits(keras.losses.SparseCategoricalCrossentropy):
    """A loss that reads the logits. Keras' own would be replaced."""


# One whose loss reads the factors of logits, and one whose loss reads the logits.
LOSSES = [None, OfLogits(from_logits=True)]


@pytest.mark.parametrize(
    "loss", [LOSSES[0], pytest.param(LOSSES[1], marks=pytest.mark.slow)], ids=["of factors", "of logits"]
)
@pytest.mark.parametrize(
    "data",
    [
        lambda: ptb_iterator(TRAIN, B, T),
        Batches,
        lambda: tf.data.Dataset.from_tensor_slices((X, Y)).batch(B),
        lambda: tf.data.Dataset.from_tensor_slices((X, Y)).batch(B, drop_remainder=True).filter(lambda x, y: True),
    ],
    ids=["generator", "PyDataset", "dataset of open batch size", "dataset of unknown length"],
)
@pytest.mark.filterwarnings("ignore:Your input ran out of data")
def test_any_source_of_batches_trains_and_evaluates_as_make_dataset_does(data, loss):
    model, other = compiled_model(loss), compiled_model(loss)
    expected = losses_of(other, make_dataset(TRAIN, B, T))
    assert losses_of(model, data()) == expected
    # After the data have ended nothing more is counted, not by the metrics and not by the optimizer.
    assert model.get_metrics_result().keys() == {"loss", "perplexity"}
    assert float(model.get_metrics_result()["loss"]) == expected[-1]
    assert int(model.optimizer.iterations) == len(expected)
    assert model.evaluate(data(), verbose=0) == other.evaluate(make_dataset(TRAIN, B, T), verbose=0)


def test_a_smaller_last_batch_is_refused():
    dataset = tf.data.Dataset.from_tensor_slices((X[:-1], Y[:-1])).batch(B)
    for method in (compiled_model().fit, compiled_model().evaluate):
        with pytest.raises(tf.errors.InvalidArgumentError, match="drop_remainder=True"):
            method(dataset, verbose=0)


def test_fit_takes_the_positional_arguments_of_keras():
    model = compiled_model()
    assert len(model.fit(X, Y, B, 3, 0).history["loss"]) == 3
    assert len(model.evaluate(X, Y, B, 0)) == 2


def test_single_batches_of_any_size_go_on_from_one_another():
    model, whole = compiled_model(), compiled_model()
    model.evaluate(X[:B], Y[:B], verbose=0)
    for rows, steps in ((B, T), (2, T), (2, 2), (7, 3), (B, T)):
        model.reset_states()
        expected = whole.predict(np.concatenate([X[:rows, :steps], Y[:rows, :steps]], 1), batch_size=rows, verbose=0)
        for x, logits in ((X, expected[:, :steps]), (Y, expected[:, steps:])):
            np.testing.assert_allclose(model.predict_on_batch(x[:rows, :steps]), logits, rtol=1e-5, atol=1e-6)
        model.reset_states()
        losses = [model.test_on_batch(x[:rows, :steps], Y[:rows, :steps])[0] for x in (X, X)]
        assert losses[0] != losses[1]
        model.reset_states()
        assert model.test_on_batch(X[:rows, :steps], Y[:rows, :steps])[0] == losses[0]
    assert model.train_on_batch(X[:B], Y[:B])[0] == pytest.approx(losses_of(whole, make_dataset(TRAIN, B, T))[0])


def test_a_function_of_ones_own_reads_batches_of_any_size():
    model, other = compiled_model(), compiled_model()
    function = tf.function(model)
    for rows in (4, 2, 7):
        logits = function(X[:rows])
        np.testing.assert_array_equal(logits, other.predict(X[:rows], batch_size=rows, verbose=0))


@pytest.mark.slow
def test_arrays_of_another_framework_are_cut_as_numpys_are():
    jax = pytest.importorskip("jax")
    model, x, y = compiled_model(), jax.numpy.asarray(X), jax.numpy.asarray(Y)
    assert model.evaluate(x, y, batch_size=2, verbose=0) == model.evaluate(X, Y, batch_size=2, verbose=0)
    np.testing.assert_array_equal(model.predict(x, batch_size=10, verbose=0), model.predict(X, 10, verbose=0))
    with pytest.raises(ValueError, match="Received: 7 rows; drop the last 3"):
        model.fit(x[:7], y[:7], verbose=0)
    assert losses_of(model, x, y=y) == losses_of(compiled_model(), X, y=Y)


def test_class_weights_are_refused_and_word_weights_do_what_was_meant():
    model = compiled_model()
    for train in (model.fit, model.train_on_batch):
        with pytest.raises(ValueError, match=r"sample_weight=weights\[y\].*Received: class_weight=\{3: 2.0\}"):
            train(X[:B], Y[:B], class_weight={3: 2.0})


def test_batches_of_two_shapes_in_turn_are_traced_once_each():
    traced = []

    class Counting(LanguageModel):
        def train_step(self, data):
            traced.append(("train", *data[0].shape))
            return super().train_step(data)

        def test_step(self, data):
            traced.append(("test", *data[0].shape))
            return super().test_step(data)

    model = Counting(V, 6, (8, 7), B, T, seed=3)
    model.compile(jit_compile=False)
    for _ in range(3):
        for steps in (T, 3):
            model.train_on_batch(X[:B, :steps], Y[:B, :steps])
        for rows in (B, 2):
            model.evaluate(X, Y, batch_size=rows, verbose=0)
    assert sorted(traced) == [("test", 2, T), ("test", B, T), ("train", B, 3), ("train", B, T)]
    model.compile(jit_compile=False)  # the traced functions held the old optimizer
    before = model.get_weights()
    model.train_on_batch(X[:B, :3], Y[:B, :3])
    assert len(traced) == 5
    assert model.optimizer.iterations == 1
    assert any((a != b).any() for a, b in zip(before, model.get_weights(), strict=True))


@pytest.mark.parametrize("arguments", [{}, {"jit_compile": True}, {"steps_per_execution": 2}], ids=str)
@pytest.mark.parametrize(
    ("backend", "loss"),
    [("auto", LOSSES[0]), pytest.param("keras", LOSSES[0], marks=pytest.mark.slow), ("auto", LOSSES[1])],
)
@pytest.mark.fast_cases(2)
def test_what_was_traced_for_a_model_is_gone_with_it(backend, loss, arguments):
    before = custom_gradients()
    model = LanguageModel(V, 6, 8, B, T, seed=3, backend=backend)
    model.compile(loss=loss, **arguments)
    model.fit(X, Y, verbose=0)
    model.evaluate(X, Y, batch_size=B, verbose=0)
    model.predict(X, batch_size=B, verbose=0)
    del model
    gc.collect()
    # Each gradient that stays registered keeps its graph alive, and the graph keeps the weights.
    assert custom_gradients() - before == set()


def test_what_was_traced_for_a_plain_model_of_our_layers_is_gone_with_it(native_library):
    before = custom_gradients()
    tokens = keras.Input(batch_shape=(B, T), dtype="int32")
    x = kerasptb.layers.FusedLSTM(3, return_sequences=True, recurrent_dropout=0.5)(Embedding(V, 4)(tokens))
    model = keras.Model(tokens, kerasptb.layers.Dense(V)(kerasptb.layers.Dropout(0.5)(x)))
    model.compile("sgd", SequenceCrossEntropy())
    model.train_on_batch(X[:B, :T], Y[:B, :T])
    traced = weakref.ref(model.train_function)
    assert custom_gradients() - before
    del model, tokens, x
    gc.collect()
    assert traced() is None
    assert custom_gradients() - before == set()


def test_no_more_than_some_step_functions_are_kept():
    functions = trainer._TracedFunctions()
    most = functions._MAX
    assert functions.exchange("train", 0, "f0") == "f0"
    for shape in range(1, most + 2):
        assert functions.exchange("train", shape, f"f{shape - 1}") is None
    assert functions.exchange("train", 0, f"f{most + 1}") is None  # the oldest is gone
    assert functions.exchange("train", most, "again") == f"f{most}"
    assert functions.exchange("test", most, "another kind") == "another kind"
