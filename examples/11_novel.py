"""A novel as it is, in a script: read, trained with `fit`, saved as one .keras file, which suggests the next word.

The file holds the model, its tokenizer and how lines are read, so whoever loads it needs nothing else. Without `--data`
the text is the prose of Python's own manual. `kerasptb train --data novel.txt` does more: it begins with the model of
English, fits the epochs into some minutes, and keeps checkpoints.

Prints, for one epoch of the manual:

    Read: 40,367 subwords for training, 2,000 different ones
    Test text: perplexity of a word 344.51, 1.560 bits a byte
    It is: the 0.07, < 0.05, a 0.03
"""

import argparse
import tempfile
from pathlib import Path

import keras

import kerasptb
from kerasptb.data.sizes import describe
from kerasptb.presets import get_preset


def main(argv=None):
    parser = argparse.ArgumentParser(description="Train on a novel, in a script.")
    parser.add_argument("--data", default="sample", help="any text (default: sample, the prose of Python's manual)")
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--text", default="It is", help="what to go on from")
    parser.add_argument("--out", help="the .keras file to keep (default: a temporary one)")
    options = parser.parse_args(argv)

    # Subwords are made of the training text; a text without `<unk>` is read so anyway.
    corpus = kerasptb.load_corpus(options.data, tokens="subwords")
    print(f"Read: {len(corpus.train):,} subwords for training, {len(corpus.vocabulary):,} different ones")

    model = kerasptb.LanguageModel.from_preset("small", tokenizer=corpus.text_format, batch_size=8, seed=1)
    train = kerasptb.make_dataset(corpus.train, model.batch_size, model.num_steps)
    valid = kerasptb.make_dataset(corpus.valid, model.batch_size, model.num_steps)
    optimizer, callbacks = get_preset("small").training(len(train), options.epochs)
    model.compile(optimizer)
    callbacks = [kerasptb.callbacks.ResetStates(), *callbacks]
    model.fit(train, validation_data=valid, epochs=options.epochs, callbacks=callbacks, verbose=0)

    with tempfile.TemporaryDirectory() as temporary:
        path = options.out or Path(temporary, "novel.keras")
        model.save(path)
        loaded = keras.models.load_model(path)  # in any process that has imported kerasptb
    strict = kerasptb.evaluate_perplexity(loaded, corpus.test)
    print(f"Test text: {describe(corpus.count('test'), strict)}")
    suggestions = kerasptb.suggest(loaded, options.text, k=3)
    print(f"{options.text}: {', '.join(f'{each.word} {each.probability:.2f}' for each in suggestions)}")


if __name__ == "__main__":
    main()
