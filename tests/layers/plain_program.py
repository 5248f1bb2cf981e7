"""The layers and losses in plain Keras operations, with a backend that has no native kernels; prints "as Keras"."""

import warnings

import keras
import numpy as np

from kerasptb.layers import Dense, Embedding, FusedLSTM, TiedDense
from kerasptb.losses import SequenceCrossEntropy, SparseCategoricalCrossentropy

keras.ops.custom_gradient = None  # with several results PyTorch's raises
warnings.filterwarnings("ignore", "Slower than it could be")
B, T, V = 4, 5, 11
X, Y = np.random.default_rng(0).integers(0, V, (2, 2 * B, T)).astype("int32")
KERAS = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def model(embedding, lstm, dense, **kwargs):
    keras.utils.set_random_seed(1)
    tokens = keras.Input((T,), batch_size=B, dtype="int32")
    embedding = embedding(V, 6)
    x = lstm(6, return_sequences=True, **kwargs)(embedding(tokens))
    return keras.Model(tokens, TiedDense(embedding)(x) if dense is TiedDense else dense(V)(x))


def losses(model, loss):
    if keras.backend.backend() == "numpy":  # it cannot train
        return [float(loss(Y[:B], model(X[:B])))]
    model.compile("sgd", loss)
    return model.fit(X, Y, batch_size=B, epochs=2, shuffle=False, verbose=0).history["loss"]


keras_layers = keras.layers.Embedding, keras.layers.LSTM, keras.layers.Dense
theirs, ours = model(*keras_layers), model(Embedding, FusedLSTM, Dense)
weights = theirs.get_weights()
ours.set_weights(weights)
expected = losses(theirs, KERAS)
np.testing.assert_allclose(losses(ours, SparseCategoricalCrossentropy()), expected, rtol=1e-5)
ours.set_weights(weights)
assert losses(ours, SequenceCrossEntropy())[0] > 4 * expected[0]
tied = [
    losses(model(*parts, TiedDense), SequenceCrossEntropy()) for parts in (keras_layers[:2], (Embedding, FusedLSTM))
]
np.testing.assert_allclose(*tied, rtol=1e-5)
assert np.isfinite(losses(model(Embedding, FusedLSTM, Dense, stateful=True), SequenceCrossEntropy())).all()
print("as Keras")
