import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from kerasptb import data
from kerasptb.data import DataError, UnknownWordError, Vocabulary, load_corpus, ptb_iterator, ptb_raw_data
from kerasptb.pipeline import make_dataset

needs_ptb = pytest.mark.skipif(not os.environ.get("KERASPTB_DATA"), reason="needs PTB: set KERASPTB_DATA to its folder")


def write(folder, **texts):
    for split, text in texts.items():
        (folder / f"{split}.txt").write_text(text, encoding="utf-8")
    return folder


def test_corpus(tmp_path):
    corpus = load_corpus(write(tmp_path, train="b a\nb <unk>\n", valid="a é\n", test="b\n\nb"))
    assert corpus.vocabulary.words == ("<eos>", "b", "<unk>", "a")
    assert corpus.train.tolist() == [1, 3, 0, 1, 2, 0]
    assert corpus.valid.tolist() == [3, 2, 0]
    assert corpus.test.tolist() == [1, 0, 0, 1]
    for split in ("train", "valid", "test"):
        assert corpus.split(split) is getattr(corpus, split)
        assert corpus.split(split).dtype == np.int32
    assert corpus.name == tmp_path.name
    assert not corpus.is_sample
    with pytest.raises(DataError, match=r"'train', 'valid', 'test' or 'all'\. Received: 'dev'"):
        corpus.split("dev")


def test_a_digest_tells_texts_apart(tmp_path, monkeypatch):
    texts = {"train": "b a\nb <unk>\n", "valid": "a b\n", "test": "b\n"}
    corpus = load_corpus(write(tmp_path, **texts))
    monkeypatch.chdir(tmp_path.parent)
    assert corpus.location == str(tmp_path)
    assert load_corpus(tmp_path.name).location == corpus.location
    assert load_corpus(tmp_path.name).digest == corpus.digest
    # SHA-256 of "<eos>\nb\n<unk>\na" and, for each split, of "\nN\n" and N 32-bit ids, by hashlib and struct.
    assert corpus.digest == "42634875d6307e624c936945c9c07820ecb2c4ac4eb1d2996adf99a292424e21"
    for split, text in texts.items():
        write(tmp_path, **texts | {split: text + "b\n"})
        assert load_corpus(tmp_path, tokenizer=corpus.vocabulary).digest != corpus.digest
    # The same ids under other words, and words that go from one split to the next.
    renamed = Vocabulary([*corpus.vocabulary.words[:-1], "c"])
    write(tmp_path, **{split: text.replace("a", "c") for split, text in texts.items()})
    other = load_corpus(tmp_path, tokenizer=renamed)
    assert other.train.tolist() == corpus.train.tolist()
    assert other.digest != corpus.digest
    write(tmp_path, train="b a\n", valid="b <unk>\na b\n", test="b\n")
    assert load_corpus(tmp_path, tokenizer=corpus.vocabulary).digest != corpus.digest


def test_text_read_with_a_trained_models_vocabulary(tmp_path):
    vocabulary = Vocabulary(["<unk>", "<eos>", "a"])
    corpus = load_corpus(write(tmp_path, train="b a\n", valid="a\n", test="c\n"), tokenizer=vocabulary)
    assert corpus.vocabulary is vocabulary
    assert corpus.train.tolist() == [0, 2, 1]
    assert corpus.test.tolist() == [0, 1]


def test_unknown_word_is_named_with_its_place(tmp_path):
    write(tmp_path, train="a b\n", valid="a\nb a\nb zebra a\n", test="a\n")
    with pytest.raises(UnknownWordError, match=r"'zebra' \(.*valid\.txt, line 3\) is not in the vocabulary.*'<unk>'"):
        load_corpus(tmp_path, tokenizer=Vocabulary(["a", "b", "<eos>"]))


def test_words_that_occur_once_train_the_unknown_word_that_other_texts_need(tmp_path):
    write(tmp_path, train="b a c b d\n", valid="a zebra b\n", test="b\n")
    corpus = load_corpus(tmp_path, tokens="words")
    assert corpus.vocabulary.words == ("<unk>", "b", "<eos>")
    assert corpus.train.tolist() == [1, 0, 0, 1, 0, 2]
    assert corpus.valid.tolist() == [0, 0, 1, 2]
    assert [corpus.count(split).unknown for split in ("train", "valid", "test")] == [3, 2, 0]
    assert corpus.count("valid").bytes == len("a zebra b\n")
    assert corpus.count("valid").unknown_share == 0.5
    # Nothing is unknown: nothing is lost.
    write(tmp_path, train="b a c b d\n", valid="a d b\n", test="b\n")
    assert load_corpus(tmp_path, tokens="words").vocabulary.words == ("b", "<eos>", "a", "c", "d")


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("a <unk> b\n", "words"),
        ("a b c\n", "subwords"),
        ("a\n" * 4997 + "<unk>\n", "words"),  # 10,000 bytes
        ("a\n" * 4998 + "<unk>\n", "subwords"),
        (("a\n" * 4000 + "<unk>\n") * 9 + "a\n" * (1 << 18), "words"),  # by the beginning of a long text
    ],
)
def test_a_text_with_a_word_for_the_unknown_is_read_as_words_and_others_as_subwords(tmp_path, monkeypatch, text, kind):
    monkeypatch.setattr("kerasptb.data.sources.opening._JUDGED", 1 << 16)
    monkeypatch.setattr("kerasptb.data.sources.text_file._CHUNK_BYTES", 1 << 14)
    write(tmp_path, train=text, valid="a b\n", test="a b\n")
    corpus = load_corpus(tmp_path)
    assert corpus.vocabulary.kind == kind


