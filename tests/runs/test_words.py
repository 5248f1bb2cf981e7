"""The words of a run's training text."""

import os
import shutil

import numpy as np
import pytest

from kerasptb.data import Corpus, Subwords, Vocabulary
from kerasptb.export import export_run
from kerasptb.models import LanguageModel
from kerasptb.models.weights import save_weights
from kerasptb.run import load_run
from kerasptb.runs.damage import RunError
from kerasptb.runs.files import WORDS
from kerasptb.runs.words import load_words, make_words

TEXT = "The cat saw the dog.\nA dog saw Anna's cat, and Anna saw 12 cats.\n"
SIZES = {"embedding_size": 4, "units": [5], "batch_size": 2, "num_steps": 3, "init_scale": 1.0, "seed": 1}


@pytest.fixture(scope="module")
def tokenizer():
    return Subwords.characters()


@pytest.fixture
def make(make_run, tmp_path, tokenizer):
    def make(name="run", tokenizer=tokenizer, **training):
        settings = {**SIZES, "vocabulary_size": len(tokenizer)}
        parts = {"data": {"tokens": tokenizer.kind}} if tokenizer.spells else {}
        if training:
            parts["training"] = {"preset": "notebook", "epochs": 1, **training}
        return make_run(tmp_path / name, tokenizer, settings, **parts)

    return make


def words_of(run):
    return (run.folder / WORDS).read_text().split("\n")[:-1]


def test_the_words_of_a_text_are_those_it_has_twice_the_most_frequent_first(make, tokenizer, monkeypatch):
    run = make()
    make_words(run, tokenizer.encode(TEXT * 2))
    assert words_of(run)[:3] == ["saw", "cat", "dog"]
    assert set(words_of(run)) == {"saw", "cat", "dog", "A", "Anna", "Anna's", "The", "and", "cats", "the"}
    whole = words_of(run)
    monkeypatch.setattr("kerasptb.runs.words._TOKENS", len(tokenizer.encode(TEXT)))
    make_words(run, tokenizer.encode(TEXT * 2))
    assert words_of(run) == whole


def test_people_may_add_words(make, tokenizer):
    run = make()
    assert load_words(run) is None
    make_words(run, tokenizer.encode(TEXT * 2))
    assert "zebra" not in load_words(run)
    with (run.folder / WORDS).open("a") as file:
        file.write("Zebra\n\n")
    assert "zebra" in load_words(run)
    make_words(run, tokenizer.encode(TEXT * 2))
    assert words_of(run)[-1] == "Zebra"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"\xff\xfe\nzebra\n", "can't decode byte 0xff"),
        ("café\n".encode("latin-1"), "can't decode byte 0xe9"),
        (bytes(9), "a byte of 0"),
        (b"zebra\n" * 9, "more than 50 bytes"),
        ("/dev/zero", "no regular file"),
        (None, "no regular file"),
    ],
    ids=["bytes", "latin-1", "NUL", "large", "device", "pipe"],
)
def test_what_is_no_file_of_words_is_told(make, content, reason, monkeypatch):
    run = make()
    monkeypatch.setattr("kerasptb.runs.words._LARGEST", 50)
    path = run.folder / WORDS
    if content is None:
        os.mkfifo(path)
    elif isinstance(content, str):
        path.symlink_to(content)
    else:
        path.write_bytes(content)
    with pytest.raises(RunError, match=rf"words\.txt is damaged \(.*{reason}.*\)\. Remove it, or write it anew"):
        load_words(run)


def test_what_began_with_a_run_knows_its_words(make, tokenizer):
    first = make("first")
    make_words(first, tokenizer.encode("zebra zebra saw saw "))
    run = make("second", start_from=str(first.folder))
    make_words(run, tokenizer.encode(TEXT * 2))
    assert words_of(run)[0] == "saw"
    assert words_of(run)[-1] == "zebra"
    assert words_of(run).count("saw") == 1
    shutil.rmtree(first.folder)
    alone = make("third", start_from=str(first.folder))
    make_words(alone, tokenizer.encode(TEXT * 2))
    assert "zebra" not in words_of(alone)


def test_a_vocabulary_of_words_is_its_own_list(make):
    run = make(tokenizer=Vocabulary(["the", "cat", "<unk>"]))
    make_words(run, np.zeros(9, "int32"))
    assert not (run.folder / WORDS).exists()
    assert "Cat" in load_words(run)
    assert "dog" not in load_words(run)


def test_counting_writes_the_words_and_what_reads_knows_them(make, tokenizer, tmp_path):
    run = make()
    save_weights(LanguageModel(**run.settings.model.as_dict()), run.weights_path("best"))
    ids = np.array(tokenizer.encode(TEXT * 8), "int32")
    run.count(Corpus(ids, ids[:99], ids[:99], tokenizer, name="small", source="made up"), report=lambda line: None)
    assert words_of(run)[0] == "saw"
    assert "cat" in load_run(run.folder).reader.lexicon
    assert "cat" in load_run(run.folder).using(counts=False).reader.lexicon
    assert words_of(load_run(export_run(load_run(run.folder), tmp_path / "exported"))) == words_of(run)


def test_english_knows_its_words():
    lexicon = load_words(load_run("english"))
    assert len(lexicon.words) > 40_000
    assert "receive" in lexicon
    assert "recieve" not in lexicon
