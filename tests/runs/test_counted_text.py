"""The counts of a run's training text: made, kept, read; and files that are not what was written."""

import dataclasses
import os
import re

import numpy as np
import pytest

from kerasptb.data import Corpus, Vocabulary
from kerasptb.models import LanguageModel
from kerasptb.models.weights import save_weights
from kerasptb.reading import CountedReader, Reader
from kerasptb.reading.counts import NUM_WEIGHTS
from kerasptb.run import load_run
from kerasptb.runs import RunError
from kerasptb.runs.counted_text import load_counts, write_counts
from kerasptb.runs.files import COUNTS, lock_run

WORDS = ["a", "b", "c", "d", "<unk>", "<eos>"]
SIZES = {"embedding_size": 4, "units": [5], "batch_size": 2, "num_steps": 3, "init_scale": 1.0, "seed": 1}


def corpus(train="abcdabcd" * 20, valid="abcdabcd" * 50, test="abcdab" * 5, words=WORDS):
    ids = (np.array(["abcd".index(word) for word in text], "int32") for text in (train, valid, test))
    return Corpus(*ids, Vocabulary(words), name="small", source="made up")


def make(make_run, folder, words=WORDS):
    run = make_run(folder, Vocabulary(words), {**SIZES, "vocabulary_size": len(words)})
    save_weights(LanguageModel(**run.settings.model.as_dict()), run.weights_path("best"))
    return run


@pytest.fixture
def run(make_run, tmp_path):
    return make(make_run, tmp_path / "run")


@pytest.fixture
def counted(run):
    assert run.count(corpus(), report=lambda line: None)
    return load_run(run.folder)


def content(run):
    """The file of a run's counts; b"" if there is none."""
    path = run.folder / COUNTS
    return path.read_bytes() if path.exists() else b""


def test_counts_are_the_same_bytes_each_time_and_what_reads_uses_them(run):
    told = []
    assert run.count(corpus(), told.append)
    first = content(run)
    assert run.count(corpus(), told.append)
    assert content(run) == first != b""
    figures = [line.partition(" (in ")[0].removesuffix(" (in") for line in told]
    assert figures[0] == figures[1]
    counted = load_run(run.folder)
    assert isinstance(counted.reader, CountedReader)
    (best,) = counted.suggest("b c", 1)
    assert best.word == "d"
    assert best.probability > 0.1 + counted.using(counts=False).suggest("b c", 1)[0].probability
    alone = counted.using(counts=False)
    assert type(alone.reader) is Reader
    assert alone.evaluate_counts(corpus()) is None
    assert alone.suggest("b c", 4) == run.using(counts=False).suggest("b c", 4) != counted.suggest("b c", 4)
    static, going_on = counted.evaluate_counts(corpus())
    assert going_on.perplexity < static.perplexity < counted.evaluate(corpus()).perplexity / 1.5
    assert f"becomes {counted.evaluate_counts(corpus(), 'valid')[0].perplexity:.2f}, and" in told[0]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ({"train": "abab", "valid": "cdcdcd"}, "Counts of the training text do not help: perplexity 4.41 becomes 4.41"),
        ({"valid": "a"}, "Counts need a training and a validation"),
        ({"train": "a"}, "Counts need a training and a validation"),
        ({"valid": ""}, "Counts need a training and a validation"),
    ],
)
def test_counts_that_do_not_help_are_not_kept_nor_are_old_ones(counted, text, line):
    told = []
    assert not counted.count(corpus(**text), told.append)
    assert content(counted) == b""
    assert len(told) == 1
    assert told[0].split(" ")[:6] == line.split(" ")[:6]
    assert load_counts(counted) is None
    assert type(load_run(counted.folder).reader) is Reader


def test_a_text_of_too_many_tokens_is_told(run):
    text, told = dataclasses.replace(corpus(), train=np.broadcast_to(np.int32(0), (1 << 31,))), []
    assert not run.count(text, told.append)
    assert "of 2 to 2^31 tokens" in told[0]


