"""A training on whatever backend Keras has: what it gives, as numbers that another backend's can be compared with."""

import json
import signal
import sys
import warnings

import keras
import numpy as np

from kerasptb.callbacks import LearningRateDecay, ResetStates, StopOnDivergence, WordsPerSecond
from kerasptb.losses import SequenceCrossEntropy
from kerasptb.metrics import Perplexity
from kerasptb.models import LanguageModel, evaluate_perplexity
from kerasptb.optimizers import ClippedAdamW, ClippedSGD
from kerasptb.pipeline import make_dataset

V, B, T = 50, 4, 5
TRAIN = np.random.default_rng(0).integers(0, V, B * (T * 5 + 1)).astype("int32")
VALID = np.random.default_rng(1).integers(0, V, 3 * (11 * 4 + 1)).astype("int32")


class Losses(keras.callbacks.Callback):
    def __init__(self):
        super().__init__()
        self.values = []

    def on_train_batch_end(self, batch, logs=None):
        self.values.append(float(logs["loss"]))


def model_with_known_weights(tie_embeddings=False, clip=5.0, optimizer=None, **options):
    model = LanguageModel(V, 6, (8, 6), B, T, seed=3, tie_embeddings=tie_embeddings)
    set_known_weights(model)
    model.compile(optimizer or ClippedSGD(1.0, global_clipnorm=clip), **options)
    return model


def set_known_weights(model):
    weights = [
        np.random.default_rng(i).uniform(-0.5, 0.5, weight.shape).astype("float32")
        for i, weight in enumerate(model.get_weights())
    ]
    model.set_weights(weights)


def with_adapted_embedding():
    model = LanguageModel(V, 6, (8, 6), B, T, seed=3)
    model.get_layer("embedding").enable_lora(2)
    set_known_weights(model)
    model.compile()
    return train(model)


def with_masked_words():
    """A plain model with our loss and metric; half of the words are masked."""
    warnings.filterwarnings("ignore", "kerasptb.losses.* reads all logits")
    layers = [keras.layers.Embedding(V, 4, mask_zero=True), keras.layers.LSTM(5, return_sequences=True)]
    model = keras.Sequential([keras.Input(batch_shape=(B, T)), *layers, keras.layers.Dense(V)])
    set_known_weights(model)
    model.compile("sgd", SequenceCrossEntropy(), metrics=[Perplexity()])
    rows = TRAIN[: B * T * 4].reshape(-1, T)
    masked = np.where(rows % 2, rows, 0)
    # In training Keras' trainer for JAX drops the mask on the way to the metrics.
    losses = model.fit(masked, rows, batch_size=B, epochs=2, shuffle=False, verbose=0).history["loss"]
    return {"losses": losses, "evaluation": model.evaluate(masked, rows, batch_size=B, verbose=0)}


def with_regularized_embedding():
    """The embedding's own gradients, and what is looked up in it, have a part in the loss."""
    losses = {}
    for name in ("embeddings", "activity"):
        model = model_with_known_weights()
        embedding, regularizer = model.get_layer("embedding"), keras.regularizers.L2(0.1)
        if name == "embeddings":
            embedding.embeddings.regularizer = regularizer
        else:
            embedding.activity_regularizer = regularizer
        model.compile(ClippedSGD(0.5, None))
        losses[name] = model.fit(make_dataset(TRAIN, B, T), epochs=2, verbose=0).history["loss"]
        losses[f"{name}: sum"] = float(np.abs(embedding.get_weights()[0]).sum())
    return losses


def after_errors():
    """After refused calls, and after errors that end its training, a model goes on from where it was."""
    model = model_with_known_weights()
    rows = TRAIN[: B * T * 4].reshape(-1, T)
    model.fit(rows, rows, verbose=0)
    before = model.get_weights()
    refused = (
        lambda: model.fit(rows, rows, sample_weight=np.ones((4 * B, T - 1)), verbose=0),
        lambda: model.evaluate(rows, verbose=0),
        lambda: model.train_on_batch(rows[:B], rows[:B], np.ones((B, T - 1))),
        lambda: model.test_on_batch(rows[:B]),
        lambda: model.predict(np.zeros((B, T, 2), "int32"), verbose=0),
        lambda: model.predict_on_batch(np.zeros((B, T, 2), "int32")),
        lambda: model.fit(rows + V, rows, verbose=0),
        lambda: model.fit(rows, rows, validation_data=(rows, rows - V), verbose=0),
        lambda: model.fit(make_dataset(TRAIN - V, B, T), verbose=0),
        lambda: model.evaluate(make_dataset(TRAIN + V, B, T), verbose=0),
        lambda: model.train_on_batch(rows[:B], rows[:B] + V),
    )
    for call in refused:
        try:
            call()
        except Exception:
            for now, then in zip(model.get_weights(), before, strict=True):
                np.testing.assert_array_equal(now, then)
        else:
            raise AssertionError("it was not refused")

    def failing():
        yield rows[:B], rows[:B]
        yield rows[B : 2 * B], rows[B : 2 * B]
        if keras.backend.backend() == "jax" and tuple(map(int, keras.__version__.split(".")[:2])) < (3, 15):
            yield rows[:B], rows[:B]  # Keras reads one batch ahead there, which is not trained on
        raise ValueError("there is no more")

    try:
        model.fit(failing(), steps_per_epoch=5, verbose=0)
    except Exception as error:
        assert "there is no more" in str(error)
    else:
        raise AssertionError("it did not fail")
    return {
        "evaluation": model.evaluate(rows, rows, verbose=0),
        "next": model.next_word_probabilities(rows[:1]).tolist(),
    }


