import dataclasses
import math

import numpy as np
import pytest
import tensorflow as tf

from kerasptb import dynamic_evaluation as dynamic
from kerasptb.data import DataError
from kerasptb.dynamic_evaluation import (
    DynamicSettings,
    evaluate_dynamic,
    gradient_statistics,
    published_settings,
    tune_dynamic,
)
from kerasptb.models import LanguageModel
from kerasptb.models.evaluation import evaluate_split

RANDOM = np.random.default_rng(0)
IDS = RANDOM.integers(0, 11, 31).astype("int32")
TRAIN = RANDOM.integers(0, 13, 158).astype("int32")
SETTINGS = DynamicSettings(0.01, 0.3, 4)


def make(**arguments):
    arguments = {"units": (6, 4), "batch_size": 4, "num_steps": 5, "init_scale": 0.5, "seed": 0, **arguments}
    return LanguageModel(13, 5, **arguments)


def plain_gradients(model, tokens, targets):
    """The mean cross-entropy of a batch and its gradients, as dense arrays, by Keras' logits, step by step."""
    variables = [variable.value for variable in model.trainable_variables]
    with tf.GradientTape() as tape:
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(targets, model(tokens, training=False))
        loss = tf.reduce_mean(losses)
    gradients = [np.float64(tf.convert_to_tensor(g)) for g in tape.gradient(loss, variables)]
    return float(loss), gradients