def test_texts_with_gaps_in_memory_are_counted(counted):
    text, before = corpus(), content(counted)
    apart = dataclasses.replace(text, train=np.repeat(text.train, 2)[::2], valid=np.repeat(text.valid, 3)[::3])
    assert counted.count(apart, print)
    assert content(counted) == before


@pytest.mark.parametrize("part", ["train", "valid"])
@pytest.mark.parametrize("wrong", [6, -1, 2**31 - 1])
def test_ids_out_of_range_do_not_reach_the_library(run, part, wrong):
    text = corpus()
    getattr(text, part)[7] = wrong
    with pytest.raises(ValueError, match=rf"word ids in \[0, 6\).* Received: {wrong}"):
        run.count(text, print)


@pytest.mark.parametrize("tokens", ["", "a", "aa", "a" * 100_000])
def test_odd_training_texts_are_counted_or_not(run, tokens):
    if run.count(corpus(train=tokens, valid="aaaaaaaa"), print):
        probability = np.exp(load_run(run.folder).reader.read_typed("a a").log_probabilities, dtype="float64")
        assert probability.sum() == pytest.approx(1, abs=1e-5)
        alone = np.exp(run.using(counts=False).reader.read_typed("a a").log_probabilities)
        assert probability[0] > alone[0] + 0.1
    assert (len(tokens) > 1) == bool(content(run))


def test_a_vocabulary_of_one_word(make_run, tmp_path):
    run = make(make_run, tmp_path / "one", ["a"])
    assert not run.count(corpus("aaaa" * 9, "aaaa", "aaaa", ["a"]), print)  # which is certain without them


def test_what_reads_keeps_the_counts_that_it_has_opened(counted):
    before = counted.reader.read_typed("b c").log_probabilities
    assert counted.count(corpus(train="dcbadcba" * 20, valid="dcbadcba" * 50), print)
    np.testing.assert_array_equal(counted.reader.read_typed("b c").log_probabilities, before)
    assert np.abs(load_run(counted.folder).reader.read_typed("b c").log_probabilities - before).max() > 1


def test_who_stops_the_counting_keeps_the_counts_before(counted, monkeypatch):
    def stopped(*arguments):
        raise KeyboardInterrupt

    before = content(counted)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("kerasptb.runs.counted_text.learn_weights", stopped)
        counted.count(corpus(), print)
    assert content(counted) == before


def test_a_run_without_counts_stays_so_with_other_settings(counted):
    alone = counted.using(counts=False)
    assert not alone.using(backend="keras").with_counts
    assert alone.using(counts=True).with_counts
    assert counted.using(backend="keras").with_counts


def test_counting_waits_for_no_training(run):
    with lock_run(run.folder), pytest.raises(RunError, match="Another training is at work in"):
        run.count(corpus(), print)


def flip(path, places):
    data = bytearray(path.read_bytes())
    for place in places:
        data[place] ^= 0x10
    path.write_bytes(data)


def replace(path, by):
    path.unlink()
    by(path)


def write_archive(path):
    with path.open("wb") as file:
        np.savez(file, a=np.zeros(9, "int32"))


DAMAGES = {
    "cut": lambda path: path.write_bytes(path.read_bytes()[:-4]),
    "shorter": lambda path: np.save(path, np.load(path)[:-1]),
    "without an order": lambda path: np.save(path, np.load(path)[160:]),
    "weights alone": lambda path: np.save(path, np.load(path)[-3 * NUM_WEIGHTS :]),
    "empty": lambda path: path.write_bytes(b""),
    "a token flipped": lambda path: flip(path, [140]),
    "a weight flipped": lambda path: flip(path, [-3000]),
    "the digest flipped": lambda path: flip(path, [-3]),
    "its header flipped": lambda path: flip(path, [30, 31, 32]),
    "floats": lambda path: np.save(path, np.load(path).astype("float32")),
    "a column": lambda path: np.save(path, np.load(path)[:, np.newaxis]),
    "objects": lambda path: np.save(path, np.array([{}, {}]), allow_pickle=True),
    "an archive": lambda path: replace(path, write_archive),
    "a folder": lambda path: replace(path, os.mkdir),
    "a pipe": lambda path: replace(path, os.mkfifo),
}