@pytest.mark.parametrize("tokens", ["words", "subwords", "characters"])
def test_the_figures_of_a_text_do_not_depend_on_its_tokens(tmp_path, tokens):
    write(tmp_path, train="the cat sat\nthe caf\u00e9 <unk>\n", valid="the cat\n", test="sat\n")
    corpus = load_corpus(tmp_path, tokens=tokens)
    assert (corpus.count("train").words, corpus.count("train").bytes) == (8, 28)
    assert corpus.count("train").tokens == len(corpus.train)
    whole = corpus.count("all")
    assert (whole.words, whole.bytes, whole.unknown) == (8 + 3 + 2, 28 + 8 + 4, corpus.count("train").unknown)
    np.testing.assert_array_equal(corpus.split("all"), np.concatenate([corpus.train, corpus.valid, corpus.test]))
    # Of a corpus that was made of ids, the same is counted from what they write.
    made = dataclasses.replace(corpus, counts=None)
    for split in ("train", "valid", "all"):
        assert made.count(split) == corpus.count(split)
    # One bit a byte is one bit a byte: 2 ** (bytes / words) a word.
    perplexity = 2 ** (28 / len(corpus.train))
    assert corpus.count("train").bits_per_byte(perplexity) == pytest.approx(1)
    assert corpus.count("train").word_perplexity(perplexity) == pytest.approx(2 ** (28 / 8))


@pytest.mark.parametrize("tokens", ["words", "subwords", "characters"])
def test_a_corpus_made_by_hand_is_counted_as_one_that_was_read(tmp_path, tokens):
    """With spaces at the beginning of paragraphs, spaces of other widths, and other scripts."""
    write(tmp_path, train="  the\u00a0cat sat \n\n a\u3000b\n道可道 非\n", valid="\n\n the\tcat\n", test="sat  a\nb")
    corpus = load_corpus(tmp_path, tokens=tokens)
    made = dataclasses.replace(corpus, counts=None)
    for split in ("train", "valid", "test"):
        assert made.count(split) == corpus.count(split)
    # As words, one space stands between two, and an empty line counts.
    sizes = (11, 31, 23, 4) if tokens == "words" else (10, 36, 25, 5)
    found = corpus.count("train")
    assert (found.words, found.bytes, found.characters, found.unspaced) == sizes


def test_a_vocabulary_size_makes_rare_words_unknown_in_all_texts(tmp_path):
    write(tmp_path, train="b a b c\nb a d\n", valid="a zebra\n", test="c b")
    corpus = load_corpus(tmp_path, tokens="words", vocabulary_size=4)
    assert corpus.vocabulary.words == ("b", "<eos>", "<unk>", "a")
    assert corpus.train.tolist() == [0, 3, 0, 2, 1, 0, 3, 2, 1]
    assert corpus.valid.tolist() == [3, 2, 1]
    assert corpus.test.tolist() == [2, 0]


def test_a_corpus_and_a_vocabulary_keep_their_size(tmp_path):
    corpus = load_corpus(write(tmp_path, train="a b <unk>\n", valid="a\n", test="a\n"))
    assert load_corpus(corpus) is corpus
    assert load_corpus(corpus, tokenizer=corpus.vocabulary, tokens="words") is corpus
    for arguments in ({"vocabulary_size": 3}, {"tokenizer": Vocabulary(["a", "<unk>"])}, {"keep_lines": True}):
        with pytest.raises(DataError, match=rf"keeps its 4 words and its lines\. Received: .*{next(iter(arguments))}"):
            load_corpus(corpus, **arguments)
    with pytest.raises(DataError, match="a vocabulary, or what to make one of"):
        load_corpus(tmp_path, tokenizer=corpus.vocabulary, vocabulary_size=3)


