import math

import numpy as np
import pytest

from kerasptb.data import DataError, Vocabulary
from kerasptb.engine import open_network
from kerasptb.evaluation import evaluate_text
from kerasptb.evaluation.perplexity import as_perplexity, long_row
from kerasptb.models import LanguageModel
from kerasptb.models.evaluation import evaluate_split
from kerasptb.reading.reader import open_reader

IDS = np.random.default_rng(0).integers(0, 13, 158).astype("int32")


@pytest.fixture(scope="module")
def model():
    words = Vocabulary([f"w{i}" for i in range(13)])
    model = LanguageModel(13, 5, (6, 4), batch_size=4, num_steps=5, init_scale=1.0, seed=0, tokenizer=words)
    model.compile()
    return model


@pytest.fixture(scope="module")
def network(model):
    return open_network(model)


def expected_perplexity(model, ids):
    """Every word from all before it, by the probabilities of single calls."""
    logits = np.float64(model.predict(ids[np.newaxis, :-1], batch_size=1, verbose=0)[0])
    log_probabilities = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    return math.exp(-log_probabilities[np.arange(len(ids) - 1), ids[1:]].mean())


@pytest.mark.parametrize("num_steps", [None, 1, 20, 156, 157, 400])
def test_every_word_is_scored_once_whatever_the_rows(model, network, num_steps):
    result = evaluate_text(network, IDS, 1, num_steps, every_word=True)
    assert result.num_words == 157
    assert result.perplexity == pytest.approx(expected_perplexity(model, IDS), rel=1e-5)


@pytest.mark.parametrize("num_steps", [1, 5, 38, None])
def test_streams_are_read_each_from_a_zero_state_and_the_rest_dropped(model, network, num_steps):
    result = evaluate_text(network, IDS, 4, num_steps)
    # 158 words in 4 streams of 39, of 38 words to predict; of 7 batches of 5 the last 3 of each stream are left out.
    assert (result.num_words, result.batch_size) == (4 * (35 if num_steps == 5 else 38), 4)
    read = result.num_words // 4 + 1
    parts = [expected_perplexity(model, stream[:read]) for stream in IDS[:156].reshape(4, 39)]
    assert result.perplexity == pytest.approx(math.exp(np.log(parts).mean()), rel=1e-5)


@pytest.mark.parametrize("how", [(1, None, True), (1, 20, True), (1, 20, False), (4, 5, False), (3, 7, False)])
def test_figures_are_those_of_the_model_in_keras(model, network, how):
    found, expected = evaluate_text(network, IDS, *how), evaluate_split(model, IDS, *how)
    assert (found.num_words, found.batch_size, found.num_steps) == (expected.num_words, how[0], expected.num_steps)
    assert found.perplexity == pytest.approx(expected.perplexity, rel=1e-5)


def test_a_model_its_reader_and_its_network_are_measured_alike(model, network):
    expected = evaluate_text(network, IDS, every_word=True)
    assert evaluate_text(model, IDS, every_word=True) == evaluate_text(open_reader(model), IDS, every_word=True)
    assert evaluate_text(model, IDS, every_word=True) == expected


def test_every_word_needs_one_stream(network):
    with pytest.raises(ValueError, match=r"batch_size=1 only\. Received: batch_size=4"):
        evaluate_text(network, IDS, 4, every_word=True)


@pytest.mark.parametrize(
    ("ids", "how", "message"),
    [
        (IDS[:1], {"every_word": True}, r"at least two words.* Received: 1"),
        (IDS[:7], {"batch_size": 4}, r"too short for one batch: it has 7 words"),
        (IDS[:23], {"batch_size": 4, "num_steps": 5}, r"too short for one batch: it has 23 words"),
    ],
)
def test_a_text_too_short_is_told(network, ids, how, message):
    with pytest.raises(DataError, match=message):
        evaluate_text(network, ids, **how)


@pytest.mark.parametrize(
    "how",
    [
        {"batch_size": 0},
        {"batch_size": 2, "num_steps": -1},
        {"num_steps": 0},
        {"num_steps": 0, "every_word": True},
        {"num_steps": 1.5},
    ],
)
def test_sizes_that_are_none_are_told(network, how):
    with pytest.raises(ValueError, match=r"to be a positive integer\. Received"):
        evaluate_text(network, IDS, **how)


def test_ids_out_of_range_are_told(network):
    with pytest.raises(ValueError, match=r"word ids in \[0, 13\), .* Received: 13"):
        evaluate_text(network, [1, 13, 2])


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_no_numbers_have_no_perplexity(value):
    model = LanguageModel(13, 5, (6,), batch_size=1, num_steps=5)
    model.get_layer("logits").bias.assign([value, *[0.0] * 12])
    with np.errstate(invalid="ignore"), pytest.raises(ArithmeticError, match="no result of a training"):
        evaluate_text(model, IDS, every_word=True)


def test_a_perplexity_that_no_number_holds_is_told():
    assert as_perplexity(700.0) == math.exp(700)
    for cross_entropy in (710.0, math.inf, math.nan):
        with pytest.raises(ArithmeticError, match="no result of a training"):
            as_perplexity(cross_entropy)


@pytest.mark.parametrize("num_words", [1, 2, 999, 1000, 1001, 1500, 2815, 82_429])
def test_rows_of_ones_choice_leave_out_fewer_words_than_there_are_rows(num_words):
    steps = long_row(num_words)
    rows = num_words // steps
    assert steps <= 1000
    assert num_words - rows * steps < rows == math.ceil(num_words / 1000)
