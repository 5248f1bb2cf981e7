"""A `LanguageModel` whose batches two devices of this process divide, against one device; see test_jax.py."""

import re
import tempfile
from pathlib import Path

import jax
import keras
import numpy as np
from keras.src.backend.jax import trainer as jax_trainer

import kerasptb
from kerasptb.callbacks import ResetStates
from kerasptb.data import Vocabulary

IDS = (np.cumsum(np.random.default_rng(1).integers(1, 9, 900)) % 50).astype("int32")
SIZES = {"vocabulary_size": 50, "embedding_size": 8, "units": (16, 12), "batch_size": 6, "num_steps": 5, "seed": 3}
TWO = keras.distribution.DataParallel(devices=keras.distribution.list_devices())


def trained(replicas, epochs=2, callbacks=(), **arguments):
    keras.distribution.set_distribution(replicas)
    model = kerasptb.LanguageModel(**{**SIZES, **arguments})
    model.compile()
    history = model.fit(
        kerasptb.make_dataset(IDS, 6, 5),
        epochs=epochs,
        verbose=0,
        validation_data=kerasptb.make_dataset(IDS[:200], 6, 5),
        callbacks=[ResetStates(), *callbacks],
    ).history
    return model, history


def of_rows(rows):
    return kerasptb.make_dataset(IDS[:200], rows, 7)


def close(found, expected, allowed=2e-6):
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=allowed, atol=allowed)


def used(model):
    """What a model says when it is used."""
    few = kerasptb.make_dataset(IDS[:200], 4, 7)
    three = kerasptb.make_dataset(IDS[:200], 3, 7)  # rows that two replicas cannot divide
    model.tokenizer = Vocabulary([*map(str, range(48)), "<eos>", "<unk>"])
    return [
        model.evaluate(few, verbose=0),
        model.evaluate(three, verbose=0),
        kerasptb.evaluate_perplexity(model, IDS[:200], every_word=True),
        kerasptb.evaluate_perplexity(model, IDS[:200], num_steps=60, every_word=True),  # of which a row is left over
        np.asarray(model.predict(IDS[:15].reshape(3, 5), verbose=0)),
        np.asarray(model.predict(IDS[:24].reshape(4, 6), batch_size=4, verbose=0)),
        [each.probability for each in kerasptb.suggest(model, "1 2 3", k=5)],
    ]


def collectives(run):
    """The collectives of the training step that `run` compiles."""
    found, jit = [], jax_trainer.jit

    def caught(function, *args, **kwargs):
        compiled = jit(function, *args, **kwargs)

        def call(*arguments):
            if function.__name__ == "train_step" and not found:
                found.append(compiled.lower(*arguments).compile().as_text())
            return compiled(*arguments)

        return call

    jax_trainer.jit = caught
    try:
        run()
    finally:
        jax_trainer.jit = jit
    return re.findall(r"= (.*) (all-reduce|all-gather|all-to-all|collective-permute|reduce-scatter)\(", found[0])


def main():
    assert len(jax.devices()) == 2
    dropout = {"keep_prob": 0.7, "recurrent_dropout": 0.2, "word_dropout": 0.1, "recurrent_kernel_dropout": 0.2}
    tied = {"tie_embeddings": True, "units": (16, 8), "variational_dropout": True, **dropout}
    for arguments in (dropout, tied):
        alone, expected = trained(None, **arguments)
        said, weights = used(alone) if arguments is dropout else [], alone.get_weights()
        divided, history = trained(TWO, **arguments)
        close([history[name] for name in sorted(history)], [expected[name] for name in sorted(expected)])
        close(divided.get_weights(), weights)
        close(used(divided) if said else [], said, 2e-5)
        again, expected = [], []
        for model, replicas, losses in ((divided, TWO, again), (alone, None, expected)):
            keras.distribution.set_distribution(replicas)
            history = model.fit(kerasptb.make_dataset(IDS, 6, 5), validation_data=of_rows(2), verbose=0).history
            losses.append(history["val_loss"])
        close(again, expected)
        states = [v for layer in divided.stateful_layers() for v in layer.states]
        assert all(v.value.sharding.spec[0] == "batch" for v in states)
    found = collectives(lambda: trained(TWO, epochs=1))
    assert len(found) <= 3, found
    assert not any("[6,5,16]" in shapes for shapes, _ in found), found
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.keras")
        divided.save(path)
        keras.distribution.set_distribution(None)
        close(keras.models.load_model(path).get_weights(), divided.get_weights(), 0)
    print("as on one device")


if __name__ == "__main__":
    main()
