import json
import os

import numpy as np
import pytest

from kerasptb.data import corpus as corpora
from kerasptb.data import load_corpus
from kerasptb.data.corpus import open_text
from kerasptb.data.text_format import TextFormat
from kerasptb.pipeline import make_dataset


@pytest.fixture
def text(tmp_path, monkeypatch):
    """A function that writes a text of one's own, large enough to be stored."""
    monkeypatch.setattr(corpora, "STORED_BYTES", 10)

    def write(train="b a\nb <unk>\n" * 9):
        folder = tmp_path / "text"
        folder.mkdir(exist_ok=True)
        for split, content in {"train": train, "valid": "a b\n", "test": "b\n"}.items():
            (folder / f"{split}.txt").write_text(content)
        return folder

    return write


@pytest.fixture
def encoded(monkeypatch):
    """The number of times that a text was encoded."""
    calls, encode = [], corpora.encode_words
    monkeypatch.setattr(corpora, "encode_words", lambda *arguments: calls.append(arguments) or encode(*arguments))
    return calls


def load(folder, cache, **arguments):
    return load_corpus(folder, cache_dir=cache, **arguments)


def test_a_large_text_is_encoded_once(text, tmp_path, encoded, monkeypatch):
    folder, cache = text(), tmp_path / "cache"
    first, again = load(folder, cache), load(folder, cache)
    assert len(encoded) == 1
    monkeypatch.setattr(corpora, "STORED_BYTES", 10**6)
    in_memory = load(folder, cache)
    for corpus in (first, again):
        assert isinstance(corpus.train, np.memmap)
        assert not corpus.train.flags.writeable
        assert corpus.digest == in_memory.digest
        assert corpus.vocabulary == in_memory.vocabulary
        assert (corpus.name, corpus.source, corpus.location) == (in_memory.name, in_memory.source, in_memory.location)
        for split in ("train", "valid", "test"):
            assert corpus.split(split).tolist() == in_memory.split(split).tolist()


def test_a_text_that_was_read_with_other_signs_is_encoded_again(text, tmp_path, encoded):
    folder, cache = text("b a’\nb <unk>\n" * 9), tmp_path / "cache"
    own = load(folder, cache)
    format = TextFormat(tokenizer=own.vocabulary, absent_signs=("’",))
    other, again = (corpora.read_corpus(open_text(folder), format, cache) for _ in range(2))
    assert len(encoded) == 2
    assert other.train.tolist() == again.train.tolist() != own.train.tolist()  # "a'" is unknown
    assert load(folder, cache).train.tolist() == own.train.tolist()
    assert len(encoded) == 2


def test_a_run_s_vocabulary_finds_the_text_that_it_was_made_of(text, tmp_path, encoded):
    folder, cache = text(), tmp_path / "cache"
    corpus = load(folder, cache, vocabulary_size=3)
    assert load(folder, cache, tokenizer=corpus.vocabulary).train.tolist() == corpus.train.tolist()
    assert len(encoded) == 1
    assert len(load(folder, cache).vocabulary) == 4
    assert len(load(folder, cache, vocabulary_size=3).vocabulary) == 3
    assert len(encoded) == 2


def test_a_text_that_has_changed_takes_the_place_of_what_it_was(text, tmp_path, encoded):
    cache = tmp_path / "cache"
    load(text(), cache)
    assert load(text("a a a <unk>\n" * 9), cache).vocabulary.words[0] == "a"
    assert len(encoded) == 2
    assert len(list((cache / "texts").iterdir())) == 1


def test_what_is_damaged_is_made_again(text, tmp_path, encoded):
    folder, cache = text(), tmp_path / "cache"
    expected = load(folder, cache).train.tolist()
    (entry,) = (cache / "texts").iterdir()
    with (entry / "train.ids").open("r+b") as file:
        file.truncate(8)
    assert load(folder, cache).train.tolist() == expected
    (entry,) = (cache / "texts").iterdir()
    (entry / "text.json").write_text("{")
    assert load(folder, cache).train.tolist() == expected
    (entry,) = (cache / "texts").iterdir()
    scrambled = np.array(expected, "<i4")[::-1]
    assert scrambled.tolist() != expected
    scrambled.tofile(entry / "train.ids")
    corpus = load(folder, cache)
    assert (corpus.train.tolist(), load(folder, cache).train.tolist()) == (expected, expected)
    assert len(encoded) == 4


def test_what_fails_leaves_nothing(text, tmp_path):
    with pytest.raises(ValueError, match="has one"):
        load(text("a b <unk>"), tmp_path / "cache")
    assert list((tmp_path / "cache" / "texts").iterdir()) == []


def test_what_a_killed_process_left_is_removed_a_day_later(text, tmp_path):
    for name, age in ((".old", 2 * 24 * 3600), (".new", 60)):
        (tmp_path / "cache" / "texts" / name).mkdir(parents=True)
        then = (tmp_path / "cache" / "texts" / name).stat().st_mtime - age
        os.utime(tmp_path / "cache" / "texts" / name, (then, then))
    load(text(), tmp_path / "cache")
    assert {path.name for path in (tmp_path / "cache" / "texts").glob(".*")} == {".new"}


def test_without_a_cache_the_ids_are_in_memory(text, tmp_path, caplog):
    (tmp_path / "file").write_text("")
    corpus = load(text(), tmp_path / "file")
    assert not isinstance(corpus.train, np.memmap)
    assert "stays in memory" in caplog.text


def test_batches_are_cut_from_the_file(text, tmp_path):
    folder = text("a b c d <unk>\n" * 40)
    corpus = load(folder, tmp_path / "cache")
    batches = list(make_dataset(corpus.train, 4, 5).as_numpy_iterator())
    expected = list(make_dataset(np.array(corpus.train), 4, 5).as_numpy_iterator())
    np.testing.assert_array_equal(batches, expected)
    assert json.loads(next((tmp_path / "cache" / "texts").glob("*/text.json")).read_text())["digest"] == corpus.digest