def plain_statistics(model, ids, rows, num_steps):
    model.reset_evaluation_states()
    streams = ids[: len(ids) // rows * rows].reshape(rows, -1)
    squares = []
    for start in range(0, streams.shape[1] - num_steps, num_steps):
        batch = streams[:, start : start + num_steps + 1]
        squares.append([g**2 for g in plain_gradients(model, batch[:, :-1], batch[:, 1:])[1]])
    return [np.sqrt(np.mean(of_one, axis=0)) for of_one in zip(*squares, strict=True)]


def plain_dynamic(model, ids, statistics, settings):
    """The published formula, in float64 but for the gradients. Returns the mean losses of the segments."""
    model.reset_evaluation_states()
    trained = [np.float64(variable.numpy()) for variable in model.trainable_variables]
    mean = np.mean([ms.mean() for ms in statistics])
    weights, losses = list(trained), []
    for start in range(0, len(ids) - 1, settings.num_steps):
        segment = ids[start : start + settings.num_steps + 1][np.newaxis]
        loss, gradients = plain_gradients(model, segment[:, :-1], segment[:, 1:])
        losses.append(loss)
        for i, (w, w0, g, ms) in enumerate(zip(weights, trained, gradients, statistics, strict=True)):
            back = np.minimum(settings.decay * ms / mean, 1) * (w0 - w)
            weights[i] = w + back - settings.learning_rate * g / (ms + 2e-5)
        for variable, w in zip(model.trainable_variables, weights, strict=True):
            variable.assign(w)
    for variable, w in zip(model.trainable_variables, trained, strict=True):
        variable.assign(w)
    return losses


@pytest.mark.parametrize(
    "arguments", [{}, pytest.param({"tie_embeddings": True, "units": (6, 5)}, marks=pytest.mark.slow)]
)
def test_each_segment_has_the_loss_of_the_published_formula(arguments):
    model = make(**arguments)
    plain = make(**arguments, backend="reference")
    statistics = gradient_statistics(model, TRAIN, num_steps=3, batch_size=6)
    expected = plain_statistics(plain, TRAIN, 6, 3)
    for ours, ms in zip(statistics, expected, strict=True):
        np.testing.assert_allclose(ours, ms, rtol=2e-4, atol=1e-8)
    losses = plain_dynamic(plain, IDS, expected, SETTINGS)
    assert len(losses) == 8  # 30 words in segments of 4, the last of 2 words
    summed = np.cumsum(losses * np.array([4] * 7 + [2]))
    for num_segments, expected_sum in enumerate(summed, start=1):
        num_words = min(4 * num_segments, 30)
        if num_segments in (1, 2, 3, 8):
            result = evaluate_dynamic(model, IDS[: num_words + 1], statistics, SETTINGS)
            assert result.num_words == num_words
            assert math.log(result.perplexity) * num_words == pytest.approx(expected_sum, rel=2e-5)
    static = plain_dynamic(plain, IDS, expected, DynamicSettings(0, 0.3, 4))
    assert np.abs(np.subtract(losses, static))[1:].min() > 1e-3  # of each segment after the first
    assert losses[0] == static[0]


def test_a_rate_of_zero_is_the_evaluation_of_every_word():
    model = make()
    model.compile()
    result = evaluate_dynamic(model, IDS, gradient_statistics(model, TRAIN), DynamicSettings(0, 0.02, 7))
    static = evaluate_split(model, IDS, 1, every_word=True)
    assert (result.num_words, result.batch_size, result.num_steps) == (30, 1, 7)
    assert result.perplexity == pytest.approx(static.perplexity, rel=1e-6)


@pytest.mark.slow
def test_segments_of_several_calls_go_on_from_one_another(monkeypatch):
    model = make()
    statistics = gradient_statistics(model, TRAIN, 4)
    at_once = evaluate_dynamic(model, IDS, statistics, SETTINGS)
    monkeypatch.setattr(dynamic, "_SEGMENTS_OF_CALL", 3)  # 7 segments: calls of 3, 3 and 1
    monkeypatch.setattr(dynamic, "_BATCHES_OF_CALL", 2)
    assert evaluate_dynamic(model, IDS, statistics, SETTINGS).perplexity == pytest.approx(at_once.perplexity, 1e-6)
    for again, before in zip(gradient_statistics(model, TRAIN, 4), statistics, strict=True):
        np.testing.assert_allclose(again, before, rtol=1e-5)


@pytest.mark.slow
def test_a_model_that_learns_a_repeated_text_predicts_it_better():
    model = make()
    text = np.tile(np.arange(6, dtype="int32"), 40)
    statistics = gradient_statistics(model, TRAIN, 5)
    perplexities = [
        evaluate_dynamic(model, text, statistics, DynamicSettings(rate, 0.0, 5)).perplexity for rate in (0, 1e-3)
    ]
    assert perplexities[1] < 0.8 * perplexities[0]


def variables_of(model):
    return [np.array(variable) for variable in (*model.variables, *model.optimizer.variables)]


@pytest.mark.parametrize("error", [None, ArithmeticError, KeyboardInterrupt])
@pytest.mark.fast_cases(1)
def test_the_model_is_afterwards_what_it_was_to_the_bit(error, monkeypatch):
    model = make(keep_prob=0.5, tie_embeddings=True, units=(6, 5))
    model.compile()
    batch = RANDOM.integers(0, 13, (4, 6)).astype("int32")
    model.train_on_batch(batch[:, :-1], batch[:, 1:])  # states of training, of the optimizer, of dropout's seeds
    before = variables_of(model)
    states = [np.array(state) for layer in model.stateful_layers() for state in layer.states]
    statistics = gradient_statistics(model, TRAIN, 4)
    changed = []
    run = dynamic._run

    def interrupted(*arguments):
        total = run(*arguments)
        changed.append(any((a != b).any() for a, b in zip(before, variables_of(model), strict=True)))
        if error:
            raise error("while the weights are others")
        return total

    monkeypatch.setattr(dynamic, "_run", interrupted)
    if error:
        with pytest.raises(error):
            evaluate_dynamic(model, IDS, statistics, SETTINGS)
    else:
        evaluate_dynamic(model, IDS, statistics, SETTINGS)
    assert changed[0]
    for a, b in zip(before, variables_of(model), strict=True):
        np.testing.assert_array_equal(a, b)
    for a, b in zip(states, [state for layer in model.stateful_layers() for state in layer.states], strict=True):
        np.testing.assert_array_equal(a, b)


def test_frozen_layers_stay_and_others_follow():
    model = make()
    statistics = gradient_statistics(model, TRAIN, 4)
    model.get_layer("embedding").trainable = False
    fewer = gradient_statistics(model, TRAIN, 4)
    assert len(fewer) == len(statistics) - 1
    assert evaluate_dynamic(model, IDS, fewer, SETTINGS).num_words == 30
    with pytest.raises(
        ValueError, match=r"`statistics` of the shapes of this model's 8 trainable variables\. Received"
    ):
        evaluate_dynamic(model, IDS, statistics, SETTINGS)
    model.trainable = False
    with pytest.raises(ValueError, match=r"weights that may change\. Received: a model whose layers are frozen"):
        evaluate_dynamic(model, IDS, statistics)


def test_statistics_of_a_short_text_are_of_fewer_rows():
    model, plain = make(), make(backend="reference")
    for ours, ms in zip(
        gradient_statistics(model, TRAIN[:23], 5), plain_statistics(plain, TRAIN[:23], 3, 5), strict=True
    ):
        np.testing.assert_allclose(ours, ms, rtol=2e-4, atol=1e-8)


def test_tuning_goes_downhill_from_the_published_settings():
    """A valley at a learning rate of 1e-3 and a decay of 0.005."""
    seen = []

    def cross_entropy(settings):
        seen.append(settings)
        return math.log(settings.learning_rate / 1e-3) ** 2 + math.log(settings.decay / 0.005) ** 2

    found = dynamic._search(cross_entropy, published_settings(), 30)
    assert found.learning_rate == pytest.approx(1e-3, rel=0.2)
    assert found.decay == pytest.approx(0.005, rel=0.35)
    assert len(set(seen)) == len(seen) <= 30
    assert seen[0] == DynamicSettings(1.2e-4, 0.02, 20)
    seen.clear()
    assert cross_entropy(dynamic._search(cross_entropy, published_settings(), 4)) < cross_entropy(seen[0])
    assert len(seen) == 4 + 2


def test_tuning_leaves_settings_that_diverge():
    def cross_entropy(settings):
        return math.nan if settings.learning_rate > 4e-5 else -settings.learning_rate

    assert math.isnan(cross_entropy(published_settings()))
    assert dynamic._search(cross_entropy, published_settings(), 9).learning_rate == 3e-5


def test_tuning_reads_the_first_words_and_finds_what_is_best_of_what_it_read(monkeypatch):
    model = make()
    statistics = gradient_statistics(model, TRAIN, 4)
    read = {}
    original = dynamic._Adaptation.losses

    def losses(self, ids, settings):
        found = original(self, ids, settings)
        assert (len(ids), len(found)) == (21, 20)
        read[settings] = found.sum()
        return found

    monkeypatch.setattr(dynamic._Adaptation, "losses", losses)
    found = tune_dynamic(model, IDS, statistics, 4, max_words=20, max_evaluations=6)
    assert len(read) == 6
    assert found == min(read, key=read.get)
    assert found.num_steps == 4


@pytest.mark.parametrize(
    ("num_steps", "expected"), [(20, (1.2e-4, 0.02)), (35, (1.2e-4, 0.02)), (5, (5e-5, 0.002)), (1, (5e-5, 0.002))]
)
def test_the_published_settings(num_steps, expected):
    assert dataclasses.astuple(published_settings(num_steps)) == (*expected, num_steps)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda model: evaluate_dynamic(model, IDS[:1], []), "at least two words: the first is .* Received: 1"),
        (
            lambda model: evaluate_dynamic(model, IDS + 10, []),
            r"word ids in \[0, 13\), the model's .* Received: \d+",
        ),
        (lambda model: gradient_statistics(model, TRAIN[:4], 5), "too short for one batch"),
        (
            lambda model: DynamicSettings(-1.0, 0.02),
            r"`learning_rate` must be a number of at least 0. Received: learning_rate=-1\.0",
        ),
        (lambda model: DynamicSettings(1.0, math.nan), "`decay` must be a number of at least 0. Received: decay=nan"),
        (
            lambda model: DynamicSettings(1.0, 0.02, 0),
            "`num_steps` must be a whole number of at least 1. Received: num_steps=0",
        ),
    ],
)
def test_what_cannot_be_evaluated_is_told_in_a_line(call, message):
    with pytest.raises(ValueError, match=message) as error:
        call(make())
    assert "\n" not in str(error.value)
    if "too short" in message:
        assert isinstance(error.value, DataError)