def train(model, epochs=2):
    """The loss after each batch, with the callbacks of `kerasptb train`, and the history."""
    losses = Losses()
    history = model.fit(
        make_dataset(TRAIN, B, T),
        epochs=epochs,
        verbose=0,
        validation_data=make_dataset(VALID, 3, 11),  # of another shape
        callbacks=[losses, ResetStates(), LearningRateDecay(1, 0.5), WordsPerSecond(), StopOnDivergence()],
    ).history
    assert min(history.pop("words_per_second")) > 0
    return {"losses": losses.values, **history}


def measure():
    """Trainings, and what a trained model gives."""
    results = {
        "tied": train(model_with_known_weights(tie_embeddings=True)),
        "clipped": train(model_with_known_weights(clip=0.5)),
        "adam": train(model_with_known_weights(optimizer=ClippedAdamW(0.01, 0.1, epsilon=1e-3, global_clipnorm=0.1))),
        "adapted": with_adapted_embedding(),
        "masked": with_masked_words(),
        "regularized": with_regularized_embedding(),
        "after errors": after_errors(),
    }
    model = model_with_known_weights()
    results["plain"] = train(model)
    evaluation = model.evaluate(make_dataset(VALID, B, T), verbose=0)
    assert model.evaluate(make_dataset(VALID, B, T), verbose=0) == evaluation  # from a zero state each time
    rows = TRAIN[: B * T * 2].reshape(-1, T)
    results["plain"] |= {
        "evaluation": [float(value) for value in evaluation],
        "every word": [evaluate_perplexity(model, VALID, 1, 7, every_word=True)],
        "logits": model.predict(rows, verbose=0)[-1, -1].astype(float).tolist(),
        "next word": model.next_word_probabilities(rows[:3]).astype(float)[0].tolist(),
        "on arrays": model.fit(rows, np.roll(rows, -1, axis=1), verbose=0).history["loss"],
        "of floats": model.fit(rows.astype("float32"), np.roll(rows, -1, axis=1), verbose=0).history["loss"],
    }
    return results, model


if __name__ == "__main__":
    results, model = measure()
    model.save_weights(sys.argv[1])
    other = model_with_known_weights()
    other.load_weights(sys.argv[1])
    assert other.evaluate(make_dataset(VALID, B, T), verbose=0) == model.evaluate(make_dataset(VALID, B, T), verbose=0)

    # Dropout draws anew each step, and the same again from the same seed.
    losses = []
    for _ in range(2):
        dropped = LanguageModel(V, 6, 8, B, T, keep_prob=0.5, seed=3)
        dropped.compile(jit_compile=keras.backend.backend() == "jax")
        losses.append(dropped.fit(make_dataset(TRAIN, B, T), epochs=2, verbose=0).history["loss"])
    assert losses[0] == losses[1]
    print(json.dumps(results))
    if keras.backend.backend() == "torch":
        sys.exit()
    import jax

    from kerasptb.trainers import jax as trainer

    # State is threaded through the steps and saved nowhere.
    assert len(model.weights) == 9
    # h and c of two layers: of training, of calls of the model, and of batches of three sizes for each of `evaluate`
    # and `predict`.
    assert sum("rnn_state" in variable.path for variable in model.non_trainable_variables) == 2 * 2 * (2 + 3 * 2)

    # The step is one program, with the native kernels in it.
    state = [[v.value for v in variables] for variables in (model.trainable_variables, model.non_trainable_variables)]
    state += [[v.value for v in variables] for variables in (model.optimizer.variables, model.metrics_variables)]
    batch = np.zeros((B, T), "int32")
    program = jax.jit(model.train_step).lower(state, (batch, batch)).as_text()
    counts = {
        name: program.count(f"custom_call @kerasptb_{name}(")
        for name in ("lstm_forward_float32", "lstm_backward_float32", "linear_cross_entropy_loss_and_gradients_float32")
    }
    assert list(counts.values()) == [2, 2, 1], counts

    # During training only a callback can ask the model, as `self.model`: Keras puts the values back for it.
    class Asking(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            try:
                model.next_word_probabilities(rows)
                raise AssertionError("answered from variables without values")
            except RuntimeError as error:
                assert "as `self.model`" in str(error)
            assert self.model.next_word_probabilities(rows).shape == (2, V)

    rows = np.zeros((2, 3), "int32")
    model.fit(make_dataset(TRAIN, B, T), callbacks=[Asking()], verbose=0)

    # Ctrl-C after a step has consumed the arrays of the old state, and before the new state is stored.
    store, stored = trainer.store, []

    def interrupted(*arguments):
        stored.append(arguments)
        if len(stored) == 2:
            signal.raise_signal(signal.SIGINT)
        store(*arguments)

    signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job ignores it
    trainer.store = interrupted
    try:
        model.fit(make_dataset(TRAIN, B, T), verbose=0)
    except KeyboardInterrupt:
        trainer.store = store
        assert np.isfinite(model.next_word_probabilities(rows)).all()
    else:
        raise AssertionError("it was not interrupted")

    # Any other loss and optimizer train as in any Keras model.
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
    assert model.fit(make_dataset(TRAIN, B, T), verbose=0, epochs=1).history.keys() == {"loss", "accuracy"}
