"""Perplexity of a text."""

import dataclasses
import math
from typing import Any, Self

import numpy as np

from kerasptb.arguments import Arguments
from kerasptb.data.sizes import TextSizes
from kerasptb.data.streams import as_streams, check_sizes, checked_text, count_batches
from kerasptb.engine import open_network
from kerasptb.evaluation.reading import ROW
from kerasptb.utils.status_line import tracked
from kerasptb.utils.types import Ids

_LARGEST = 709.0  # whose exponential a float64 holds


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """The perplexity of a text, and how it was measured.

    Attributes:
        perplexity: exp of the mean cross-entropy.
        num_words: number of words predicted, without those that the metric ignores.
        batch_size: number of streams that the text was read as.
        num_steps: words of a stream in one batch.
    """

    perplexity: float
    num_words: int
    batch_size: int
    num_steps: int


@dataclasses.dataclass(frozen=True)
class AdaptedEvaluation(Evaluation):
    """An `Evaluation` of a model that adapted to the text.

    Attributes:
        settings: the `DynamicSettings` or the `CacheSettings`.
        log_probabilities: float64 [N - 1], natural logarithms, of all words but the first.
    """

    settings: Arguments
    log_probabilities: np.ndarray = dataclasses.field(repr=False, compare=False)


@dataclasses.dataclass(frozen=True)
class TextEvaluation:
    """How good a model is on a text."""

    perplexity: float  # of a token
    word_perplexity: float  # of a word, however it was cut into tokens; NaN for a text without words between its spaces
    character_perplexity: float
    bits_per_byte: float
    unknown_share: float  # the share of the words that are `<unk>`, in [0, 1]
    evaluation: Evaluation  # how it was read

    @classmethod
    def of(cls, found: Evaluation, counts: TextSizes) -> Self:
        """Returns the figures of a text that was measured so, and counts so."""
        return cls(
            found.perplexity,
            counts.word_perplexity(found.perplexity),
            counts.character_perplexity(found.perplexity),
            counts.bits_per_byte(found.perplexity),
            counts.unknown_share,
            found,
        )


def evaluate_text(
    model: Any,
    ids: Ids,
    batch_size: int = 1,
    num_steps: int | None = None,
    every_word: bool = False,
) -> Evaluation:
    """Measures the perplexity of a text by a network alone, read from a zero state.

    At `batch_size=1` with `every_word=True` each word but the first is predicted from all the words before it: the
    strict figure. With more streams, as in the original's evaluation, each stream begins without a past, and the last
    words that do not fill a batch are left out. This makes the perplexity a little higher or lower.

    Args:
        model: a `Reader`, a `kerasptb.engine.Network`, or a `LanguageModel`.
        ids: int32 [N], the text.
        batch_size: number of streams B that the text is read as.
        num_steps: words T of a stream in one batch. It changes the result only through the words left out at the end.
            `None` for few, long batches that hold nearly all words.
        every_word: whether to score the last, shorter batch too; needs `batch_size=1`.

    Returns:
        An `Evaluation`.

    Raises:
        DataError: if the text is too short for one batch.
        ValueError: if `every_word` is asked for at another batch size, or for a word id out of range.
        ArithmeticError: if the perplexity is infinite or not a number.
    """
    network = open_network(model)
    check_every_word(every_word, batch_size)
    check_sizes(batch_size=batch_size)
    ids = checked_text(network.vocabulary_size, ids)
    num_steps = long_row(len(ids) // batch_size - 1) if num_steps is None else num_steps
    check_sizes(num_steps=num_steps)
    if every_word:
        num_steps = min(num_steps, len(ids) - 1)  # all words of a shorter text are in one batch
    streams = as_streams(ids, batch_size)
    length = streams.shape[1] - 1 if every_word else count_batches(len(ids), batch_size, num_steps) * num_steps
    states, total = np.zeros((batch_size, network.state_size), "float32"), 0.0
    for start in tracked("Evaluating", range(0, length, num_steps)):
        end = min(start + num_steps, length)
        values, states = network.log_likelihoods(streams[:, start:end], streams[:, start + 1 : end + 1], states)
        total += values.sum(dtype="float64")
    num_words = batch_size * length
    return Evaluation(as_perplexity(-total / num_words), num_words, batch_size, num_steps)


def check_every_word(every_word: bool, batch_size: int) -> None:
    """Raises a ValueError if every word is to be scored in several streams."""
    if every_word and batch_size != 1:
        raise ValueError(f"Every word can be scored at batch_size=1 only. Received: batch_size={batch_size}")


def as_perplexity(cross_entropy: float) -> float:
    """Returns the perplexity of a mean cross-entropy in nats; raises an ArithmeticError if it is no finite number."""
    perplexity = math.exp(cross_entropy) if cross_entropy < _LARGEST else math.inf
    if not math.isfinite(perplexity):
        raise ArithmeticError(f"The perplexity is {perplexity}: the model's weights are no result of a training.")
    return perplexity


def long_row(num_words: int) -> int:
    """Returns words of a row at batch size 1: a long row saves calls, and the state goes on from one row to the next.

    With rows of equal length, fewer words are left out at the end than there are rows.
    """
    rows = -(-num_words // ROW)
    return max(num_words // max(rows, 1), 1)
