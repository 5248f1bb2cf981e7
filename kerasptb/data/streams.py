"""Ids of a text as a row, and as the streams of which batches are cut; `kerasptb.pipeline.batching` draws them."""

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from kerasptb.data.errors import DataError


def count_batches(num_words: int, batch_size: int, num_steps: int) -> int:
    """Returns the number of batches of a text, `(N // B - 1) // T`; raises DataError if there is none."""
    check_sizes(batch_size=batch_size, num_steps=num_steps)
    num_batches = (num_words // batch_size - 1) // num_steps
    if num_batches < 1:
        raise DataError(
            f"The text is too short for one batch: it has {num_words:,} words, and batch_size={batch_size} with "
            f"num_steps={num_steps} needs batch_size * (num_steps + 1) = {batch_size * (num_steps + 1):,}. "
            "Decrease batch_size or num_steps, or use a longer text."
        )
    return num_batches


def check_sizes(**sizes: int) -> None:
    """Raises a DataError unless sizes, by their names, are positive integers."""
    for name, value in sizes.items():
        if not isinstance(value, int | np.integer) or isinstance(value, bool) or value < 1:
            raise DataError(f"Expected {name} to be a positive integer. Received: {name}={value!r}")


def as_ids(ids: npt.ArrayLike | Iterable[int]) -> np.ndarray:
    """Returns ids as int32 [N], without a copy where that is possible; raises DataError for what is no row of ids."""
    array = np.asarray(ids)
    if array.ndim != 1 or (array.size and array.dtype.kind not in "iu"):
        raise DataError(f"Expected ids to be one row of integers. Received: shape={array.shape}, dtype={array.dtype}")
    as_int32 = array.astype(np.int32, copy=False)
    if as_int32 is not array and (as_int32 != array).any():
        raise DataError(f"Expected ids within int32. Received: {array[as_int32 != array][0]}")
    return as_int32


def as_streams(ids: np.ndarray, batch_size: int) -> np.ndarray:
    """Returns a text [N] as its B streams, a view [B, N // B], the remainder dropped."""
    stream_length = len(ids) // batch_size
    return ids[: batch_size * stream_length].reshape(batch_size, stream_length)


def checked_text(vocabulary_size: int, ids: npt.ArrayLike) -> np.ndarray:
    """Returns a text as int32 [N]; raises a DataError for fewer than two words, a ValueError for one out of range."""
    ids = as_ids(ids)  # raises for what is not one row of integers
    if len(ids) < 2:
        raise DataError(f"Expected a text of at least two words: the first is not predicted. Received: {len(ids)}")
    wrong = ids[(ids < 0) | (ids >= vocabulary_size)]
    if wrong.size:
        raise ValueError(
            f"Expected a text of word ids in [0, {vocabulary_size}), the model's vocabulary. Received: {wrong[0]}"
        )
    return ids
