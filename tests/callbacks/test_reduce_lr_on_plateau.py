import types

import keras
import pytest

from kerasptb.callbacks import ReduceLROnPlateau
from kerasptb.callbacks.progress import Progress

PERPLEXITIES = [9.0, 8.0, 8.5, 7.0, 7.5, 8.0, 6.0]
RATES = [1.0, 1.0, 0.25, 0.25, 0.0625, 0.015625, 0.015625]  # after each epoch


def rates(optimizer, epochs, before=()):
    callback, progress, params = ReduceLROnPlateau(), Progress(), {}
    for epoch, value in enumerate(before):
        progress.record(epoch, {"val_perplexity": value})
    progress.share(params)
    callback.set_model(types.SimpleNamespace(optimizer=optimizer))
    callback.set_params(params)
    callback.on_train_begin()
    for epoch, perplexity in enumerate(epochs, len(before)):
        callback.on_epoch_begin(epoch)
        callback.on_epoch_end(epoch, {"val_perplexity": perplexity})
        yield float(optimizer.learning_rate)


def test_a_patience_of_no_epoch_is_refused():
    with pytest.raises(ValueError, match="patience"):
        ReduceLROnPlateau(patience=0)


def test_lowers_the_rate_after_an_epoch_that_is_not_the_best():
    assert list(rates(keras.optimizers.SGD(1.0), PERPLEXITIES)) == RATES


@pytest.mark.parametrize("done", range(1, 7))
def test_a_resumed_training_goes_on_with_the_count(done):
    optimizer = keras.optimizers.SGD(RATES[done - 1])
    assert list(rates(optimizer, PERPLEXITIES[done:], PERPLEXITIES[:done])) == RATES[done:]
