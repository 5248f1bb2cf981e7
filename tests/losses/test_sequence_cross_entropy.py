import math

import keras
import numpy as np
import pytest

import kerasptb
from kerasptb.losses import SequenceCrossEntropy


def test_uniform_logits_cost_num_steps_times_log_vocabulary():
    loss = SequenceCrossEntropy()(np.zeros((3, 20), "int32"), np.zeros((3, 20, 10000), "float32"))
    assert float(loss) == pytest.approx(20 * math.log(10000), rel=1e-6)
    assert float(SequenceCrossEntropy()([[1]], [[[0.0, 0.0]]])) == pytest.approx(math.log(2))


@pytest.mark.parametrize("shape", [(3, 7), (3, 5, 2, 7)])
def test_logits_of_no_sequence_are_refused(shape):
    with pytest.raises(ValueError, match=r"shape \[B, T, V\]\. Received: y_pred of shape \(3, "):
        SequenceCrossEntropy()(np.zeros(shape[:-1], "int32"), np.zeros(shape, "float32"))


def test_is_num_steps_times_keras_mean():
    random = np.random.default_rng(0)
    targets, logits = random.integers(0, 7, (4, 5)), random.normal(size=(4, 5, 7)).astype("float32")
    mean = keras.losses.SparseCategoricalCrossentropy(from_logits=True)(targets, logits)
    assert float(SequenceCrossEntropy()(targets, logits)) == pytest.approx(5 * float(mean), rel=1e-6)


def test_without_reduction_gives_the_cost_of_each_sequence():
    logits = np.log(np.array([[[0.5, 0.5], [0.25, 0.75]], [[0.5, 0.5], [0.5, 0.5]]], "float32"))
    costs = SequenceCrossEntropy(reduction=None)(np.array([[0, 0], [1, 1]]), logits)
    np.testing.assert_allclose(costs, [math.log(8), math.log(4)], rtol=1e-6)


# As many sequences as steps: weights of sequences, applied to steps by mistake, have a valid shape, too.
TARGETS = np.random.default_rng(1).integers(0, 7, (4, 4))
LOGITS = np.random.default_rng(2).normal(size=(4, 4, 7)).astype("float32")
COSTS = -np.take_along_axis(LOGITS - np.log(np.exp(LOGITS).sum(-1, keepdims=True)), TARGETS[..., None], -1)[..., 0]
OF_WORDS = np.random.default_rng(3).uniform(size=(4, 4)).astype("float32")


@pytest.mark.parametrize(
    ("weights", "expected"),
    [
        (OF_WORDS, (OF_WORDS * COSTS).sum() / 4),
        (OF_WORDS[..., None], (OF_WORDS * COSTS).sum() / 4),
        (OF_WORDS.tolist(), (OF_WORDS * COSTS).sum() / 4),
        (OF_WORDS[0], (OF_WORDS[0] * COSTS.sum(1)).sum() / 4),
        (OF_WORDS[0][:, None], (OF_WORDS[0] * COSTS.sum(1)).sum() / 4),
    ],
    ids=["words", "words, a further dimension", "words, a list", "sequences", "sequences, a further dimension"],
)
def test_weights_are_of_words_or_of_sequences(weights, expected):
    assert float(SequenceCrossEntropy()(TARGETS, LOGITS, weights)) == pytest.approx(expected, rel=1e-6)


def test_masked_words_cost_nothing():
    logits = keras.ops.convert_to_tensor(LOGITS)
    mask = np.arange(16).reshape(4, 4) % 3 > 0
    keras.src.backend.set_keras_mask(logits, keras.ops.convert_to_tensor(mask))
    assert float(SequenceCrossEntropy()(TARGETS, logits)) == pytest.approx((mask * COSTS).sum() / 4, rel=1e-6)
    weighted = SequenceCrossEntropy(reduction="sum")(TARGETS, logits, OF_WORDS)
    assert float(weighted) == pytest.approx((mask * OF_WORDS * COSTS).sum(), rel=1e-6)


def test_computes_in_the_dtype_asked_for():
    loss = SequenceCrossEntropy(dtype="float64")(TARGETS, LOGITS.astype("float64"))
    assert loss.dtype == "float64"
    assert float(loss) == pytest.approx(COSTS.sum() / 4, rel=1e-6)


def test_a_mean_by_weights_of_sequences_takes_none_of_words():
    loss, targets, logits = SequenceCrossEntropy("mean_with_sample_weight"), np.zeros((2, 5), int), np.zeros((2, 5, 7))
    assert float(loss(targets, logits, np.array([1.0, 0.0]))) == pytest.approx(5 * math.log(7), rel=1e-6)
    with pytest.raises(ValueError, match=r"Expected weights of whole sequences, \[B\].*Received: weights of words"):
        loss(targets, logits, np.ones((2, 5)))


@pytest.mark.parametrize("num_steps", [1, 4])
def test_costs_of_sequences_whose_weights_stand_in_a_column(num_steps):
    targets, logits = np.zeros((3, num_steps), int), np.zeros((3, num_steps, 7), "float32")
    costs = SequenceCrossEntropy(reduction=None)(targets, logits, np.array([[1.0], [0.0], [2.0]]))
    np.testing.assert_allclose(costs, num_steps * math.log(7) * np.array([1.0, 0.0, 2.0]), rtol=1e-6)


def test_logits_of_our_layers_are_checked_and_weighted_as_others():
    x, targets = np.random.default_rng(0).standard_normal((2, 3, 5)).astype("float32"), np.ones((2, 3), "int32")
    layer = kerasptb.layers.Dense(7)
    logits = layer(x)
    plain = keras.ops.convert_to_tensor(keras.ops.convert_to_numpy(logits))
    for weights in (2.0, np.float32([1, 3]), np.float32([[1], [3]])):
        expected = float(SequenceCrossEntropy()(targets, plain, weights))
        assert float(SequenceCrossEntropy()(targets, logits, weights)) == pytest.approx(expected, rel=1e-5)
    with pytest.raises(ValueError, match=r"Expected logits of the shape \[B, T, V\]"):
        SequenceCrossEntropy()(targets[0], layer(x[0]))
