"""One epoch of training, with the perplexity and the words per second at each tenth of it.

Perplexity is exp of the mean cost of a word: the model is as unsure as among that number of equally likely words. It
begins near V. Each line shows the perplexity over all words of the epoch so far, as in the original.

Prints, with `--data sample` (the speed differs between machines):

    27 batches of 60 x 20 words, V = 1212
     11%   perplexity   819.14      5,449 words/s
     22%   perplexity   837.85      5,641 words/s
     33%   perplexity   706.95      5,231 words/s
     41%   perplexity   633.57      5,240 words/s
     52%   perplexity   556.87      6,056 words/s
     63%   perplexity   514.69      6,411 words/s
     70%   perplexity   494.20      6,908 words/s
     81%   perplexity   457.97      7,504 words/s
     93%   perplexity   432.70      8,110 words/s
    100%   perplexity   419.02      8,476 words/s
    cost 120.8, perplexity 419.02 over the epoch
    perplexity 342.32 on the validation text
"""

import argparse

import keras

import kerasptb


class PrintTenths(keras.callbacks.Callback):
    """Prints the running perplexity and speed ten times an epoch."""

    def on_train_batch_end(self, batch, logs=None):
        """Prints a line whenever another tenth of the epoch's steps is done."""
        done, steps = batch + 1, self.params["steps"]
        if done * 10 // steps > batch * 10 // steps:
            print(
                f"{done / steps:4.0%}   perplexity {logs['perplexity']:8.2f}   {logs['words_per_second']:8,.0f} words/s"
            )


def main(argv=None):
    parser = argparse.ArgumentParser(description="Train for one epoch.")
    parser.add_argument("--data", default="auto", help="auto, ptb, sample, a folder or an archive")
    parser.add_argument("--steps", type=int, default=-1, help="only the first batches of the epoch (default: all)")
    options = parser.parse_args(argv)
    corpus = kerasptb.load_corpus(options.data)

    batches = kerasptb.make_dataset(corpus.train, batch_size=60, num_steps=20).take(options.steps)
    model = kerasptb.build_language_model(len(corpus.vocabulary), seed=1)
    model.compile()  # no arguments: the original's cost, clipping and learning rate 1
    print(f"{len(batches)} batches of 60 x 20 words, V = {len(corpus.vocabulary)}")

    # WordsPerSecond puts the speed into the logs that PrintTenths reads, so it comes first.
    history = model.fit(batches, verbose=0, callbacks=[kerasptb.callbacks.WordsPerSecond(), PrintTenths()]).history
    print(f"cost {history['loss'][0]:.1f}, perplexity {history['perplexity'][0]:.2f} over the epoch")

    valid = kerasptb.evaluate_perplexity(model, corpus.valid, batch_size=60)
    print(f"perplexity {valid:.2f} on the validation text")


if __name__ == "__main__":
    main()
