"""A trained run as a LiteRT (TensorFlow Lite) file for phones and other small machines."""

import functools
import tempfile
from pathlib import Path

import tensorflow as tf

from kerasptb.engine.quantized import quantize_rows
from kerasptb.export.destination import atomic_file
from kerasptb.export.source import RunOrModel, open_source
from kerasptb.models.portable import PortableNetwork, check_backend
from kerasptb.utils.types import StrPath, Tensor


def export_litert(run_or_model: RunOrModel, path: StrPath, quantize: bool = False) -> Path:
    """Writes a trained model as a LiteRT file that reads one token per call in each row.

    The file has one signature, "step". Its inputs are `tokens`, int32 [B, 1], an id in each row, and the state `h0`,
    `c0`, `h1`, `c1`, ..., float32 [B, H], zeros before the first token. Its outputs are `probabilities`, float32
    [B, V], of the next token, and the state for the next call. B is 1 unless the inputs are resized, which Python's
    signature runner does by itself. Only LiteRT's built-in operations are used, so no others need to be linked.

    The tokenizer is in a file beside `model.tflite`: of words `model.vocabulary.txt`, one per line in the order of the
    ids; else `model.tokenizer.json`, for Hugging Face's library. A text begins with `<eos>`, or with the token of the
    line end.

    Args:
        run_or_model: a `Run`, the path of its folder, or a `LanguageModel`.
        path: the file to write; it must not exist, and its name must end in `.tflite` or `.litert`.
        quantize: whether to store the weights in 8 bits, a quarter of the size, with one scale for each output of a
            matrix, and one for all embeddings. Tied embeddings are stored once, with a scale for each token. Biases,
            state and sums stay float32.

    Returns:
        The file, a `Path`.

    Raises:
        ExportError: if the file exists or has another suffix, a model does not know its tokenizer, or Keras
            runs on another backend than TensorFlow.
        RunError: if the run has no weights yet.
        OSError: if the file cannot be written.
    """
    check_backend("A LiteRT file")
    source = open_source(run_or_model)
    with atomic_file(path, ".tflite", ".litert", vocabulary=source.tokenizer) as temporary:
        temporary.write_bytes(_convert(PortableNetwork(source.network), quantize))
    return Path(path)


def _convert(network: PortableNetwork, quantize: bool) -> bytes:
    """Returns the bytes of the file."""
    module = tf.Module()
    module.weights = [variable.value for variable in network.weights]
    vectors, logits = functools.partial(tf.gather, network.embeddings.value), network.logits
    if quantize and network.tied:
        rows = _Rows(network)
        vectors, logits = rows.vectors, rows.logits

    def step(tokens: Tensor, *states: Tensor) -> dict[str, Tensor]:
        state = dict(zip(network.state_sizes, states, strict=True))
        hidden, state = network.encode_vector(vectors(tokens[:, 0]), state)
        return {"probabilities": tf.nn.softmax(logits(hidden)), **state}

    signature = tf.function(
        step,
        input_signature=[
            tf.TensorSpec([None, 1], tf.int32, name="tokens"),
            *(tf.TensorSpec([None, size], name=name) for name, size in network.state_sizes.items()),
        ],
    )
    # The converter keeps the signature's name only if it converts a SavedModel.
    with tempfile.TemporaryDirectory() as folder:
        tf.saved_model.save(module, folder, signatures={"step": signature})
        converter = tf.lite.TFLiteConverter.from_saved_model(folder, signature_keys=["step"])
        if quantize:
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
        return converter.convert()


class _Rows:
    """The matrix of tied embeddings in 8 bits, with a scale for each row, which the converter stores once.

    Left to itself it would store two matrices, because it gives a table one scale, and the outputs of a product each.
    """

    def __init__(self, network: PortableNetwork) -> None:
        self._integers, scales = quantize_rows(network.embeddings.numpy())
        self._scales = scales[:, 0]
        self._bias = network.dense[-1].bias

    def vectors(self, tokens: Tensor) -> Tensor:
        """Returns the vectors of words; the converter keeps these scales, a vector, in 8 bits of their own."""
        scales = tf.gather(tf.constant(self._scales), tokens)
        return tf.cast(tf.gather(tf.constant(self._integers), tokens), tf.float32) * tf.expand_dims(scales, 1)

    def logits(self, hidden: Tensor) -> Tensor:
        """Returns the logits."""
        # The converter moves the scales into the matrix and quantizes that. In each row the largest integer is 127, so
        # it finds the same integers again.
        product = tf.matmul(hidden, tf.constant(self._integers.astype("float32")), transpose_b=True)
        return product * self._scales + self._bias
