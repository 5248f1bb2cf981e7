"""Loads a SavedModel where there is nothing but TensorFlow; prints answers as JSON. Run by test_saved_model.py."""

import json
import sys

for name in ("keras", "kerasptb", "tf_keras"):
    sys.modules[name] = None  # importing it raises

import tensorflow as tf  # noqa: E402


def main(folder, text):
    loaded = tf.saved_model.load(folder)
    k = sum(1 for _ in open(f"{folder}/assets/vocabulary.txt", encoding="utf-8")) - 1  # noqa: PTH123, SIM115
    tokens, state = loaded.encode([text])["tokens"], loaded.initial_state(1)
    for step in range(tokens.shape[1]):
        streamed = loaded.signatures["step"](tokens=tokens[:, step : step + 1], k=tf.constant(k), **state)
        state = {name: streamed[name] for name in state}
    answers = {
        "streamed": by_word(streamed),
        "whole": by_word(loaded.signatures["predict_next"](text=tf.constant([text]), k=tf.constant(k))),
        "default": by_word(loaded.signatures["serving_default"](text=tf.constant([text]), k=tf.constant(k))),
        "perplexity": float(loaded.signatures["score"](text=tf.constant([text]))["perplexity"][0]),
        "keras_modules": sorted(
            name for name in sys.modules if name.split(".")[0] in ("keras", "kerasptb", "tf_keras")
        ),
    }
    print(json.dumps(answers))


def by_word(result):
    names = (word.decode() for word in result["words"].numpy()[0])
    return dict(zip(names, result["probabilities"].numpy()[0].tolist(), strict=True))


if __name__ == "__main__":
    main(*sys.argv[1:])