@pytest.mark.parametrize("how", DAMAGES)
def test_damaged_counts_are_told_with_the_remedy_which_helps(counted, how):
    sound = content(counted)
    DAMAGES[how](counted.folder / COUNTS)
    run = load_run(counted.folder)
    with pytest.raises(RunError) as told:
        run.suggest("a", 1)
    assert re.fullmatch(rf"{counted.folder}/\S+ is damaged \(.*\)\. `kerasptb.*", str(told.value))
    assert COUNTS in str(told.value)
    assert str(told.value).endswith("`kerasptb count RUN` makes the counts anew; --counts none does without.")
    assert "\n" not in str(told.value)
    assert run.using(counts=False).suggest("a", 1)
    if how != "a folder":
        assert run.count(corpus(), print)
        assert content(run) == sound


def test_counts_of_a_run_with_more_words_are_refused(make_run, counted, tmp_path):
    run = make(make_run, tmp_path / "other", [*WORDS[:4], "e", *WORDS[4:]])
    text = corpus(words=[*WORDS[:4], "e", *WORDS[4:]])
    text.train[:8] = 6
    assert run.count(text, print)
    (counted.folder / COUNTS).write_bytes(content(run))
    with pytest.raises(RunError, match=r"counts\.npy is damaged \(it is not what was written for this tokenizer"):
        load_run(counted.folder).suggest("a", 1)


def test_counts_go_with_the_weights_that_they_were_learned_on(make_run, counted, tmp_path):
    """Of another network over the same words, and of the run itself once its weights are others."""
    run = make(make_run, tmp_path / "other")
    save_weights(LanguageModel(**{**run.settings.model.as_dict(), "seed": 2}), run.weights_path("best"))
    assert run.count(corpus(), print)
    before = content(counted)
    (counted.folder / COUNTS).write_bytes(content(run))
    with pytest.raises(RunError, match=r"for this tokenizer and these weights\)\. `kerasptb count RUN` makes"):
        load_run(counted.folder).suggest("a", 1)
    (counted.folder / COUNTS).write_bytes(before)
    assert load_run(counted.folder).suggest("a", 1)
    save_weights(LanguageModel(**{**run.settings.model.as_dict(), "seed": 3}), counted.weights_path("best"))
    with pytest.raises(RunError, match="these weights"):
        load_run(counted.folder).suggest("a", 1)


@pytest.mark.parametrize("change", [lambda order: order + 1, lambda order: order - 1])
def test_positions_out_of_range_do_not_reach_the_library_whatever_the_digest(counted, change):
    counts = load_counts(counted)
    write_counts(counted, dataclasses.replace(counts, order=change(counts.order)))
    with pytest.raises(RunError, match=r"out of range"):
        load_run(counted.folder).suggest("a", 1)


@pytest.mark.parametrize("which", ["weights", "going_on", "alone"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_no_numbers_are_told_whatever_the_digest(counted, which, value):
    write_counts(counted, dataclasses.replace(load_counts(counted), **{which: np.full(NUM_WEIGHTS, value, "f4")}))
    with pytest.raises(RunError, match="its weights are no numbers"):
        load_run(counted.folder).suggest("a", 1)


def test_a_full_disk_leaves_the_counts_before(counted, room_for):
    sound = content(counted)
    with room_for(1000), pytest.raises(OSError, match=COUNTS):
        counted.count(corpus(), print)
    assert content(counted) == sound
    assert not list(counted.folder.glob(".*"))
    assert counted.count(corpus(), print)


@pytest.mark.skipif(os.geteuid() == 0, reason="permissions do not bind the superuser")
def test_a_folder_that_may_only_be_read_is_told(counted):
    sound = content(counted)
    counted.folder.chmod(0o555)
    try:
        assert load_run(counted.folder).suggest("a", 1)
        with pytest.raises(PermissionError):
            counted.count(corpus(), print)
    finally:
        counted.folder.chmod(0o755)
    assert content(counted) == sound
