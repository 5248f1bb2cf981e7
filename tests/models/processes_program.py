"""One of several processes that train a `LanguageModel` together; test_jax.py compares what they print."""

import json
import sys

import jax
import keras
import numpy as np

import kerasptb
from kerasptb.callbacks import ResetStates
from kerasptb.data import Vocabulary
from kerasptb.trainers import peers


def fail():
    raise ValueError("no more")


peers.join()

IDS = (np.cumsum(np.random.default_rng(1).integers(1, 9, 900)) % 50).astype("int32")
SIZES = {"vocabulary_size": 50, "embedding_size": 8, "units": (16, 12), "batch_size": 6, "num_steps": 5}
model = kerasptb.LanguageModel(**SIZES, seed=3, keep_prob=0.7)
model.compile()
history = model.fit(
    kerasptb.make_dataset(IDS, 6, 5),
    epochs=2,
    verbose=0,
    validation_data=kerasptb.make_dataset(IDS[:200], 6, 5),
    callbacks=[ResetStates()],
).history
predicted = model.predict(kerasptb.make_dataset(IDS[:60], 4, 7).take(1), verbose=0)
model.tokenizer = Vocabulary([*map(str, range(48)), "<eos>", "<unk>"])
refused = ""
try:
    model.predict(IDS[:24].reshape(4, 6), batch_size=4, verbose=0)
except ValueError as error:
    refused = str(error)
process = jax.process_index()
told = [peers.by_first(lambda: {"process": process}), peers.gathered([process, 2]).tolist(), peers.is_first()]
try:
    peers.by_first(fail)
except (ValueError, SystemExit) as error:
    told.append(f"{type(error).__name__}: {error}")
model.save(f"{sys.argv[1]}/model.keras")
loaded = keras.saving.load_model(f"{sys.argv[1]}/model.keras")
told.append(all(np.array_equal(*pair) for pair in zip(loaded.get_weights(), model.get_weights(), strict=True)))
wishes = peers.Agreement(seconds=1e-9)
told.append([wishes.of_any(process, 3 - process) for _ in range(2)])
states = [
    peers.whole(variable).shape for layer in model.layers if hasattr(layer, "states") for variable in layer.states
]
told.append([list(shape) for shape in states])
print(
    json.dumps(
        {
            "history": [history[name] for name in sorted(history)],
            "weights": [float(np.abs(weight).sum()) for weight in model.get_weights()],
            "evaluated": model.evaluate(kerasptb.make_dataset(IDS[:200], 4, 7), verbose=0),
            "every word": kerasptb.evaluate_perplexity(model, IDS[:200], num_steps=60, every_word=True),
            "predicted": np.asarray(predicted).sum(axis=(1, 2)).tolist(),
            "suggested": [each.probability for each in kerasptb.suggest(model, "1 2 3", k=5)],
            "refused": refused,
            "told": told,
        }
    )
)
