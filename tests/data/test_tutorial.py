import numpy as np
import pytest

from kerasptb.data import ptb_iterator, ptb_raw_data


@pytest.fixture
def folder(tmp_path):
    # Named like a word that load_corpus understands: a folder is a folder here.
    folder = tmp_path / "sample"
    folder.mkdir()
    for split, text in (("train", "b a\nb <unk>\n"), ("valid", "a c\n"), ("test", "b b")):
        (folder / f"ptb.{split}.txt").write_text(text)
    return folder


def test_raw_data(folder, monkeypatch):
    # Counts: <eos> 2, b 2, <unk> 1, a 1; "<" sorts before letters.
    expected = ([1, 3, 0, 1, 2, 0], [3, 2, 0], [1, 1], 4)
    assert ptb_raw_data(folder) == expected
    monkeypatch.chdir(folder.parent)
    assert ptb_raw_data("sample") == expected


def test_iterator_raises_at_the_first_batch_only():
    iterator = ptb_iterator([1, 2, 3], 1, 3)
    with pytest.raises(ValueError, match="Decrease batch_size or num_steps"):
        next(iterator)


def test_iterator_yields_arrays_of_its_own():
    ids = np.arange(10, dtype=np.int32)
    x, y = next(ptb_iterator(ids, 2, 2))
    assert x.dtype == y.dtype == np.int32
    x[:] = 0
    np.testing.assert_array_equal(ids, np.arange(10))
