"""A trained run as a SavedModel that any TensorFlow server runs on any CPU."""

import tempfile
from pathlib import Path

import tensorflow as tf

from kerasptb.conversion.servable import Servable
from kerasptb.export.destination import atomic_folder
from kerasptb.export.source import RunOrModel, open_source
from kerasptb.models.portable import PortableNetwork, check_backend, check_path
from kerasptb.utils.types import StrPath


def export_saved_model(run_or_model: RunOrModel, folder: StrPath) -> Path:
    """Writes a trained model as a SavedModel that reads raw text and needs nothing but TensorFlow.

    It keeps no state: batch and length may vary, and any number of clients may call it at once. Whatever the training
    used, the graph has only plain float32 operations, which run on any CPU or GPU. The SavedModel contains the
    tokenizer, as the readable file `assets/vocabulary.txt` or `assets/tokenizer.json`. The signatures of a model of
    words, with B texts in a request:

    - `predict_next(text: string [B], k: int32 [] = 5)`, also the `serving_default`: `words` string [B, k] and
      `probabilities` float32 [B, k] of the likeliest words after each text, the likeliest first. `<unk>` is never
      among them; the probabilities are not scaled up for it. Apart from padding, rows do not affect one another.
    - `encode(text: string [B])`: `tokens` int32 [B, T], the word ids of each text as the other signatures read it,
      `<eos>` first, padded with zeros; `lengths` int32 [B], the number of ids of each text.
    - `initial_state(batch: int32 [])`: `h0`, `c0`, `h1`, `c1`, ..., float32 [batch, H], the state before any word.
    - `step(tokens: int32 [B, T], k: int32 [], h0, c0, ...)`: `words` and `probabilities` as above after these words,
      and the state `h0`, `c0`, ... to pass to the next call by these names. A text can so be read one word per call.
    - `score(text: string [B])`: `words` string [B, T] as they were read; `log_probabilities` float32 [B, T], natural
      logarithms; `num_words` int32 [B], after which the rows hold "" and 0; `perplexity` float32 [B].
    - `generate(prompt: string [B], num_words: int32 [], temperature: float32 [], seed: int32 [])`: `words` string
      [B, num_words] drawn one after another; the same seed gives the same words, temperature 0 the likeliest.

    A text is read as `kerasptb.suggest` reads it: with `<eos>` before it and at each line's end. Words are taken as
    they are written if the vocabulary holds them so, else split and lower-cased as in the Penn Treebank; unknown ones
    are `<unk>`. An argument out of range, such as `k`, raises an `InvalidArgumentError` (400 over HTTP).

    A model of subwords or characters takes and gives ids: instead of `text` there are `tokens`, int32 [B, T], and the
    `prompt` is of ids too. Each row begins with the id of the end of a paragraph; shorter rows end in -1, also those of
    `encode`. Instead of `words` there are `tokens`, int32, and `num_tokens` instead of `num_words`. There is one more
    signature, `decode(tokens: int32 [B, T])`: `text` string [B]. Where the rules of a tokenizer.json are others than
    those of `Subwords.train`, there is neither `encode` nor `decode`, and Hugging Face's library reads the text.

    Args:
        run_or_model: a `Run`, the path of its folder, or a `LanguageModel`.
        folder: the folder to write; new or empty. TensorFlow Serving wants it to be named with a version number, such
            as `models/ptb/1`. It is written under a temporary name and renamed.

    Returns:
        The folder, a `Path`.

    Raises:
        ExportError: if the folder holds anything, a model does not know its tokenizer, or Keras runs on a
            backend other than TensorFlow.
        RunError: if the run has no weights yet.
        OSError: if the folder cannot be written.

    Example:
    >>> kerasptb.export_saved_model("runs/ptb", "models/ptb/1")  # doctest: +SKIP
    >>> loaded = tf.saved_model.load("models/ptb/1")  # doctest: +SKIP
    >>> loaded.predict_next(["the company said"], 3)["words"]  # doctest: +SKIP
    """
    check_backend("A SavedModel")
    check_path(folder)
    with atomic_folder(folder) as temporary:
        source = open_source(run_or_model)
        with tempfile.TemporaryDirectory() as assets:
            servable = Servable(PortableNetwork(source.network), source.text_format, Path(assets))
            tf.saved_model.save(servable, str(temporary), signatures=servable.signatures)
    return Path(folder)
