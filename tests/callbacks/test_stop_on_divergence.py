import keras
import numpy as np
import pytest

from kerasptb.callbacks import StopOnDivergence, TrainingDivergedError


@pytest.mark.parametrize("value", [np.nan, np.inf], ids=["not a number", "infinite"])
def test_stops_at_the_first_batch_whose_loss_is_no_finite_number(value):
    seen = []

    class Seen(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            seen.append(batch)

    model = keras.Sequential([keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    x = np.ones((8, 1), "float32")
    y = x.copy()
    y[5] = value
    with pytest.raises(TrainingDivergedError, match=rf"{value} in epoch 1, step 6"):
        model.fit(x, y, batch_size=1, shuffle=False, epochs=3, callbacks=[Seen(), StopOnDivergence()], verbose=0)
    assert seen == [0, 1, 2, 3, 4, 5]


def test_stops_after_a_validation_whose_loss_is_no_finite_number():
    epochs = []
    seen = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: epochs.append(epoch))
    model = keras.Sequential([keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    x = np.ones((8, 1), "float32")
    with pytest.raises(TrainingDivergedError, match="val_loss became inf in epoch 1"):
        model.fit(x, x, validation_data=(x, x * np.inf), epochs=3, callbacks=[StopOnDivergence(), seen], verbose=0)
    assert epochs == []
