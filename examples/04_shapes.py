"""The shapes at every step of the Penn Treebank model, from word ids to the cost of a batch.

A batch has B = 60 rows of T = 20 words, taken from 60 places in one long text. Before training all V words are about
equally likely, so each next word costs about ln V nats (9.21 for V = 10,000), and a row of 20 words 20 ln V: 184.2.
The cost is summed over the steps of a row and averaged over the rows, as in the original tutorial.

Prints, with `--data sample` (V = 1,212; the Penn Treebank has V = 10,000):

    batches         27 of (60, 20)
    targets         (60, 20)  the words one further on: True
    rows continue in the next batch: True
    tokens          (60, 20)
    embedding       (60, 20, 200)
    lstm_0          (60, 20, 256)
    lstm_1          (60, 20, 128)
    logits          (60, 20, 1212)
    probabilities   (60, 20, 1212)  each word's sum to 1.000
    guesses         (60, 20)  the most probable word at each place

      after          guess          truth          loss   (the first words of row 1, nothing learnt yet)
      necessary      step           <eos>          7.146
      <eos>          reverse        thus           7.142
      thus           square         the            7.032
      the            inserting      two            7.045
      two            compound       occurrences    7.097

    loss per word   (60, 20)  mean 7.099, ln V = 7.100
    first cost      142.0, 20 ln V = 142.0
    perplexity      1210, V = 1212
"""

import argparse
import math

import keras
import numpy as np

import kerasptb

BATCH_SIZE, NUM_STEPS = 60, 20


def main(argv=None):
    parser = argparse.ArgumentParser(description="Follow one batch through the model.")
    parser.add_argument("--data", default="auto", help="auto, ptb, sample, a folder or an archive")
    corpus = kerasptb.load_corpus(parser.parse_args(argv).data, tokens="words")
    vocabulary = corpus.vocabulary

    batches = kerasptb.make_dataset(corpus.train, BATCH_SIZE, NUM_STEPS)
    (tokens, targets), (later_tokens, _) = batches.take(2).as_numpy_iterator()
    print("batches        ", len(batches), "of", tokens.shape)
    print(
        "targets        ", targets.shape, " the words one further on:", np.array_equal(tokens[:, 1:], targets[:, :-1])
    )
    print("rows continue in the next batch:", np.array_equal(targets[:, -1], later_tokens[:, 0]))

    model = kerasptb.build_language_model(len(vocabulary), 200, (256, 128), BATCH_SIZE, NUM_STEPS, seed=1)
    x = keras.ops.convert_to_tensor(tokens)
    print("tokens         ", tuple(x.shape))
    for layer in model.layers[1:]:
        x = layer(x)
        print(f"{layer.name:15}", tuple(x.shape))
    probabilities = keras.ops.convert_to_numpy(keras.ops.softmax(x))
    print("probabilities  ", probabilities.shape, f" each word's sum to {probabilities.sum(-1).mean():.3f}")

    guesses = probabilities.argmax(-1)
    print("guesses        ", guesses.shape, " the most probable word at each place")
    print("\n  after          guess          truth          loss   (the first words of row 1, nothing learnt yet)")
    losses = -np.log(np.take_along_axis(probabilities, targets[:, :, np.newaxis], axis=-1)[:, :, 0])
    for t in range(5):
        words = vocabulary.to_words([tokens[1, t], guesses[1, t], targets[1, t]])
        print("  " + "".join(f"{word:15}" for word in words) + f"{losses[1, t]:.3f}")

    cost = losses.sum(axis=1).mean()
    print("\nloss per word  ", losses.shape, f" mean {losses.mean():.3f}, ln V = {math.log(len(vocabulary)):.3f}")
    print(f"first cost      {cost:.1f}, 20 ln V = {20 * math.log(len(vocabulary)):.1f}")
    print(f"perplexity      {math.exp(losses.mean()):.0f}, V = {len(vocabulary)}")


if __name__ == "__main__":
    main()
