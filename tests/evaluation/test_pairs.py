import json

import numpy as np
import pytest

from kerasptb.data import DataError, Vocabulary
from kerasptb.evaluation import MinimalPair, Share, evaluate_pairs, read_pairs, score_sentences
from kerasptb.models import LanguageModel

WORDS = ["a", "b", "c", "d", "<unk>", "<eos>"]


@pytest.fixture(scope="module")
def model():
    vocabulary = Vocabulary(WORDS)
    return LanguageModel(len(WORDS), 5, (7, 4), batch_size=2, num_steps=3, init_scale=1.0, seed=0, tokenizer=vocabulary)


def pairs_of(random):
    for i in range(60):
        good, bad = (" ".join(random.choice(WORDS[:4], random.integers(1, 7))) for _ in range(2))
        yield MinimalPair(good, bad, f"set {i % 3}", "ab"[i % 2] * (i % 3 > 0), "f")


def test_the_likelier_sentence_is_the_better(model):
    pairs, seen = [each for each in pairs_of(np.random.default_rng(0)) if each.good != each.bad], []
    found = evaluate_pairs(model, pairs, lambda *done: seen.append(done))
    (goods, bads) = (list(score_sentences(model, [getattr(pair, name) for pair in pairs])) for name in ("good", "bad"))
    wins = np.array([good.log10_probability > bad.log10_probability for good, bad in zip(goods, bads, strict=True)])
    means = [[each.token_log10_probabilities.mean() for each in some] for some in (goods, bads)]
    assert 0 < wins.mean() < 1
    assert wins.tolist() != np.greater(*means).tolist()  # they differ in length
    assert found.overall.accuracy == Share.of(wins.sum(), len(pairs))
    assert found.overall.by_length == Share.of(np.greater(*means).sum(), len(pairs))
    for groups, key in (found.sets, "set"), (found.phenomena, "phenomenon"), (found.fields, "field"):
        keys = np.array([getattr(pair, key) for pair in pairs])
        assert [each.name for each in groups] == [name for name in dict.fromkeys(keys) if name]
        for each in groups:
            of_group = wins[keys == each.name]
            assert (each.num_pairs, each.accuracy) == (len(of_group), Share.of(of_group.sum(), len(of_group)))
    assert seen == [(len(pairs), len(pairs))]


def test_sentences_that_are_read_alike_are_half_right(model):
    pairs = [MinimalPair("a nobody b", "a somebody b", "s")] * 3  # in rows of batches that round differently
    found = evaluate_pairs(model, [*pairs, MinimalPair("a", "a a a a", "t")])
    assert (found.overall.num_pairs, found.overall.num_alike) == (4, 3)
    assert found.sets[0].accuracy == found.sets[0].by_length == Share.of(1.5, 3)


def test_of_no_pairs_there_is_no_share(model):
    with pytest.raises(DataError, match="There are none"):
        evaluate_pairs(model, iter([]))


def test_lines_of_blimp_and_tables_are_read(tmp_path):
    def read(name, text):
        (tmp_path / name).write_text(text, encoding="utf-8")
        return read_pairs(tmp_path / name)

    line = {"sentence_good": "A cat  sits.", "sentence_bad": "A cat sit.", "linguistics_term": "agreement"}
    lines = json.dumps({**line, "UID": "cats", "field": "morphology"}) + "\n\n" + json.dumps(line) + "\n"
    assert read("some.jsonl", lines) == [
        MinimalPair("A cat sits.", "A cat sit.", "cats", "agreement", "morphology"),
        MinimalPair("A cat sits.", "A cat sit.", "some", "agreement"),
    ]
    (numbered,) = read("numbers.jsonl", json.dumps({**line, "UID": 3, "field": 1.5}))
    assert (numbered.set, numbered.field) == ("3", "1.5")
    plain = MinimalPair("One, two.", "Two, one.", "pairs")
    assert read("pairs.tsv", "One, two.\tTwo, one.\n") == [plain]
    assert read("pairs.csv", '\ufeff"One, two.","Two, one."\r\n') == [plain]
    assert read("pairs.csv", 'bad,good,UID\n"Two, one.","One, two.",\n') == [plain]
    for text in (
        "One.\tTwo.\nThree.\n",
        "one\n",
        "one," + "b" * 200_000,
        '{"sentence_good": "A."}\n',
        '{"sentence_good": 1, "sentence_bad": "A"}',
    ):
        with pytest.raises(DataError, match=r"Expected two sentences, good and bad\. Received: row \d of .*bad\.csv"):
            read("bad.csv", text)
    with pytest.raises(DataError, match=r"empty\.csv is empty"):
        read("empty.csv", "")
