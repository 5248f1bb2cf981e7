"""The two functions of the old tutorial's `reader.py`, with the same names and results."""

import os
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from kerasptb.data.encoding import encode_words
from kerasptb.data.sources.opening import open_source
from kerasptb.data.sources.source import Source
from kerasptb.data.streams import as_ids, as_streams, count_batches


def ptb_raw_data(data_path: str | os.PathLike) -> tuple[list[int], list[int], list[int], int]:
    """Reads the three text files of a folder as the old tutorial's reader did.

    Args:
        data_path: folder with `ptb.train.txt`, `ptb.valid.txt` and `ptb.test.txt`.

    Returns:
        The training, validation and test ids, and the number of words V of the vocabulary. A word that is not in the
        training file becomes `<unk>`; PTB has no such word.

    Raises:
        DataError, FileNotFoundError: as `load_corpus`.
    """
    ids, vocabulary, _ = encode_words(open_source(Source(data_path)).files)
    return ids["train"].tolist(), ids["valid"].tolist(), ids["test"].tolist(), len(vocabulary)


def ptb_iterator(raw_data: npt.ArrayLike, batch_size: int, num_steps: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yields the contiguous batches of a text as the old tutorial's reader did.

    Args:
        raw_data: integers [N], the words of the text.
        batch_size: B, the streams read in parallel.
        num_steps: T, the words of a stream in one batch.

    Yields:
        Pairs (x, y), each int32 [B, T]; `y` is `x` shifted by one word. Row i of a pair continues row i of the
        previous pair.

    Raises:
        DataError: at the first batch, if the text is too short for one. It is a `ValueError`, as in the old reader.
    """
    # The ids are copied, as in the old reader, so that changing a batch does not change the text.
    ids = as_ids(raw_data).copy()
    num_batches = count_batches(len(ids), batch_size, num_steps)
    streams = as_streams(ids, batch_size)
    for start in range(0, num_batches * num_steps, num_steps):
        yield streams[:, start : start + num_steps], streams[:, start + 1 : start + num_steps + 1]
