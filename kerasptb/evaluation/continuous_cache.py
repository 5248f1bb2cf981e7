"""The continuous cache: words that followed states like the present one become more probable.

Grave et al., 2016, "Improving Neural Language Models with a Continuous Cache". With h_t, the input of the logits layer
after the word x_t, and sums over the last `window` positions i before t:

    p(w) = (1 - weight) p_vocab(w) + weight p_cache(w)
    p_cache(w) proportional to the sum of exp(theta h_t . h_i) over those i after which w came: w = x_{i+1}

The model itself stays as it is.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from kerasptb.arguments import Arguments, Number, Whole, argument
from kerasptb.data.streams import check_sizes, checked_text
from kerasptb.engine import open_network
from kerasptb.evaluation.perplexity import AdaptedEvaluation
from kerasptb.evaluation.reading import ROW
from kerasptb.utils.status_line import tracked
from kerasptb.utils.types import Ids

# Words of a block: its products are [block, window + block].
_BLOCK = 250
# Searched together; the best on PTB and WikiText are within (Grave et al., 2016, section 4.2).
_THETAS = (0.0, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.6, 0.8, 1.2, 1.8)
_WEIGHTS = (0.01, 0.02, 0.03, 0.05, 0.07, 0.1, 0.13, 0.16, 0.2, 0.25, 0.3, 0.4, 0.5)


@dataclasses.dataclass(frozen=True)
class CacheSettings(Arguments):
    """How much the cache of the last `window` positions counts: `weight` is lambda, its share in the probability.

    The larger `theta`, the more likeness of states counts; at 0 all positions count alike.
    """

    theta: float = argument(Number(0), "how much likeness of states counts")
    weight: float = argument(Number(0, 1, without_high=True), "lambda, the share of the cache in the probability")
    window: int = argument(Whole(), "positions that the cache holds", 2000)


def evaluate_continuous_cache(
    model: Any, ids: Ids, settings: CacheSettings, num_steps: int | None = None
) -> AdaptedEvaluation:
    """Returns the perplexity of a text by a model with a cache of the words before.

    Every word but the first is scored, at batch size 1, from a zero state; the first of them, for which the cache is
    still empty, by the model alone.

    Args:
        model: a `LanguageModel`, which need not be compiled, a `Reader`, or a `kerasptb.engine.Network`.
        ids: int32 [N], the text, of at least two words.
        settings: `CacheSettings`, such as `tune_continuous_cache` finds.
        num_steps: words of a row that the model reads at once, which the result does not depend on; `None` for many.

    Returns:
        An `AdaptedEvaluation`.

    Raises:
        DataError: if the text is too short.
        ValueError: for word ids out of range.
    """
    losses, of_cache, num_steps = _read(model, ids, settings.window, [settings.theta], num_steps)
    mixed = _mixed(losses, of_cache[0], settings.weight)
    return AdaptedEvaluation(float(np.exp(mixed.mean())), len(losses), 1, num_steps, settings, -mixed)


def tune_continuous_cache(model: Any, valid_ids: Ids, window: int = 2000) -> CacheSettings:
    """Finds the theta and the weight with the lowest perplexity of a validation text, among all pairs of a grid.

    The model reads the text once, and the products of states are computed once.

    Args:
        model: as in `evaluate_continuous_cache`, like what is raised.
        valid_ids: int32 [N], the validation text.
        window: positions that the cache holds.

    Returns:
        `CacheSettings`.
    """
    losses, of_caches, _ = _read(model, valid_ids, window, _THETAS)
    means = {
        (theta, weight): _mixed(losses, of_cache, weight).mean()
        for theta, of_cache in zip(_THETAS, of_caches, strict=True)
        for weight in _WEIGHTS
    }
    return CacheSettings(*min(means, key=lambda pair: means[pair]), window)


def _mixed(losses: np.ndarray, of_cache: np.ndarray, weight: float) -> np.ndarray:
    """Returns the words' losses, float64 [N], of a model mixed with probabilities in a cache; NaN if it is empty."""
    empty = np.isnan(of_cache)
    with np.errstate(divide="ignore"):  # of words that the cache does not hold, and of a weight of 0
        mixed = -np.logaddexp(np.log1p(-weight) - losses, np.log(weight) + np.log(np.where(empty, 0.0, of_cache)))
    return np.where(empty, losses, mixed)