@pytest.mark.parametrize("split", ["valid", "test"])
def test_missing_line_end_in_training_is_named_too(tmp_path, split):
    write(tmp_path, **{"train": "a b <unk>", "valid": "a", "test": "a", split: "a\n"})
    for size in (None, 3):
        with pytest.raises(DataError, match=rf"training text has no line end.*{split}\.txt has one"):
            load_corpus(tmp_path, vocabulary_size=size)


def test_lines_of_words_have_one_space_between_two_words_whatever_the_tokens(tmp_path):
    """As a tokenized corpus is usually read by characters, without the space at each end of PTB's lines."""
    write(tmp_path, train=" the  <unk> \n b\n", valid="\ta b\n", test="b \n")
    corpus = load_corpus(tmp_path, tokens="characters")
    assert corpus.vocabulary.decode(corpus.train) == "the <unk>\nb\n"
    assert corpus.vocabulary.decode(corpus.valid) == "a b\n"
    assert load_corpus(tmp_path, tokens="subwords").count("train").bytes == corpus.count("train").bytes == 12
    # Where nothing is unknown, the white space of a line's beginning is part of the text.
    write(tmp_path, train="the  cat\n  b\n", valid="a b\n", test="b\n")
    corpus = load_corpus(tmp_path, tokens="characters")
    assert corpus.vocabulary.decode(corpus.train) == "the  cat\n  b\n"


def test_large_vocabulary(tmp_path):
    words = [f"w{number}" for number in range(200_000)]
    corpus = load_corpus(
        write(tmp_path, train=" ".join(words) + " ß 字\n", valid="w7 字\n", test="ß\n"), tokens="words"
    )
    assert len(corpus.vocabulary) == 200_003
    assert corpus.vocabulary.decode(corpus.valid) == "w7 字 <eos>"


def test_reading_text_and_finding_words_need_no_tensorflow():
    # The package's own __init__ may import what it likes: it is replaced by an empty one.
    code = (
        "import sys, types; package = types.ModuleType('kerasptb'); package.__path__ = sys.argv[1:]; "
        "sys.modules['kerasptb'] = package; import kerasptb.data as data; data.load_corpus('sample'); "
        "from kerasptb.keyboard import Writer; Writer(data.Subwords.characters()); "
        "sys.exit(bool({'tensorflow', 'keras'} & set(sys.modules)))"
    )
    package = Path(data.__file__).parents[1]
    assert subprocess.run([sys.executable, "-c", code, str(package)], check=False, timeout=60).returncode == 0


@pytest.fixture(scope="module")
def ptb():
    return load_corpus(os.environ["KERASPTB_DATA"])


@needs_ptb
def test_ptb_is_the_original_readers(ptb):
    assert ptb.name == "ptb"
    assert (len(ptb.train), len(ptb.valid), len(ptb.test)) == (929_589, 73_760, 82_430)
    assert len(ptb.vocabulary) == 10_000
    assert ptb.train[:10].tolist() == [9970, 9971, 9972, 9974, 9975, 9976, 9980, 9981, 9982, 9983]


@needs_ptb
def test_ptb_with_fewer_words():
    smaller = load_corpus(os.environ["KERASPTB_DATA"], vocabulary_size=5_000)
    assert len(smaller.vocabulary) == 5_000
    # Counted with tr, sort and uniq: 45,020 times <unk>, and 42,713 words that are not among the 4,998 most frequent.
    assert (smaller.train == smaller.vocabulary.unk_id).sum() == 87_733
    assert len(load_corpus(os.environ["KERASPTB_DATA"], vocabulary_size=10_000).vocabulary) == 10_000


@needs_ptb
def test_ptb_by_characters_is_the_form_that_is_published():
    """Of Mikolov et al., 2012: 5,017k, 393k and 442k characters, 50 different ones with the line's end."""
    corpus = load_corpus(os.environ["KERASPTB_DATA"], tokens="characters")
    assert [len(ids) for ids in (corpus.train, corpus.valid, corpus.test)] == [5_017_482, 393_042, 442_423]
    assert len(np.unique(corpus.train)) == 50
    assert corpus.vocabulary.decode(corpus.train[:5]) == "aer b"


@needs_ptb
def test_ptb_batches_are_the_original_readers(ptb):
    batches = list(ptb_iterator(ptb.train, 60, 20))
    assert len(batches) == 774
    assert batches[0][0][1, :10].tolist() == [901, 33, 3361, 8, 1279, 437, 597, 6, 261, 4276]
    dataset = make_dataset(ptb.train, 60, 20)
    assert int(dataset.cardinality()) == 774
    for (x, y), (expected_x, expected_y) in zip(dataset.as_numpy_iterator(), batches, strict=True):
        np.testing.assert_array_equal(x, expected_x)
        np.testing.assert_array_equal(y, expected_y)


