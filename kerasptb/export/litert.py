"""A trained run as a LiteRT (TensorFlow Lite) file for phones and other small machines."""

import os
import tempfile
from pathlib import Path

import tensorflow as tf

from kerasptb.data import Vocabulary
from kerasptb.export.destination import atomic_file
from kerasptb.export.source import resolve
from kerasptb.models import LanguageModel
from kerasptb.models.portable import PortableNetwork, check_backend
from kerasptb.runs import Run


def export_litert(
    run_or_model: Run | str | os.PathLike[str] | LanguageModel,
    path: str | os.PathLike[str],
    vocabulary: Vocabulary | None = None,
    quantize: bool = False,
) -> Path:
    """Writes a trained model as a LiteRT file that reads one word per call.

    The file has one signature, "step". Its inputs are `tokens`, int32 [1, 1], the id of a word, and the state `h0`,
    `c0`, `h1`, `c1`, ..., float32 [1, H], zeros before the first word. Its outputs are `probabilities`, float32 [1, V],
    of the next word, and the state for the next call. It uses LiteRT's built-in operations only, so no others need to
    be linked. The words are in a file beside it, one per line in the order of the ids: `model.vocabulary.txt` for
    `model.tflite`. A sentence begins with `<eos>`.

    Args:
        run_or_model: a `Run`, the path of its folder, or a `LanguageModel`.
        path: the file to write; it must not exist, and its name must end in `.tflite`.
        vocabulary: the `Vocabulary` of a model; a run has its own.
        quantize: whether to store the weights in 8 bits, a quarter of the size, with one scale for each output of a
            matrix, and one for all embeddings. Biases, state and sums stay float32.

    Returns:
        The file, a `Path`.

    Raises:
        ExportError: if the file exists or has another suffix, the vocabulary is missing or of another size, or Keras
            runs on another backend than TensorFlow.
        RunError: if the run has no weights yet.
        OSError: if the file cannot be written.
    """
    check_backend("A LiteRT file")
    model, vocabulary = resolve(run_or_model, vocabulary)
    with atomic_file(path, ".tflite", vocabulary) as temporary:
        temporary.write_bytes(_convert(PortableNetwork(model), quantize))
    return Path(path)


def _convert(network, quantize):
    """Returns the bytes of the file."""
    module = tf.Module()
    module.weights = [variable.value for variable in network.weights]

    def step(tokens, *state):
        hidden, state = network.encode_word(tokens[:, 0], dict(zip(network.state_sizes, state, strict=True)))
        return {"probabilities": tf.nn.softmax(network.logits(hidden)), **state}

    signature = tf.function(
        step,
        input_signature=[
            tf.TensorSpec([1, 1], tf.int32, name="tokens"),
            *(tf.TensorSpec([1, size], name=name) for name, size in network.state_sizes.items()),
        ],
    )
    # The converter keeps the signature's name only if it converts a SavedModel.
    with tempfile.TemporaryDirectory() as folder:
        tf.saved_model.save(module, folder, signatures={"step": signature})
        converter = tf.lite.TFLiteConverter.from_saved_model(folder, signature_keys=["step"])
        if quantize:
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
        return converter.convert()
