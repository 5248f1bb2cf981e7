import re
from pydoc_data.topics import topics

from kerasptb.data import Vocabulary, load_corpus
from kerasptb.data.sources.sample import read_sample, split_sentences
from kerasptb.data.tokenizers.ptb_words import tokenize

MANUAL = """\
The "spam" statement
********************

   spam_stmt ::= "spam" [expression]

The "spam" statement doesn't return 42 values.[1] It's the *best* one,
see **PEP 8** (https://example.org/x).

   >>> spam()
   'eggs.'

   x = spam(1)

1. A numbered item is prose as well.

+------+-------+
| Spam | Eggs. |
+------+-------+

Changed in version 3.9: It was changed.
"""


def sentences(text):
    return [
        " ".join(tokenize(sentence)) for block in text.split("\n\n") for sentence in split_sentences(block) if sentence
    ]


def test_prose_is_kept_and_the_rest_is_not():
    assert sentences(MANUAL) == [
        "the spam statement does n't return N values",
        "it 's the best one see pep N",
        "a numbered item is prose as well",
    ]


def test_splits_are_of_a_kind_and_share_no_sentence():
    splits = read_sample()
    lines = {split: text.split("\n")[:-1] for split, text in splits.items()}
    words = {split: len(text.split()) + len(lines[split]) for split, text in splits.items()}
    # Enough for the defaults: batches of 60 by 20.
    assert words["train"] > 20_000
    assert words["valid"] > 2_000
    assert words["test"] > 2_000
    known = set(" ".join(lines["train"]).split())
    for split in ("valid", "test"):
        # A rare word is <unk> in every split, so none is outside the training text's vocabulary.
        assert set(" ".join(lines[split]).split()) <= known
        share = splits[split].split().count("<unk>") / words[split]
        assert 0.03 < share < 0.12
    all_lines = [line for split in lines.values() for line in split if "<unk>" not in line]
    assert len(all_lines) == len(set(all_lines))


def test_words_are_as_ptbs():
    text = " ".join(read_sample().values())
    assert not re.search(r"[A-MO-Z*`\"“”()\[\]{}|=<>](?<!<)(?<!>)", text.replace("<unk>", ""))
    assert not re.search(r"(?<!\S)\d+(?!\S)", text)
    assert "n't" in text.split()
    assert "N" in text.split()


def test_same_sample_each_time():
    assert read_sample() == read_sample(dict(reversed(topics.items())))


def test_sample_corpus(capsys):
    corpus = load_corpus("sample")
    assert corpus.is_sample
    assert corpus.name == "sample"
    assert 800 < len(corpus.vocabulary) < 3_000
    for word in ("<eos>", "<unk>", "N", "the"):
        assert word in corpus.vocabulary
        assert (corpus.train == corpus.vocabulary.word_to_id[word]).sum() > 50
    assert corpus.vocabulary == Vocabulary.from_tokens(corpus.vocabulary.to_words(corpus.train))
    assert capsys.readouterr() == ("", "")
