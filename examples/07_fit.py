"""Ten lines of `model.fit`: the whole training, with Keras' own methods.

The original trains like this for fifteen epochs on the Penn Treebank; two epochs show how it works. `validation_data`
does not change the state of the training: without it the training losses are the same, to the bit.

Prints, with `--data sample`, after Keras' progress bars:

    epoch   learning rate   perplexity   on the validation text
        1             1.0        419.0                    342.3
        2             1.0        275.3                    260.0
    test perplexity 252.7
"""

import argparse

import kerasptb


def train_and_test(data, epochs, steps):
    corpus = kerasptb.load_corpus(data)
    train = kerasptb.make_dataset(corpus.train, batch_size=60, num_steps=20).take(steps)
    valid = kerasptb.make_dataset(corpus.valid, batch_size=60, num_steps=20)
    test = kerasptb.make_dataset(corpus.test, batch_size=60, num_steps=20)
    model = kerasptb.LanguageModel.from_preset("notebook", tokenizer=corpus.vocabulary, seed=1)
    model.compile()  # the original's cost and its gradient descent; stock Keras losses and optimizers work too
    callbacks = [kerasptb.callbacks.ResetStates(), kerasptb.callbacks.LearningRateDecay()]
    history = model.fit(train, validation_data=valid, epochs=epochs, callbacks=callbacks).history
    result = model.evaluate(test, verbose=0, return_dict=True)
    return history, result["perplexity"]


def main(argv=None):
    parser = argparse.ArgumentParser(description="Train with model.fit.")
    parser.add_argument("--data", default="auto", help="auto, ptb, sample, a folder or an archive")
    parser.add_argument("--epochs", type=int, default=2, help="number of epochs (default: 2; the original: 15)")
    parser.add_argument("--steps", type=int, default=-1, help="only the first batches of each epoch (default: all)")
    options = parser.parse_args(argv)

    history, test_perplexity = train_and_test(options.data, options.epochs, options.steps)
    print("epoch   learning rate   perplexity   on the validation text")
    rows = zip(history["learning_rate"], history["perplexity"], history["val_perplexity"], strict=True)
    for epoch, (rate, train, valid) in enumerate(rows, start=1):
        print(f"{epoch:5}{rate:16}{train:13.1f}{valid:25.1f}")
    print(f"test perplexity {test_perplexity:.1f}")


if __name__ == "__main__":
    main()
