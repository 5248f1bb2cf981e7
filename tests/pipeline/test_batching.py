import doctest

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kerasptb.data import DataError, ptb_iterator
from kerasptb.data.streams import count_batches
from kerasptb.pipeline import batching, make_dataset

sizes = {"num_words": st.integers(0, 200), "batch_size": st.integers(1, 9), "num_steps": st.integers(1, 9)}


def specification(ids, batch_size, num_steps):
    """Word t of row i of batch k, one by one: the stream's start, whole batches before, steps within."""
    stream_length = len(ids) // batch_size
    num_batches = max((stream_length - 1) // num_steps, 0)
    return [
        [
            [[ids[i * stream_length + k * num_steps + t + ahead] for t in range(num_steps)] for i in range(batch_size)]
            for ahead in (0, 1)
        ]
        for k in range(num_batches)
    ]


def batches(dataset):
    return [[x.tolist(), y.tolist()] for x, y in dataset.as_numpy_iterator()]


@settings(max_examples=30)
@given(**sizes)
def test_batches_are_the_specifications_and_the_old_readers(num_words, batch_size, num_steps):
    ids = np.random.default_rng(num_words).integers(0, 50, num_words)
    expected = specification(ids.tolist(), batch_size, num_steps)
    if not expected:
        for make in (lambda *arguments: list(ptb_iterator(*arguments)), make_dataset):
            with pytest.raises(ValueError, match=f"has {num_words} words.* = {batch_size * (num_steps + 1)}"):
                make(ids, batch_size, num_steps)
        return
    assert [[x.tolist(), y.tolist()] for x, y in ptb_iterator(ids, batch_size, num_steps)] == expected
    dataset = make_dataset(ids, batch_size, num_steps)
    assert batches(dataset) == expected
    assert int(dataset.cardinality()) == len(expected) == count_batches(num_words, batch_size, num_steps)
    for spec in dataset.element_spec:
        assert spec.shape.as_list() == [batch_size, num_steps]
        assert spec.dtype == "int32"


def test_rows_continue_from_batch_to_batch():
    rows = np.concatenate([x for x, _ in make_dataset(np.arange(1000), 7, 5).as_numpy_iterator()], axis=1)
    assert rows.shape == (7, 140)
    np.testing.assert_array_equal(np.diff(rows, axis=1), 1)
    np.testing.assert_array_equal(rows[:, 0], np.arange(7) * 142)


def test_dataset_repeats_itself():
    dataset = make_dataset(np.arange(100), 3, 4)
    assert batches(dataset) == batches(dataset)


@settings(max_examples=20)
@given(num_words=st.integers(2, 60), num_steps=st.integers(1, 70))
def test_every_word_is_a_target_once(num_words, num_steps):
    dataset = make_dataset(np.arange(num_words), 1, num_steps, every_word=True)
    pairs = list(dataset.as_numpy_iterator())
    assert np.concatenate([x[0] for x, _ in pairs]).tolist() == list(range(num_words - 1))
    assert np.concatenate([y[0] for _, y in pairs]).tolist() == list(range(1, num_words))
    assert [x.shape[1] for x, _ in pairs[:-1]] == [num_steps] * (len(pairs) - 1)
    assert int(dataset.cardinality()) == len(pairs) == -(-(num_words - 1) // num_steps)


def test_every_word_needs_one_stream():
    with pytest.raises(DataError, match=r"Expected batch_size=1 with every_word=True\. Received: batch_size=2"):
        make_dataset(np.arange(100), 2, 5, every_word=True)
    with pytest.raises(DataError, match="1 words"):
        make_dataset(np.arange(1), 1, 5, every_word=True)


@pytest.mark.parametrize("epoch", [0, 4])
def test_each_pass_reads_the_next_part(epoch):
    whole = batches(make_dataset(np.arange(72), 2, 3))
    assert len(whole) == 11
    dataset = make_dataset(np.arange(72), 2, 3, parts=4, epoch=epoch)
    assert int(dataset.cardinality()) == 2
    # The three batches that are left over are the last ones of a reading, and the first ones of the next.
    firsts = [0, 2, 4, 6, 3, 5, 7, 9, 0, 2]
    for first in firsts[epoch:]:
        assert batches(dataset) == whole[first : first + 2]
    assert batches(make_dataset(np.arange(72), 2, 3, parts=1)) == whole


def test_parts_are_no_more_than_batches():
    with pytest.raises(DataError, match=r"at most as many parts as batches, 11\. Received: parts=12"):
        make_dataset(np.arange(72), 2, 3, parts=12)
    with pytest.raises(DataError, match=r"one of every_word, jitter and several parts\. Received: .*parts=2"):
        make_dataset(np.arange(72), 2, 3, parts=2, jitter=True)


def test_too_short_says_the_numbers():
    with pytest.raises(DataError, match=r"it has 1,259 words.*batch_size=60 with num_steps=20 needs .* = 1,260"):
        make_dataset(np.zeros(1259, np.int32), 60, 20)
    assert int(make_dataset(np.zeros(1260, np.int32), 60, 20).cardinality()) == 1


def test_no_thread_tunes_the_dataset_and_holds_up_its_end():
    dataset = make_dataset(np.arange(100), 4, 5)
    for end in (dataset, dataset.take(2), dataset.map(lambda x, y: (y, x))):
        assert end.options().autotune.enabled is False


@pytest.mark.parametrize("name", ["batch_size", "num_steps"])
@pytest.mark.parametrize("value", [0, -1, 2.0, "3", True, None])
@pytest.mark.parametrize("every_word", [False, True])
def test_wrong_sizes_are_named(name, value, every_word):
    if every_word and name == "batch_size":
        value = 0
    with pytest.raises(DataError, match=f"{name}.* Received: {name}={value!r}"):
        make_dataset(np.arange(100), **{"batch_size": 1, "num_steps": 5, name: value}, every_word=every_word)


@pytest.mark.parametrize("ids", [np.zeros((4, 4), np.int32), np.zeros(16), 3])
def test_wrong_ids_are_named(ids):
    with pytest.raises(DataError, match="one row of integers"):
        make_dataset(ids, 1, 1)


def test_an_id_beyond_int32_is_named():
    ids = np.arange(16, dtype=np.int64)
    assert batches(make_dataset(ids, 3, 2)) == specification(list(range(16)), 3, 2)
    ids[5] = 2**32 + 1  # 1 in int32
    with pytest.raises(DataError, match=f"within int32. Received: {2**32 + 1}"):
        make_dataset(ids, 3, 2)


def test_numpy_sizes_are_sizes():
    assert batches(make_dataset(range(16), np.int64(3), np.int32(2))) == specification(list(range(16)), 3, 2)


def test_the_dataset_keeps_its_own_copy():
    ids = np.arange(50, dtype=np.int32)
    dataset = make_dataset(ids, 2, 3)
    before = batches(dataset)
    ids[:] = 0
    assert batches(dataset) == before


def test_examples_run():
    assert doctest.testmod(batching).failed == 0
    assert doctest.testmod(batching).attempted == 2


@pytest.mark.parametrize(
    ("num_words", "batch_size", "options"), [(16, 3, {}), (16, 1, {"every_word": True}), (2, 1, {"every_word": True})]
)
def test_batches_without_tensorflow_are_the_same(monkeypatch, num_words, batch_size, options):
    ids = np.arange(num_words) + 7
    expected = list(make_dataset(ids, batch_size, 2, **options).as_numpy_iterator())
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    batches = make_dataset(ids, batch_size, 2, **options)
    assert len(batches) == len(expected)
    for i, pair in enumerate(expected):
        for found, wanted in zip(batches[i], pair, strict=True):
            np.testing.assert_array_equal(found, wanted)
            assert found.dtype == np.int32
    np.testing.assert_array_equal(batches[-1][0], expected[-1][0])
    taken = batches.take(1)
    assert len(taken) == 1
    np.testing.assert_array_equal(taken[0][0], expected[0][0])
    assert len(batches.take(100)) == len(batches.take(-1)) == len(expected)


@pytest.mark.slow
def test_with_jax_a_training_reads_the_parts_in_order(run_under_jax, tmp_path):
    program = tmp_path / "program.py"
    program.write_text("""
import numpy as np
from kerasptb import LanguageModel
from kerasptb.pipeline import make_dataset
from kerasptb.pipeline.numpy_batches import NumpyBatches

seen, get = [], NumpyBatches.__getitem__
def noted(self, index):
    pair = get(self, index)
    seen.append(int(pair[0][0, 0]))
    return pair
NumpyBatches.__getitem__ = noted
model = LanguageModel(80, 4, (5,), batch_size=2, num_steps=3, seed=1)
model.compile()
model.fit(make_dataset(np.arange(72), 2, 3, parts=4, epoch=2), epochs=3, verbose=0)
print(list(dict.fromkeys(seen)))
""")
    told = run_under_jax(str(program))
    # The third and the last part of a reading, and the first of the next, which begins after three batches.
    assert told.splitlines()[-1] == "[12, 15, 18, 21, 9]"
