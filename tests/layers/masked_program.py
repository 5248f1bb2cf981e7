"""Our layers beside Keras' own where the first steps are masked and a state is handed in; prints "as Keras"."""

import itertools

import keras
import numpy as np

from kerasptb.layers import FusedGRU, FusedLSTM

B, T, D, H = 2, 4, 3, 2
random = np.random.default_rng(0)
x, state = (random.standard_normal(shape).astype("float32") for shape in ((B, T, D), (B, H)))
mask = np.array([[0, 0, 1, 1], [1, 0, 1, 0]], bool)
for ours, theirs in ((FusedLSTM, keras.layers.LSTM), (FusedGRU, keras.layers.GRU)):
    states = [state] * (2 if theirs is keras.layers.LSTM else 1)
    for backwards, unroll, backend in itertools.product((False, True), (False, True), ("native", "keras")):
        settings = {"return_sequences": True, "go_backwards": backwards, "unroll": unroll}
        layers = theirs(H, **settings), ours(H, backend=backend, **settings)
        expected = layers[0](x, mask=mask, initial_state=states)
        layers[1].build(x.shape)
        layers[1].set_weights(layers[0].get_weights())
        found = layers[1](x, mask=mask, initial_state=states)
        case = f"{theirs.__name__} {settings} {backend}"
        np.testing.assert_allclose(found, expected, atol=2e-6, err_msg=case)
print("as Keras")
