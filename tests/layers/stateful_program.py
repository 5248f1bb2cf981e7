"""Stateful models of Keras, which raise in `fit` on PyTorch with Keras 3.15, once accelerated; prints "trained"."""

import keras
import numpy as np

import kerasptb

x = np.random.default_rng(0).standard_normal((4, 5, 3)).astype("float32")
for kind in (keras.layers.LSTM, keras.layers.GRU):
    model = keras.Sequential([keras.Input((5, 3), batch_size=4), kind(2, stateful=True)])
    kerasptb.accelerate(model).compile(keras.optimizers.SGD(0.3), "mse")
    losses = model.fit(x, x[:, -1, :2], batch_size=4, epochs=20, shuffle=False, verbose=0).history["loss"]
    assert losses[-1] < 0.9 * losses[1], losses  # from the second on it goes on from a state
    assert all(abs(keras.ops.convert_to_numpy(state)).max() > 0 for state in model.layers[0].states)
print("trained")
