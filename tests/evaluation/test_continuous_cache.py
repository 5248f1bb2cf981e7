import math

import numpy as np
import pytest

from kerasptb.evaluation import CacheSettings, continuous_cache, evaluate_continuous_cache, tune_continuous_cache
from kerasptb.models import LanguageModel
from kerasptb.models.evaluation import evaluate_split

IDS = np.random.default_rng(0).integers(0, 13, 158).astype("int32")


@pytest.fixture(scope="module")
def model():
    model = LanguageModel(13, 5, (6, 4), batch_size=4, num_steps=5, init_scale=1.0, seed=0)
    model.compile()
    return model


def states_and_probabilities(model, ids):
    """h [N - 1, H], and the model's probabilities [N - 1, V], of the whole text in one row."""
    model.reset_evaluation_states()
    h = np.float64(model.encode(ids[np.newaxis, :-1]))[0]
    logits = np.float64(model.predict(ids[np.newaxis, :-1], batch_size=1, verbose=0)[0])
    exponentials = np.exp(logits)
    return h, exponentials / exponentials.sum(-1, keepdims=True)


def plain_losses(model, ids, settings):
    """The published formula, a word and a position at a time."""
    h, probabilities = states_and_probabilities(model, ids)
    losses = []
    for t in range(len(h)):
        of_words = np.zeros(13)
        for i in range(max(t - settings.window, 0), t):
            of_words[ids[i + 1]] += math.exp(settings.theta * (h[t] @ h[i]))
        p = probabilities[t]
        if of_words.any():
            p = (1 - settings.weight) * p + settings.weight * of_words / of_words.sum()
            assert p.sum() == pytest.approx(1)
        losses.append(-math.log(p[ids[t + 1]]))
    return losses


@pytest.mark.parametrize(
    "settings",
    [
        CacheSettings(0.7, 0.3, 2000),
        CacheSettings(3.0, 0.9, 20),
        CacheSettings(0.0, 0.5, 157),
        CacheSettings(1.0, 0.5, 1),
    ],
)
@pytest.mark.parametrize(("num_steps", "block"), [(None, 250), (50, 16), pytest.param(1, 250, marks=pytest.mark.slow)])
def test_perplexity_is_that_of_the_published_formula(model, settings, num_steps, block, monkeypatch):
    monkeypatch.setattr(continuous_cache, "_BLOCK", block)
    result = evaluate_continuous_cache(model, IDS, settings, num_steps)
    expected = plain_losses(model, IDS, settings)
    assert len(expected) == result.num_words == 157
    assert result.perplexity == pytest.approx(math.exp(np.mean(expected)), rel=1e-5)
    assert (result.batch_size, result.num_steps) == (1, num_steps or 157)
    assert result.settings == settings


def test_each_word_has_the_loss_of_the_formula(model):
    settings = CacheSettings(0.7, 0.3, 20)
    losses, of_cache, _ = continuous_cache._read(model, IDS, settings.window, [settings.theta])
    expected = plain_losses(model, IDS, settings)
    np.testing.assert_allclose(continuous_cache._mixed(losses, of_cache[0], settings.weight), expected, rtol=1e-4)
    # The first word is predicted by the model alone: no position is in the cache.
    assert np.isnan(of_cache[0]).tolist() == [True] + [False] * 156
    assert expected[0] == pytest.approx(losses[0], rel=1e-5)


@pytest.mark.parametrize("num_words", [2, 3, 158])
def test_a_weight_of_zero_is_the_evaluation_of_every_word(model, num_words):
    result = evaluate_continuous_cache(model, IDS[:num_words], CacheSettings(0.5, 0.0))
    static = evaluate_split(model, IDS[:num_words], 1, every_word=True)
    assert result.num_words == num_words - 1
    assert result.perplexity == pytest.approx(static.perplexity, rel=1e-6)


def test_the_probabilities_of_all_words_are_those_of_each():
    random = np.random.default_rng(2)
    states, words = random.normal(size=(40, 3)).astype("float32"), random.integers(0, 6, 40)
    caches = [continuous_cache.Cache(9, 3) for _ in range(2)]
    for block in (slice(0, 15), slice(15, 40)):
        every = caches[0].distributions(states[block], words[block], 0.8, 7)
        (one,) = caches[1].probabilities(states[block], words[block], [0.8])
        np.testing.assert_allclose(every[np.arange(len(one)), words[block]], np.nan_to_num(one), rtol=1e-5)
        np.testing.assert_allclose(every.sum(axis=1), ~np.isnan(one), rtol=1e-5)
        assert not every[:, 6].any()


@pytest.mark.parametrize("scale", [1.0, 1e3])
def test_large_states_overflow_nowhere(scale):
    random = np.random.default_rng(1)
    cache = continuous_cache.Cache(8, 3)
    states, words = scale * random.normal(size=(30, 3)).astype("float32"), random.integers(0, 3, 30)
    parts = [cache.probabilities(states[i : i + 7], words[i : i + 7], [0.0, 1.0, 5.0]) for i in range(0, 30, 7)]
    found = np.concatenate(parts, axis=1)
    assert np.isnan(found[:, 0]).all()
    for row, theta in zip(found, (0.0, 1.0, 5.0), strict=True):
        for t in range(1, 30):
            exponents = theta * np.float64(states[max(t - 8, 0) : t] @ states[t])
            weights = np.exp(exponents - exponents.max())
            expected = weights[words[max(t - 8, 0) : t] == words[t]].sum() / weights.sum()
            assert row[t] == pytest.approx(expected, rel=1e-3, abs=1e-6)


def test_tuning_finds_the_best_pair_of_the_grid(model, monkeypatch):
    thetas, weights = (0.0, 0.5, 2.0), (0.05, 0.2, 0.6)
    monkeypatch.setattr(continuous_cache, "_THETAS", thetas)
    monkeypatch.setattr(continuous_cache, "_WEIGHTS", weights)
    found = tune_continuous_cache(model, IDS, 30)
    by_pair = {
        settings: evaluate_continuous_cache(model, IDS, settings).perplexity
        for settings in [CacheSettings(theta, weight, 30) for theta in thetas for weight in weights]
    }
    assert len(set(by_pair.values())) == 9
    assert found == min(by_pair, key=by_pair.get)


def test_the_training_state_and_the_weights_are_not_touched(model):
    before = [np.array(variable) for variable in model.variables]
    evaluate_continuous_cache(model, IDS, CacheSettings(0.5, 0.2))
    for a, b in zip(before, model.variables, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda model: CacheSettings(-0.1, 0.1), r"`theta` must be a number of at least 0. Received: theta=-0\.1"),
        (
            lambda model: CacheSettings(0.1, 1.0),
            r"`weight` must be a number of at least 0 and below 1\. Received: weight=1\.0",
        ),
        (lambda model: CacheSettings(0.1, 0.1, 0), "`window` must be a whole number of at least 1. Received: window=0"),
        (lambda model: evaluate_continuous_cache(model, IDS[:1], CacheSettings(0.1, 0.1)), "two words.* Received: 1"),
        (lambda model: evaluate_continuous_cache(model, -IDS, CacheSettings(0.1, 0.1)), r"\[0, 13\).* Received: -\d"),
        (lambda model: tune_continuous_cache(model, IDS, 0), "window to be a positive integer. Received: window=0"),
    ],
)
def test_what_cannot_be_evaluated_is_told_in_a_line(model, call, message):
    with pytest.raises(ValueError, match=message) as error:
        call(model)
    assert "\n" not in str(error.value)
