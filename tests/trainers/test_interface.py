import keras
import numpy as np
import pytest

from kerasptb.callbacks import ResetStates
from kerasptb.layers import Embedding, StatefulLSTM
from kerasptb.losses import SequenceCrossEntropy
from kerasptb.models import LanguageModel
from kerasptb.pipeline import make_dataset
from kerasptb.trainers import Trainer

V, B, T = 23, 4, 5
IDS = np.random.default_rng(0).integers(0, V, 404).astype("int32")


class Own(Trainer):
    """A model that tells a trainer what it asks, and no more."""

    def __init__(self):
        tokens = keras.Input(batch_shape=(B, None), dtype="int32")
        x = StatefulLSTM(7, return_sequences=True)(Embedding(V, 6)(tokens))
        super().__init__(tokens, keras.layers.Dense(V)(x))
        self.vocabulary_size, self.batch_size, self.num_steps = V, B, T


def test_a_model_of_ones_own_is_trained_and_evaluated_as_a_language_model_is():
    own, language_model = Own(), LanguageModel(V, 6, 7, B, T, seed=1)
    histories = []
    for model in (own, language_model):
        if model is own:
            own.set_weights(language_model.get_weights())
        model.compile("adam", SequenceCrossEntropy(), jit_compile=False)
        data = make_dataset(IDS, B, T)
        arguments = {"validation_data": make_dataset(IDS[:100], 2, T), "callbacks": [ResetStates()], "verbose": 0}
        histories.append(model.fit(data, epochs=2, **arguments).history)
        assert model.evaluate(data, verbose=0) == model.evaluate(data, verbose=0)  # each from a zero state
        with pytest.raises(ValueError, match=r"Expected word ids in \[0, 23\)"):
            model.predict(IDS[:20].reshape(B, T) + V)
    for name in ("loss", "val_loss"):
        np.testing.assert_allclose(histories[0][name], histories[1][name], rtol=1e-5)
    assert [len(own.stateful_layers()), own.lookup_layer()] == [1, None]
    # h and c: of training, of `evaluate` in two sizes, and nothing yet of `predict` and of calls of the model.
    assert len(own.state_variables()) == 2 * 3