@needs_ptb
def test_ptb_strict_figure_scores_every_word(ptb):
    dataset = make_dataset(ptb.test, 1, 20, every_word=True)
    targets = np.concatenate([y[0] for _, y in dataset.as_numpy_iterator()])
    assert len(targets) == 82_429
    np.testing.assert_array_equal(targets, ptb.test[1:])


@needs_ptb
def test_ptb_unigram_perplexity(ptb):
    probabilities = np.bincount(ptb.train) / len(ptb.train)
    assert np.exp(-np.log(probabilities[ptb.test]).mean()) == pytest.approx(639.30, abs=0.005)


@needs_ptb
def test_ptb_raw_data(ptb):
    train, valid, test, vocabulary_size = ptb_raw_data(os.environ["KERASPTB_DATA"])
    assert vocabulary_size == 10_000
    for ids, expected in ((train, ptb.train), (valid, ptb.valid), (test, ptb.test)):
        assert ids == expected.tolist()


def test_a_download_goes_into_the_cache_that_is_named(tmp_path, monkeypatch):
    def download(folder, **timeouts):
        folder.mkdir(parents=True)
        write(folder, train="a b\n", valid="a\n", test="b\n")

    monkeypatch.delenv("KERASPTB_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "other"))
    monkeypatch.setattr(data.sources.published, "download_ptb", download)
    assert load_corpus("ptb", cache_dir=str(tmp_path / "cache")).location == str(tmp_path / "cache" / "ptb")


def test_lines_of_a_wrapped_text_that_were_joined_are_counted(tmp_path):
    paragraph = (
        "The lines of a text that is wrapped end where the next\nword would have crossed the margin, as these do.\n\n"
    )
    write(tmp_path, train=paragraph * 3, valid=paragraph, test="One line.\n")
    corpus = load_corpus(tmp_path)
    assert [corpus.count(split).joined for split in ("train", "valid", "test")] == [3, 1, 0]
    assert corpus.vocabulary.decode(corpus.valid) == paragraph.replace("next\nword", "next word").replace("\n\n", "\n")
    kept = load_corpus(tmp_path, tokenizer=corpus.vocabulary, keep_lines=True)
    assert [kept.count(split).joined for split in ("train", "valid", "test")] == [0, 0, 0]
    assert kept.vocabulary.decode(kept.valid) == paragraph.replace("\n\n", "\n")
    assert kept.digest != corpus.digest


WRAPPED = "The lines of a text that is wrapped end where the next\nword would have crossed the margin, as these do.\n"


@pytest.mark.parametrize(
    ("text", "ends"),
    [
        (WRAPPED * 20, 1),  # one paragraph, which is cut at the ends of lines
        (" ".join(["one two three"] * 60), 1),  # at spaces; its own end is the tokens' alone
        ("道可道非常道。" * 60, 1),
        ("a line\n" * 60, 60),
        ("a line\n\n" * 60, 60),
    ],
)
@pytest.mark.parametrize("tokens", ["words", "subwords", "characters"])
def test_a_text_that_is_cut_is_whole_where_all_of_it_is_read(tmp_path, text, ends, tokens):
    """As the same text that is one of three: there is no end where it was cut."""
    (tmp_path / "text").write_text(text)
    corpus = load_corpus(tmp_path / "text", tokens=tokens, keep_lines=False)
    one = write(tmp_path, train=text, valid=text, test=text)
    one = load_corpus(one, tokenizer=corpus.vocabulary, keep_lines=False)
    np.testing.assert_array_equal(corpus.split("all"), one.train)
    assert corpus.count("all") == one.count("train")
    if tokens != "words":
        assert (corpus.split("all") == corpus.vocabulary.eos_id).sum() == ends


def test_lines_are_joined_in_all_parts_of_a_text_or_in_none(tmp_path):
    prose = (
        "The lines of a text that is wrapped end where the next\nword would have crossed the margin, as do these.\n\n"
    )
    cells = "some,cells,of,a,table,and,the,number,{}\n"
    rows = "".join(map(cells.format, range(100, 150)))
    write(tmp_path, train=rows * 3, valid=rows, test=f"{prose}{prose}")
    corpus = load_corpus(tmp_path)
    assert (corpus.format.wrapped, corpus.count("all").joined) == (False, 0)
    assert corpus.vocabulary.decode(corpus.valid) == rows
    forced = load_corpus(tmp_path, keep_lines=False)
    assert (forced.format.wrapped, forced.count("all").joined) == (None, 2)
    write(tmp_path, train=prose * 90)
    corpus = load_corpus(tmp_path)
    assert (corpus.format.wrapped, corpus.count("all").joined) == (True, 92)
    assert corpus.vocabulary.decode(corpus.valid) == rows
