import math

import keras
import numpy as np
import pytest

from kerasptb.losses import SequenceCrossEntropy


def test_uniform_logits_cost_num_steps_times_log_vocabulary():
    loss = SequenceCrossEntropy()(np.zeros((3, 20), "int32"), np.zeros((3, 20, 10000), "float32"))
    assert float(loss) == pytest.approx(20 * math.log(10000), rel=1e-6)


def test_is_num_steps_times_keras_mean():
    random = np.random.default_rng(0)
    targets, logits = random.integers(0, 7, (4, 5)), random.normal(size=(4, 5, 7)).astype("float32")
    mean = keras.losses.SparseCategoricalCrossentropy(from_logits=True)(targets, logits)
    assert float(SequenceCrossEntropy()(targets, logits)) == pytest.approx(5 * float(mean), rel=1e-6)


def test_without_reduction_gives_the_cost_of_each_sequence():
    logits = np.log(np.array([[[0.5, 0.5], [0.25, 0.75]], [[0.5, 0.5], [0.5, 0.5]]], "float32"))
    costs = SequenceCrossEntropy(reduction=None)(np.array([[0, 0], [1, 1]]), logits)
    np.testing.assert_allclose(costs, [math.log(8), math.log(4)], rtol=1e-6)
