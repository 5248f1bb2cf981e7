"""Where each pass over a text cuts it into batches: of equal length, or of varying length from pass to pass.

Merity et al., 2017, "Regularizing and Optimizing LSTM Language Models", section 4.1: with batches of always T steps
some words would never be the first of a batch, and gradients never flow over a cut. There the length is drawn for each
batch, around T or, one time in twenty, around T / 2. Here a pass has a fixed set of such lengths, in an order drawn
anew, so that their number is known and few programs are compiled. Their sum is less than a stream, so every second pass
begins later and ends with the stream: no word is left out of two passes that follow each other.
"""

import itertools
import statistics
from collections.abc import Iterator

import numpy as np


def jittered_lengths(stream_length: int, num_steps: int) -> np.ndarray:
    """Returns the lengths of a pass over streams, rising: quantiles of normal distributions, in few distinct values.

    They lie around T, with the standard deviation `T / 14` (the paper's 5 for 70), int [S]. Their sum is at most
    `stream_length - 1`; there are none if that is less than T.
    """
    unit = max(round(num_steps / 14), 1)
    count = round((stream_length - 1) / (0.975 * num_steps)) + 1
    while count > 0:
        halves = round(count / 20)
        lengths = np.concatenate(
            [_quantiles(num_steps // 2, halves, unit), _quantiles(num_steps, count - halves, unit)]
        )
        if lengths.sum() < stream_length:
            return np.sort(lengths)
        count -= 1
    return np.zeros(0, "int64")


def _quantiles(mean: int, count: int, unit: int) -> np.ndarray:
    """Returns `count` quantiles of a normal distribution of the deviation `unit`, rounded to multiples of it."""
    normal = statistics.NormalDist()
    deviations = [round(normal.inv_cdf((i + 0.5) / count)) for i in range(count)]
    return np.maximum(np.array(deviations, "int64") * unit + mean, 1)


class Passes:
    """Batches of the same lengths, int [S], in another order at each pass, from number `epoch` on, over the streams."""

    def __init__(self, streams: np.ndarray, lengths: np.ndarray, seed: int, epoch: int) -> None:
        self._streams, self._lengths, self._seed, self._epoch = streams, lengths, seed, epoch

    def __len__(self) -> int:
        return len(self._lengths)

    def __call__(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yields the batches of the next pass: pairs (x, y), each int32 [B, T]."""
        for start, end in itertools.pairwise(self.next_bounds()):
            yield self._streams[:, start:end], self._streams[:, start + 1 : end + 1]

    def next_bounds(self) -> list[int]:
        """Returns where the next pass begins, and where each of its S batches ends."""
        order = np.random.default_rng((self._seed, self._epoch)).permutation(len(self._lengths))
        rest = self._streams.shape[1] - 1 - int(self._lengths.sum())
        first = rest if self._epoch % 2 else 0
        self._epoch += 1
        return np.cumsum([first, *self._lengths[order]]).tolist()


class Parts:
    """Batches of equal length, of which each pass, from number `epoch` on, reads the next of some parts."""

    def __init__(self, num_batches: int, num_steps: int, parts: int, epoch: int) -> None:
        self._num_batches, self._num_steps, self._parts, self._epoch = num_batches, num_steps, parts, epoch

    def __len__(self) -> int:
        return self._num_batches // self._parts

    def next_bounds(self) -> list[int]:
        """Returns where the next pass begins in a stream, and where each of its S // parts batches ends."""
        size, rest = divmod(self._num_batches, self._parts)
        reading, part = divmod(self._epoch, self._parts)
        self._epoch += 1
        first = part * size + (rest if reading % 2 else 0)
        return [i * self._num_steps for i in range(first, first + size + 1)]
