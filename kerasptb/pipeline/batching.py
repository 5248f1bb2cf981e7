"""A long text as contiguous batches.

The text is cut into B streams of equal length, one for each row. A batch is T columns of the streams, and the next
batch is the next T columns. With B = 3, T = 2 and a text of 16 words, numbered 0 to 15:

    batch_len = 16 // 3 = 5 words a stream; word 15 is dropped
    S = (5 - 1) // 2 = 2 batches

                 batch 0     batch 1
    stream 0    | 0   1  |  2   3  |  4
    stream 1    | 5   6  |  7   8  |  9      y is x shifted by one word:
    stream 2    | 10  11 |  12  13 |  14     in batch 1 it is 3 4 / 8 9 / 13 14

Row i of batch 1 continues where row i of batch 0 stopped, so an LSTM that keeps its state from batch to batch reads
each stream as one text. Shuffling the batches, or padding them, would break that.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from kerasptb.data.errors import DataError
from kerasptb.data.streams import as_ids, as_streams, check_sizes, count_batches
from kerasptb.pipeline.passes import Parts, Passes, jittered_lengths

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

# Batches that one call of Python cuts from a text: one call for each would take five times as long.
_CUT_TOGETHER = 16


def make_dataset(
    ids: npt.ArrayLike,
    batch_size: int,
    num_steps: int,
    *,
    every_word: bool = False,
    jitter: bool = False,
    parts: int = 1,
    seed: int = 0,
    epoch: int = 0,
) -> tf.data.Dataset | keras.utils.PyDataset:
    """Returns the contiguous batches of a text as a `tf.data.Dataset`, in order, of known cardinality.

    The module's docstring draws how the rows continue from batch to batch.

    Args:
        ids: integers [N], the words of the text.
        batch_size: B, the streams read in parallel.
        num_steps: T, the words of a stream in one batch.
        every_word: if True, a last batch of fewer than T steps may follow, so that each of the N - 1 words with a
            predecessor is a target once. The strict perplexity of a test set needs this. It requires
            `batch_size=1` (with more streams the first word of a stream is never predicted). If such a batch
            follows, the static shape is [1, None].
        jitter: if True, the batches have lengths around `num_steps`, in an order that is drawn anew for each pass over
            the dataset; see `kerasptb/pipeline/passes.py`. The static shape is [B, None]. To have XLA compile a step
            for each of these lengths, a dozen, say so: `model.compile(jit_compile=True)`.
        parts: number of parts of the text, of equally many batches; each pass over the dataset reads the next one.
            What they leave over, fewer batches than there are parts, is at the end of the text or, in every other
            reading, at its beginning.
        seed: of the orders.
        epoch: number of the first pass, for a training that goes on.

    Returns:
        A dataset of pairs (x, y), each int32 [B, T] of static shape; `y` is `x` shifted by one word. With Keras on
        another backend than TensorFlow it is a `keras.utils.PyDataset` of numpy arrays, and TensorFlow is not needed.
        `tf.data` does not autotune datasets derived from it: a parallel `map` of your own runs on up to 16 threads.

    Raises:
        DataError: the text is too short for one batch, `ids` is not one row of integers, or a size is not a
            positive integer.

    Example:
        >>> dataset = make_dataset(range(16), batch_size=3, num_steps=2)
        >>> [x.tolist() for x, y in dataset.as_numpy_iterator()]
        [[[0, 1], [5, 6], [10, 11]], [[2, 3], [7, 8], [12, 13]]]
    """
    # Imported here because Keras and TensorFlow take seconds to import; reading a corpus takes milliseconds.
    import keras  # noqa: PLC0415

    if every_word and batch_size != 1:
        raise DataError(f"Expected batch_size=1 with every_word=True. Received: batch_size={batch_size!r}")
    if every_word + jitter + (parts != 1) > 1:
        raise DataError(
            "Expected one of every_word, jitter and several parts. Received: "
            f"every_word={every_word}, jitter={jitter}, parts={parts}"
        )
    ids = as_ids(ids)
    # With `every_word` two words are enough: the last batch, below, takes the steps that fill no full batch.
    num_batches = count_batches(len(ids), batch_size, 1 if every_word else num_steps)
    if every_word:
        check_sizes(num_steps=num_steps)
        num_batches = (len(ids) - 1) // num_steps
    streams = as_streams(ids, batch_size)
    check_sizes(parts=parts)
    if parts > max(num_batches, 1):
        raise DataError(f"Expected at most as many parts as batches, {num_batches}. Received: parts={parts}")
    passes: Passes | Parts = Parts(num_batches, num_steps, parts, epoch)
    if jitter:
        passes = Passes(streams, jittered_lengths(streams.shape[1], num_steps), seed, epoch)
    full = num_batches * num_steps
    has_rest = every_word and full < streams.shape[1] - 1
    if keras.backend.backend() != "tensorflow":
        from kerasptb.pipeline.numpy_batches import NumpyBatches  # noqa: PLC0415

        return NumpyBatches(streams, passes, has_rest)
    import tensorflow as tf  # noqa: PLC0415

    # The batches stay in the host's memory even if there is an accelerator.
    with tf.device("CPU:0"):
        if jitter:
            spec = tf.TensorSpec((batch_size, None), tf.int32)
            dataset = tf.data.Dataset.from_generator(passes, output_signature=(spec, spec))
        else:
            dataset = _of_equal_length(streams, passes, num_steps)
        dataset = dataset.apply(tf.data.experimental.assert_cardinality(len(passes)))
        if has_rest:
            rest = (streams[np.newaxis, :, full:-1], streams[np.newaxis, :, full + 1 :])
            dataset = dataset.concatenate(tf.data.Dataset.from_tensor_slices(rest))
    # Slices of an array have nothing to tune, and the tuning thread can delay the end of an epoch: `fit` then waits
    # until that thread next wakes up (0.01 (2^k - 1) s after its start). Measured with TensorFlow 2.21: 10.2 s for an
    # epoch of 8.1 s.
    # Nor is anything prefetched: handing a slice over from another thread takes longer than slicing.
    options = tf.data.Options()
    options.autotune.enabled = False
    return dataset.with_options(options)


def _of_equal_length(streams: np.ndarray, passes: Passes | Parts, num_steps: int) -> tf.data.Dataset:
    import tensorflow as tf  # noqa: PLC0415

    batch_size = len(streams)
    if streams.flags.writeable:  # a text that is mapped from a file is read-only, and stays there
        streams = streams.copy()

    def cut(start: int, end: int) -> tuple[np.ndarray, np.ndarray]:
        """Returns the inputs and targets of the batches of some steps, each [up to 16, B, T]."""
        shape = batch_size, -1, num_steps
        x, y = (np.ascontiguousarray(streams[:, start + i : end + i].reshape(shape).transpose(1, 0, 2)) for i in (0, 1))
        return x, y

    def batches(start: Any, end: Any) -> tuple[Any, ...]:
        found = tf.numpy_function(cut, [start, end], [tf.int32, tf.int32], stateful=False)
        return tuple(tf.ensure_shape(each, (None, batch_size, num_steps)) for each in found)

    def next_part() -> Iterator[tuple[int, int]]:
        bounds = passes.next_bounds()
        for i in range(0, len(passes), _CUT_TOGETHER):
            yield bounds[i], bounds[min(i + _CUT_TOGETHER, len(passes))]

    bound = tf.TensorSpec((), tf.int64)
    return tf.data.Dataset.from_generator(next_part, output_signature=(bound, bound)).map(batches).unbatch()
