import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kerasptb.data import DataError
from kerasptb.pipeline import make_dataset
from kerasptb.pipeline.passes import Passes, jittered_lengths


def test_lengths_lie_around_the_paper_s():
    lengths = jittered_lengths(929_589 // 20, 70)
    halves = lengths[lengths < 55]
    assert len(halves) == round(len(lengths) / 20)
    assert halves.mean() == pytest.approx(35, abs=0.5)
    assert lengths[lengths >= 55].mean() == pytest.approx(70, abs=0.1)
    assert lengths[lengths >= 55].std() == pytest.approx(5, rel=0.1)
    assert set(lengths % 5) == {0}
    assert len(set(lengths)) <= 14


@given(stream_length=st.integers(0, 400), num_steps=st.integers(1, 40))
def test_a_pass_reads_as_much_of_a_stream_as_fits(stream_length, num_steps):
    lengths = jittered_lengths(stream_length, num_steps)
    assert lengths.sum() <= max(stream_length - 1, 0)
    assert (lengths >= 1).all()
    if stream_length > 20 * num_steps:
        assert stream_length - 1 - lengths.sum() < 3 * num_steps


def passes(count, **arguments):
    dataset = make_dataset(np.arange(2000), 3, 14, jitter=True, **arguments)
    return [list(dataset.as_numpy_iterator()) for _ in range(count)]


def test_rows_continue_and_targets_are_the_next_words():
    (batches,) = passes(1)
    assert len(batches) == int(make_dataset(np.arange(2000), 3, 14, jitter=True).cardinality())
    x, y = (np.concatenate(part, axis=1) for part in zip(*batches, strict=True))
    np.testing.assert_array_equal(y, x + 1)
    np.testing.assert_array_equal(x - x[:, :1], np.tile(np.arange(x.shape[1]), (3, 1)))
    np.testing.assert_array_equal(x[:, 0], [0, 666, 1332])


def test_each_pass_has_the_same_lengths_in_another_order():
    first, second = ([x.shape[1] for x, _ in batches] for batches in passes(2, seed=1))
    assert first != second
    assert sorted(first) == sorted(second)
    again, other = ([x.shape[1] for x, _ in passes(1, seed=seed)[0]] for seed in (1, 2))
    assert first == again != other


def test_a_training_that_goes_on_sees_the_passes_that_follow():
    lengths = [[x.shape[1] for x, _ in batches] for batches in passes(3, seed=5)]
    assert [[x.shape[1] for x, _ in batches] for batches in passes(2, seed=5, epoch=1)] == lengths[1:]


@given(num_steps=st.integers(1, 40), further=st.integers(0, 400))
def test_two_passes_read_every_word(num_steps, further):
    streams = np.arange(num_steps + 1 + further)[None]
    next_pass = Passes(streams, jittered_lengths(streams.shape[1], num_steps), seed=1, epoch=0)
    first, second = (np.concatenate([y for _, y in next_pass()], axis=1)[0].tolist() for _ in range(2))
    assert len(first) == len(second)
    assert sorted({*first, *second}) == list(range(1, streams.shape[1]))


def test_refuses_what_does_not_go_together():
    with pytest.raises(DataError, match="Expected one of every_word, jitter"):
        make_dataset(np.arange(100), 1, 5, every_word=True, jitter=True)
    with pytest.raises(DataError, match=r"too short for one batch: it has 30 words"):
        make_dataset(np.arange(30), 10, 9, jitter=True)


def test_without_tensorflow_the_passes_are_the_same():
    program = """
import numpy as np
from kerasptb.pipeline import make_dataset
batches = make_dataset(np.arange(2000), 3, 14, jitter=True, seed=1)
for _ in range(2):
    print([int(batches[0][0][0, 0]), *(batches[i][0].shape[1] for i in range(len(batches)))])
    assert all((batches[i][1] == batches[i][0] + 1).all() for i in range(len(batches)))
    batches.on_epoch_end()
"""
    result = subprocess.run(
        [sys.executable, "-c", program], env={"KERAS_BACKEND": "numpy"}, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    expected = [[int(batches[0][0][0, 0]), *(x.shape[1] for x, _ in batches)] for batches in passes(2, seed=1)]
    assert result.stdout.split("\n")[:2] == [str(numbers) for numbers in expected]
