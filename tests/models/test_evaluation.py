import math

import numpy as np
import pytest

from kerasptb.losses import SequenceCrossEntropy
from kerasptb.metrics import Perplexity
from kerasptb.models import LanguageModel, evaluate_perplexity
from kerasptb.models.evaluation import evaluate_both, evaluate_split

IDS = np.random.default_rng(0).integers(0, 13, 158).astype("int32")


@pytest.fixture(scope="module")
def model():
    model = LanguageModel(13, 5, (6, 4), batch_size=4, num_steps=5, init_scale=1.0, seed=0)
    model.compile()
    return model


def expected_perplexity(model, ids):
    """Every word from all before it, by the probabilities of single calls."""
    logits = np.float64(model.predict(ids[np.newaxis, :-1], batch_size=1, verbose=0)[0])
    log_probabilities = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    return math.exp(-log_probabilities[np.arange(len(ids) - 1), ids[1:]].mean())


@pytest.mark.parametrize("num_steps", [None, 1, 20, 156, 157, 400])
def test_every_word_is_scored_once_whatever_the_rows(model, num_steps):
    result = evaluate_split(model, IDS, 1, num_steps, every_word=True)
    assert result.num_words == 157
    assert result.perplexity == pytest.approx(expected_perplexity(model, IDS), rel=1e-5)


def test_streams_are_read_each_from_a_zero_state_and_the_rest_dropped(model):
    result = evaluate_split(model, IDS, 4)
    # 158 words in 4 streams of 39; 7 batches of 5 words, the last 3 of each stream are left out.
    assert (result.num_words, result.num_steps) == (4 * 35, 5)
    parts = [expected_perplexity(model, stream[:36]) for stream in IDS[:156].reshape(4, 39)]
    assert result.perplexity == pytest.approx(math.exp(np.log(parts).mean()), rel=1e-5)


@pytest.mark.parametrize(("num_words", "in_streams"), [(158, 140), (24, 20)])
def test_both_figures_are_those_of_papers(model, num_words, in_streams):
    strict, streams = evaluate_both(model, IDS[:num_words])
    assert (strict.num_words, streams.num_words) == (num_words - 1, in_streams)
    assert strict.perplexity == pytest.approx(expected_perplexity(model, IDS[:num_words]), rel=1e-5)
    assert streams == evaluate_split(model, IDS[:num_words], 4, 5)


def test_a_text_too_short_for_the_streams_has_its_strict_figure(model):
    strict, streams = evaluate_both(model, IDS[:23])  # 4 streams of 6 words would be 24
    assert (strict.num_words, streams) == (22, None)


def test_repeats_itself(model):
    assert evaluate_perplexity(model, IDS, 1, every_word=True) == evaluate_perplexity(model, IDS, 1, every_word=True)


def test_needs_a_perplexity():
    other = LanguageModel(13, 5, (6, 4), batch_size=4, num_steps=5)
    other.compile(metrics=["accuracy"])
    with pytest.raises(ValueError, match=r"metrics\.Perplexity .* Received: one that measures accuracy, loss"):
        evaluate_perplexity(other, IDS)


def test_every_word_needs_one_stream(model):
    with pytest.raises(ValueError, match=r"batch_size=1 only\. Received: batch_size=4"):
        evaluate_split(model, IDS, 4, every_word=True)


@pytest.mark.parametrize("num_steps", [None, 20, 120])
def test_words_that_the_metric_ignores_count_nowhere(num_steps):
    model = LanguageModel(13, 6, (8,), batch_size=4, num_steps=5, init_scale=1.0, seed=1)
    model.compile(loss=SequenceCrossEntropy(), metrics=[Perplexity(ignore_class=0, name="of_some")])
    result = evaluate_split(model, IDS, 1, num_steps, every_word=True)
    targets, logits = IDS[1:], np.float64(model.predict(IDS[np.newaxis, :-1], batch_size=1, verbose=0)[0])
    losses = np.log(np.exp(logits).sum(-1)) - logits[np.arange(len(targets)), targets]
    assert result.num_words == np.count_nonzero(targets) < len(targets)
    assert result.perplexity == pytest.approx(math.exp(losses[targets != 0].mean()), rel=1e-5)
