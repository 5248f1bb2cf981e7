"""Where plain Keras quietly trains something else: the same first weights and data, `keras.layers.LSTM(stateful=True)`.

1. Keras' loss is the mean over the steps. The original's cost is their sum, here 20 times as large. Learning rate 1 and
   clipping at 5 are meant for the sum; with the mean, training is far slower. `losses.SequenceCrossEntropy` is the sum,
   and the default of a `LanguageModel`.
2. The state leaks. A stateful layer has one state, which passes from training to validation, from validation to the
   next epoch, and from one `evaluate` to the next. So the same weights on the same words score differently, and
   evaluation disturbs the training. `callbacks.ResetStates` prevents that for any Keras model. A `LanguageModel` has a
   second state for evaluation.
3. `fit` shuffles NumPy arrays unless told not to, and then rows do not continue from batch to batch. The datasets of
   `make_dataset` keep their order.

At this learning rate training amplifies rounding errors, so the two models that train alike end some percent apart.

Prints, with `--data sample`:

    validation perplexity after epoch          1       2       3
      plain Keras                          269.2   246.8   241.8
      plain Keras, both mended             201.9   150.2   130.3
      LanguageModel                        210.8   173.1   131.8

    the same 400 words, evaluated           once   again   training state moved by
      plain Keras                          116.4   116.9            1.40
      plain Keras, ResetStates             101.8   101.8            0.00
      LanguageModel                        118.5   118.5            0.00
"""

import argparse

import keras
import numpy as np

import kerasptb

BATCH_SIZE, NUM_STEPS, EMBEDDING_SIZE, UNITS = 20, 20, 64, 64


def plain_keras(loss, weights):
    model = keras.Sequential(
        [
            keras.Input(batch_shape=(BATCH_SIZE, None), dtype="int32"),
            keras.layers.Embedding(len(weights[0]), EMBEDDING_SIZE),
            keras.layers.LSTM(UNITS, stateful=True, return_sequences=True),
            keras.layers.Dense(len(weights[0])),
        ]
    )
    optimizer = keras.optimizers.SGD(1.0, global_clipnorm=5.0)  # not `clipnorm`, which clips each variable by itself
    model.compile(optimizer, loss, metrics=[kerasptb.metrics.Perplexity()])
    model.set_weights(weights)
    return model


def training_state(model):
    layer = next(layer for layer in model.layers if isinstance(layer, keras.layers.LSTM))
    return keras.ops.convert_to_numpy(layer.states[0])


def main(argv=None):
    parser = argparse.ArgumentParser(description="Show what goes wrong in plain Keras.")
    parser.add_argument("--data", default="auto", help="auto, ptb, sample, a folder or an archive")
    parser.add_argument("--epochs", type=int, default=3)
    options = parser.parse_args(argv)
    corpus = kerasptb.load_corpus(options.data)
    # Only the first batches are used, so that the script is quick on any text.
    batches = kerasptb.make_dataset(corpus.train, BATCH_SIZE, NUM_STEPS).take(60)
    valid = kerasptb.make_dataset(corpus.valid, BATCH_SIZE, NUM_STEPS).take(10)

    ours = kerasptb.build_language_model(len(corpus.vocabulary), EMBEDDING_SIZE, UNITS, BATCH_SIZE, NUM_STEPS, seed=1)
    ours.compile()
    plain = plain_keras(keras.losses.SparseCategoricalCrossentropy(from_logits=True), ours.get_weights())
    mended = plain_keras(kerasptb.losses.SequenceCrossEntropy(), ours.get_weights())
    reset = [kerasptb.callbacks.ResetStates()]

    print(f"{'validation perplexity after epoch':36}" + "".join(f"{e:8}" for e in range(1, options.epochs + 1)))
    rows = [
        ("plain Keras", plain, []),
        ("plain Keras, both mended", mended, reset),
        ("LanguageModel", ours, reset),
    ]
    for name, model, callbacks in rows:
        arguments = {"epochs": options.epochs, "callbacks": callbacks, "shuffle": False, "verbose": 0}
        history = model.fit(batches, validation_data=valid, **arguments).history
        print(f"  {name:34}" + "".join(f"{perplexity:8.1f}" for perplexity in history["val_perplexity"]))

    print(f"\n{'the same 400 words, evaluated':36}{'once':>8}{'again':>8}   training state moved by")
    rows = [("plain Keras", mended, []), ("plain Keras, ResetStates", mended, reset), ("LanguageModel", ours, [])]
    for name, model, callbacks in rows:
        model.fit(batches.take(1), shuffle=False, verbose=0)
        before = training_state(model)
        perplexities = []
        for _ in range(2):
            logs = model.evaluate(valid.take(1), verbose=0, return_dict=True, callbacks=callbacks)
            perplexities.append(logs["perplexity"])
        moved = np.abs(training_state(model) - before).max()
        print(f"  {name:34}" + "".join(f"{perplexity:8.1f}" for perplexity in perplexities) + f"{moved:16.2f}")


if __name__ == "__main__":
    main()
