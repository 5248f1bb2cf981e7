"""Perplexity of a text by a model in Keras, with its own metric."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from kerasptb.evaluation.perplexity import Evaluation, check_every_word, long_row
from kerasptb.metrics import Perplexity
from kerasptb.metrics.perplexity import find_perplexity
from kerasptb.models.language_model import LanguageModel
from kerasptb.pipeline import make_dataset
from kerasptb.utils.status_line import at_work


def evaluate_perplexity(
    model: LanguageModel,
    ids: Sequence[int] | np.ndarray,
    batch_size: int = 1,
    num_steps: int | None = None,
    every_word: bool = False,
) -> float:
    """Returns the perplexity of a text, read from a zero state.

    At `batch_size=1` with `every_word=True` each word but the first is predicted from all the words before it: the
    strict figure. With more streams, as in the original's evaluation, each stream begins without a past, and the last
    words that do not fill a batch are left out. This makes the perplexity a little higher or lower.

    Args:
        model: a `LanguageModel`, compiled with `Perplexity` among its metrics, as by default.
        ids: int32 [N], the text.
        batch_size: number of streams B that the text is read as.
        num_steps: words T of a stream in one batch. It changes the result only through the words left out at the end.
            `None` for the model's at `batch_size` above 1, else for few, long batches that hold nearly all words.
        every_word: whether to score the last, shorter batch too; needs `batch_size=1`.

    Returns:
        A float.

    Raises:
        DataError: if the text is too short for one batch.
        ValueError: if the model has no such metric, or `every_word` is asked for at another batch size.
        ArithmeticError: if the perplexity is infinite or not a number.
    """
    return evaluate_split(model, ids, batch_size, num_steps, every_word).perplexity


def evaluate_split(
    model: LanguageModel,
    ids: Sequence[int] | np.ndarray,
    batch_size: int = 1,
    num_steps: int | None = None,
    every_word: bool = False,
) -> Evaluation:
    """Measures the perplexity of a text, with the same arguments and errors as `evaluate_perplexity`.

    Returns:
        An `Evaluation`.
    """
    check_every_word(every_word, batch_size)
    if num_steps is None:
        num_steps = model.num_steps if batch_size > 1 else long_row(len(ids) - 1)
    if every_word:
        num_steps = min(num_steps, max(len(ids) - 1, 1))  # all words of a shorter text are in one batch
    batches = make_dataset(ids, batch_size, num_steps)
    with at_work("Evaluating"), model.evaluation_alone():
        results = model.evaluate(batches, verbose=0, return_dict=True)
        metric = find_perplexity(model)
        if metric is None:
            raise ValueError(
                "Expected a model compiled with kerasptb.metrics.Perplexity among its metrics, as `compile()` does. "
                f"Received: one that measures {', '.join(results)}"
            )
        perplexity = results[metric.name]
        read = len(batches) * batch_size * num_steps
        num_words = _num_counted(metric, read)
        if every_word and read < len(ids) - 1:
            # The words that did not fill a row continue from the state in which `evaluate` ended.
            rest = np.asarray(ids[read:], "int32")[np.newaxis]
            of_rest = model.test_on_batch(rest[:, :-1], rest[:, 1:], return_dict=True)[metric.name]
            num_rest = _num_counted(metric, len(ids) - 1 - read)
            cross_entropy = num_words * math.log(perplexity) + num_rest * math.log(of_rest)
            num_words += num_rest
            perplexity = math.exp(cross_entropy / max(num_words, 1))
    if not math.isfinite(perplexity):
        raise ArithmeticError(f"The perplexity is {perplexity}: the model's weights are no result of a training.")
    return Evaluation(perplexity, num_words, batch_size, num_steps)


def _num_counted(metric: Perplexity, num_read: int) -> int:
    """Returns how many of the words given to a metric count."""
    return num_read if metric.ignore_class is None else round(float(metric.num_words))


def evaluate_both(model: LanguageModel, ids: Sequence[int] | np.ndarray) -> tuple[Evaluation, Evaluation | None]:
    """Measures both figures that papers report for a text: the strict one, and that of the original's batches.

    Args:
        model: as in `evaluate_perplexity`, like `ids`, of at least two words.
        ids: the text.

    Returns:
        strict: the `Evaluation` of every word.
        streams: the `Evaluation` in as many streams as the model's batches have rows; `None` if the text is too short.
    """
    strict = evaluate_split(model, ids, every_word=True)
    rows, fits = model.batch_size, len(ids) >= model.batch_size * (model.num_steps + 1)
    return strict, evaluate_split(model, ids, rows, model.num_steps, every_word=rows == 1) if fits else None
