"""Embedding lookup: a word's id picks a row of a matrix, the word's vector.

The matrix [V, D] has a row for each word of the vocabulary. Looking rows up gives the same as multiplying one-hot
vectors with the matrix, without the V - 1 useless products for each word. Ids are ordered by decreasing count: 0 is the
most frequent word. At first the rows are random; training moves words that are used alike towards each other (see the
notebook).

Prints, with `--data sample`:

    vocabulary of V = 1,212 words; the most frequent: the <unk> <eos> a is
    text            the number of the zyzzyva
    ids             [ 0 99  5  0  1]
    read back       the number of the <unk>
    matrix          (1212, 200)
    vectors         (5, 200)
      the          [ 0.0757 -0.008   0.0201 -0.0215] ...
      number       [ 0.0505 -0.0051 -0.0053 -0.0127] ...
      of           [ 0.0166 -0.0632 -0.012  -0.079 ] ...
      the          [ 0.0757 -0.008   0.0201 -0.0215] ...
      <unk>        [ 0.0783 -0.027  -0.0078 -0.0994] ...
    rows of the matrix:           True
    one-hot vectors times matrix: True
"""

import argparse

import keras
import numpy as np

import kerasptb


def main(argv=None):
    parser = argparse.ArgumentParser(description="Look up the vectors of some words.")
    parser.add_argument("--data", default="auto", help="auto, ptb, sample, a folder or an archive")
    parser.add_argument("--text", default="the number of the zyzzyva", help="words to look up")
    options = parser.parse_args(argv)
    vocabulary = kerasptb.load_corpus(options.data, tokens="words").vocabulary

    ids = vocabulary.encode(options.text.split())
    print(f"vocabulary of V = {len(vocabulary):,} words; the most frequent: {' '.join(vocabulary.words[:5])}")
    print("text           ", options.text)
    print("ids            ", ids)
    print("read back      ", vocabulary.decode(ids))

    uniform = keras.initializers.RandomUniform(-0.1, 0.1, seed=1)
    embedding = keras.layers.Embedding(len(vocabulary), 200, embeddings_initializer=uniform)
    vectors = keras.ops.convert_to_numpy(embedding(ids))
    matrix = keras.ops.convert_to_numpy(embedding.embeddings)
    print("matrix         ", matrix.shape)
    print("vectors        ", vectors.shape)
    for word, vector in zip(vocabulary.to_words(ids), vectors, strict=True):
        print(f"  {word:12}", np.round(vector[:4], 4), "...")

    one_hot = np.eye(len(vocabulary), dtype="float32")[ids]
    print("rows of the matrix:          ", np.array_equal(vectors, matrix[ids]))
    print("one-hot vectors times matrix:", np.array_equal(vectors, one_hot @ matrix))


if __name__ == "__main__":
    main()
