import types

import keras
import numpy as np
import pytest

import kerasptb
from kerasptb.callbacks import AveragedWeights, ResetStates
from kerasptb.callbacks.progress import Progress
from kerasptb.optimizers import ClippedSGD

IDS = np.random.default_rng(0).integers(0, 20, 200)


def fit(optimizer, *callbacks, epochs=3):
    model = kerasptb.LanguageModel(20, 6, 6, 4, 5, seed=1)
    model.compile(optimizer)
    batches = kerasptb.make_dataset(IDS, 4, 5)
    history = model.fit(
        batches, epochs=epochs, verbose=0, validation_data=batches, callbacks=[ResetStates(), *callbacks]
    )
    return model, history.history["val_perplexity"]


@pytest.mark.parametrize(
    ("perplexities", "begins"),
    [
        ([9, 8, 7, 6, 5, 4], None),
        ([9, 8, 8.5, 7, 7.5, 8.5], 6),  # above 8, the best of all but the last two before it
        ([5, 6, 7, 8], 4),  # 6 and 7 are above 5, too, but with fewer than two epochs between
    ],
)
def test_averaging_begins_when_validation_is_worse_than_some_epochs_ago(perplexities, begins):
    started, callback = [], AveragedWeights(patience=2)
    model = types.SimpleNamespace(optimizer=types.SimpleNamespace(start_averaging=lambda: started.append(epoch)))
    callback.set_model(model)
    for epoch, perplexity in enumerate(perplexities, 1):
        callback.on_epoch_end(epoch - 1, {"val_perplexity": perplexity})
    assert started[:1] == ([] if begins is None else [begins])


def test_a_patience_of_no_epoch_is_refused():
    with pytest.raises(ValueError, match="patience"):
        AveragedWeights(patience=0)


def test_a_resumed_training_remembers_its_epochs():
    started, callback = [], AveragedWeights(patience=2)
    callback.set_model(
        types.SimpleNamespace(optimizer=types.SimpleNamespace(start_averaging=lambda: started.append(1)))
    )
    for epoch, value in enumerate((5, 6, 7)):
        Progress.of(callback).record(epoch, {"val_perplexity": value})
    callback.on_epoch_end(3, {"val_perplexity": 8})
    assert started == [1]


def test_validates_the_averages_and_trains_on_from_the_weights():
    weights = []

    class Record(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            weights.append(self.model.get_weights())

        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 1:
                self.model.optimizer.start_averaging()
            if weights:
                for now, before in zip(self.model.get_weights(), weights[-1], strict=True):
                    np.testing.assert_array_equal(now, before)

    optimizer = ClippedSGD(1.0, polyak_averaging=True)
    model, perplexities = fit(optimizer, AveragedWeights(patience=100), Record())
    mean = [np.mean(values, axis=0) for values in zip(*weights[len(weights) // 3 :], strict=True)]
    for found, expected in zip(model.get_weights(), mean, strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)
    batches = kerasptb.make_dataset(IDS, 4, 5)
    assert model.evaluate(batches, verbose=0)[1] == pytest.approx(perplexities[-1], rel=1e-6)
    model.set_weights(weights[-1])
    assert model.evaluate(batches, verbose=0)[1] != pytest.approx(perplexities[-1], rel=1e-6)


def test_needs_an_optimizer_that_averages():
    with pytest.raises(ValueError, match=r"Expected an optimizer with polyak_averaging=True. Received: ClippedSGD"):
        fit(ClippedSGD(), AveragedWeights(patience=5))
    with pytest.raises(ValueError, match=r"Expected an optimizer with use_ema=True. Received: Adam"):
        fit(keras.optimizers.Adam(), AveragedWeights())


def test_an_evaluation_that_was_interrupted_leaves_the_weights():
    class Interrupt(keras.callbacks.Callback):
        def on_test_batch_end(self, batch, logs=None):
            raise KeyboardInterrupt

    model, _ = fit(ClippedSGD(1.0, use_ema=True), epochs=1)
    model.train_on_batch(*next(iter(kerasptb.make_dataset(IDS, 4, 5))))
    callback, trained = AveragedWeights(), model.get_weights()
    with pytest.raises(KeyboardInterrupt):
        model.evaluate(kerasptb.make_dataset(IDS, 4, 5), callbacks=[callback, Interrupt()], verbose=0)
    model.evaluate(kerasptb.make_dataset(IDS, 4, 5), callbacks=[callback], verbose=0)
    for value, expected in zip(model.get_weights(), trained, strict=True):
        np.testing.assert_array_equal(value, expected)