def _read(
    model: Any, ids: Ids, window: int, thetas: Sequence[float], num_steps: int | None = None
) -> tuple[np.ndarray, np.ndarray, int]:
    """Reads a text once; returns the model's losses, float64 [N - 1], and what the cache makes of it.

    That is the probabilities of the words for each theta, [len(thetas), N - 1], NaN where it is empty; and the number
    of words of a row.
    """
    network = open_network(model)
    ids = checked_text(network.vocabulary_size, ids)
    check_sizes(window=window, num_steps=num_steps or 1)
    num_steps = min(num_steps or ROW, len(ids) - 1)
    losses, of_caches, cache = [], [], None
    state = np.zeros((1, network.state_size), "float32")
    for start in tracked("Reading with a cache", range(0, len(ids) - 1, num_steps)):
        targets = ids[start + 1 : start + num_steps + 1]
        hidden, state = network.encode(ids[np.newaxis, start : start + len(targets)], state)
        states = hidden[0]
        losses.append(-network.likelihoods_after(states, targets).astype("float64"))
        cache = cache or Cache(window, states.shape[1])
        for first in range(0, len(states), _BLOCK):
            block = slice(first, first + _BLOCK)
            of_caches.append(cache.probabilities(states[block], targets[block], thetas))
    return np.concatenate(losses), np.concatenate(of_caches, axis=1), num_steps


class Cache:
    """The last states, [window, H], and the words that came after them."""

    def __init__(self, window: int, units: int) -> None:
        self._window = window
        self._states, self._words = np.zeros((0, units), "float32"), np.zeros(0, "int32")

    def probabilities(self, states: np.ndarray, words: np.ndarray, thetas: Sequence[float]) -> np.ndarray:
        """Returns the probability of each word, int32 [T], after its state, [T, H], for each theta, then adds both.

        It is float64 [len(thetas), T], NaN where no position is in the cache.
        """
        after, inside, terms = self._add(states, words, thetas)
        matches = np.nonzero((after == words[:, np.newaxis]) & inside)
        results = []
        for each in terms:
            found = np.bincount(matches[0], each[matches], minlength=len(words))
            with np.errstate(invalid="ignore"):
                results.append(found / each.sum(axis=1))
        return np.array(results)

    def distributions(self, states: np.ndarray, words: np.ndarray, theta: float, vocabulary_size: int) -> np.ndarray:
        """Returns the probabilities of all V words after each state, float64 [T, V], then adds states and words.

        They are zeros where no position is in the cache.
        """
        after, _, (terms,) = self._add(states, words, [theta])
        found = np.stack([np.bincount(after, row, minlength=vocabulary_size) for row in terms])
        return found / np.maximum(found.sum(axis=1, keepdims=True), np.finfo("float32").tiny)

    def _add(
        self, states: np.ndarray, words: np.ndarray, thetas: Sequence[float]
    ) -> tuple[np.ndarray, np.ndarray, list[np.ndarray]]:
        """Adds states and words, and compares each state with those before it.

        Returns the words at all P positions; whether a position is before t and in its window, [T, P]; and for each
        theta exp(theta h_t . h_i) but for a factor of each t, 0 where not inside.
        """
        keys, after = np.concatenate([self._states, states]), np.concatenate([self._words, words])
        now = np.arange(len(states))[:, np.newaxis] + len(self._words)
        position = np.arange(len(keys))
        inside = (position < now) & (position >= now - self._window)
        products = states @ keys.T
        # The largest exponent of a word is 0, so nothing overflows and not all terms of a sum vanish.
        largest = np.max(products, axis=1, initial=-np.inf, where=inside, keepdims=True)
        shifted = np.where(inside, products - np.where(np.isfinite(largest), largest, 0), 0)
        self._states, self._words = keys[-self._window :], after[-self._window :]
        return after, inside, [np.exp(np.float32(theta) * shifted) * inside for theta in thetas]