SCRIPT = """
import numpy as np
from kerasptb.evaluation import CacheSettings, evaluate_continuous_cache
from kerasptb.dynamic_evaluation import evaluate_dynamic
from kerasptb.models import LanguageModel

model = LanguageModel(13, 5, (6, 4), batch_size=4, num_steps=5)
random = np.random.default_rng(0)
model.set_weights([random.normal(size=weight.shape) for weight in model.get_weights()])
ids = np.arange(60) % 13
print(evaluate_continuous_cache(model, ids, CacheSettings(0.5, 0.2, 20), 25).perplexity)
try:
    evaluate_dynamic(model, ids, [])
except ValueError as error:
    print(error)
"""


@pytest.mark.slow
def test_under_jax_the_cache_is_the_same_and_dynamic_evaluation_names_tensorflow(run_under_jax, tmp_path, capsys):
    (tmp_path / "script.py").write_text(SCRIPT)
    of_cache, message = run_under_jax(str(tmp_path / "script.py")).splitlines()
    assert message == (
        "Dynamic evaluation needs TensorFlow: set KERAS_BACKEND=tensorflow; a run's weights are the same there. "
        "Received: KERAS_BACKEND=jax"
    )
    exec(SCRIPT.partition("try:")[0], {})
    assert float(of_cache) == pytest.approx(float(capsys.readouterr().out), rel=1e-5)
