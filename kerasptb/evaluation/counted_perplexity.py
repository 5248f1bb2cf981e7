"""Perplexity of a text by a network with the counts of its training text, and with those of the text before too."""

import numpy as np

from kerasptb.data.streams import checked_text
from kerasptb.evaluation.perplexity import Evaluation
from kerasptb.reading.counted_reader import CountedReader
from kerasptb.utils.types import Ids


def evaluate_counts(
    reader: CountedReader, ids: Ids, of_network: np.ndarray | None = None
) -> tuple[Evaluation, Evaluation]:
    """Returns how good a network is on a text with counts, see `kerasptb.reading.counts`.

    Every word but the first is scored, at batch size 1, from a zero state.

    Args:
        reader: what `Run.reader` is for a run with counts.
        ids: int32 [N], the text, of at least two words.
        of_network: float [N - 1], log probabilities of its words by a network that adapts; `None` for the reader's.

    Returns:
        with_counts: the `Evaluation` with the counts of the training text.
        going_on: with those of the text before each word too, while all weights go on learning.

    Raises:
        DataError: if the text is too short.
        ValueError: for word ids out of range.
    """
    ids, sums, longest = checked_text(len(reader.tokenizer), ids), np.zeros(2), 0
    for _, *refined in reader.score_going_on(ids, of_network):
        sums += [values.sum(dtype="float64") for values in refined]
        longest = max(longest, len(refined[0]))
    number = len(ids) - 1
    with_counts, going_on = (Evaluation(float(np.exp(-total / number)), number, 1, longest) for total in sums)
    return with_counts, going_on
