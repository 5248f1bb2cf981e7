import collections
import os

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kerasptb.data import EOS, UNK, DataError, UnknownWordError, Vocabulary

# Every character that UTF-8 can carry: surrogates cannot stand in a file.
texts = st.text(st.characters(exclude_categories=("Cs",)))


def words_of(text):
    return text.replace("\n", " <eos> ").split()


@given(texts)
def test_tokens_are_the_original_readers(text):
    tokens = words_of(text)
    vocabulary = Vocabulary.from_tokens([*tokens, "a"])
    assert vocabulary.to_words(vocabulary.encode(text)) == tokens


@given(texts.filter(lambda text: text.split()))
def test_ids_by_falling_count_then_word(text):
    tokens = text.split()
    # The original's own lines.
    pairs = sorted(collections.Counter(tokens).items(), key=lambda x: (-x[1], x[0]))
    words, _ = list(zip(*pairs, strict=True))
    vocabulary = Vocabulary.from_tokens(tokens)
    assert vocabulary.words == words
    assert vocabulary.word_to_id == dict(zip(words, range(len(words)), strict=True))


def test_a_size_keeps_the_most_frequent_words():
    counts = {"the": 9, "b": 4, "a": 4, "zebra": 2, EOS: 1, "yak": 1, "ant": 1}
    assert Vocabulary.from_counts(counts, 5).words == ("the", "<unk>", "a", "b", "<eos>")  # <unk> 4: tied with a and b
    assert Vocabulary.from_counts(counts, 4).words == ("the", "<unk>", "a", "<eos>")
    # The text's own <unk> takes no further place, and keeps its count: 3 + 2.
    assert Vocabulary.from_counts(counts | {UNK: 3}, 6).words == ("the", "<unk>", "a", "b", "zebra", "<eos>")
    # Where all words fit, <unk> comes in last, for the words of other texts.
    everything = Vocabulary.from_counts(counts)
    assert Vocabulary.from_counts(counts, 8).words == Vocabulary.from_counts(counts, 10_000).words
    assert Vocabulary.from_counts(counts, 8).words == (*everything.words, "<unk>")
    assert Vocabulary.from_counts(counts, 7).words == ("the", "a", "b", "zebra", "<eos>", "<unk>", "ant")


def test_a_size_keeps_the_first_of_the_words_of_equal_count():
    counts = {"<unk>": 1, **{f"w{i:02}": 2 for i in reversed(range(40))}}
    vocabulary = Vocabulary.from_counts(counts, size=21)
    assert vocabulary.words == ("<unk>", *(f"w{i:02}" for i in range(20)))


@given(texts.filter(lambda text: text.split()), st.integers(3, 9))
def test_a_size_is_as_if_rare_words_had_been_written_unk(text, size):
    tokens = words_of(text)
    vocabulary = Vocabulary.from_tokens(tokens, size)
    assert len(vocabulary) == min(size, len({*tokens, UNK}))
    written = [token if token in vocabulary else UNK for token in tokens]
    assert Vocabulary.from_tokens(written).words == vocabulary.words[: len(set(written))]
    counts = collections.Counter(tokens)
    left_out = [count for word, count in counts.items() if word not in vocabulary]
    kept = [count for word, count in counts.items() if word in vocabulary and word not in (UNK, EOS)]
    assert max(left_out, default=0) <= min(kept, default=len(tokens))
    assert (EOS in vocabulary) == (EOS in tokens)


@pytest.mark.parametrize("size", [2, 0, -1, 5.0, True, "5"])
def test_a_size_that_is_none_is_told(size):
    with pytest.raises(DataError, match=rf"size.*Received: size={size!r}"):
        Vocabulary.from_tokens(["a", "b", "c", "d"], size)


@given(texts.filter(lambda text: text.split()))
def test_encode_and_decode_are_inverse(text):
    tokens = words_of(text)
    vocabulary = Vocabulary.from_tokens(tokens)
    ids = vocabulary.encode(text)
    assert ids.dtype == np.int32
    assert vocabulary.to_words(ids) == tokens
    assert vocabulary.decode(ids) == " ".join(tokens)
    np.testing.assert_array_equal(vocabulary.encode(tokens), ids)
    np.testing.assert_array_equal(vocabulary.encode(vocabulary.decode(ids)), ids)


@given(words=st.sets(texts.filter(lambda word: word.split() == [word]), min_size=1))
def test_file_keeps_any_word(words, tmp_path_factory):
    path = tmp_path_factory.mktemp("vocabulary") / "vocabulary.txt"
    vocabulary = Vocabulary(sorted(words))
    vocabulary.save(path)
    assert Vocabulary.load(path) == vocabulary
    assert path.read_bytes().decode("utf-8") == "".join(f"{word}\n" for word in vocabulary.words)


def test_large_vocabulary(tmp_path):
    vocabulary = Vocabulary.from_tokens(f"w{number}" for number in range(200_000))
    assert len(vocabulary) == 200_000
    vocabulary.save(tmp_path / "v.txt")
    assert Vocabulary.load(tmp_path / "v.txt") == vocabulary
    assert vocabulary.encode([vocabulary.words[199_999]]).tolist() == [199_999]


def test_save_replaces_whole_and_leaves_nothing_beside(tmp_path):
    path = tmp_path / "v.txt"
    Vocabulary(["a", "b"]).save(path)
    Vocabulary(["c"]).save(path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["v.txt"]
    assert path.read_text() == "c\n"
    umask = os.umask(0)
    os.umask(umask)
    assert path.stat().st_mode & 0o777 == 0o666 & ~umask


def test_failed_save_keeps_the_old_file(tmp_path):
    path = tmp_path / "v.txt"
    Vocabulary(["a"]).save(path)
    with pytest.raises(UnicodeEncodeError):
        Vocabulary(["b", "\ud800"]).save(path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["v.txt"]
    assert path.read_text() == "a\n"


def test_unknown_words_become_unk():
    vocabulary = Vocabulary(["the", "<unk>", "<eos>"])
    assert vocabulary.unk_id == 1
    assert vocabulary.eos_id == 2
    assert vocabulary.encode("the ocelot\n").tolist() == [0, 1, 2]
    assert vocabulary.encode(["ocelot", "the"]).tolist() == [1, 0]
    assert vocabulary.encode("").shape == (0,)


def test_unknown_word_without_unk_is_named():
    vocabulary = Vocabulary(["the"])
    assert vocabulary.unk_id is None
    with pytest.raises(UnknownWordError, match=r"'ocelot' is not in the vocabulary, and the vocabulary has no '<unk>'"):
        vocabulary.encode("the ocelot")


@pytest.mark.parametrize("ids", [[0, 1], np.arange(2), b"the"])
def test_ids_are_no_words(ids):
    with pytest.raises(DataError, match="Expected a text or its words"):
        Vocabulary(["the", "<unk>"]).encode(ids)


def test_line_end_needs_eos():
    with pytest.raises(UnknownWordError, match=EOS):
        Vocabulary(["the"]).encode("the\n")


@pytest.mark.parametrize(
    ("ids", "message"),
    [([2], "between 0 and 1. Received: 2"), ([0, -1], "Received: -1"), ([[0]], r"shape=\(1, 1\)"), ([0.5], "float64")],
)
def test_wrong_ids(ids, message):
    with pytest.raises(DataError, match=message):
        Vocabulary(["a", "b"]).decode(ids)


def test_ids_may_be_unsigned():
    assert Vocabulary(["a", "b"]).to_words(np.array([1, 0], np.uint16)) == ["b", "a"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "at least one"),
        (["a", "b", "a"], "'a' more than once"),
        (["a b"], "'a b'"),
        ([""], "''"),
        (["a\u2028"], "a"),
    ],
)
def test_wrong_words(words, message):
    with pytest.raises(DataError, match=message):
        Vocabulary(words)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "at least one"),
        (b"a\n\nb\n", "one word a line"),
        (b"a\nb \n", "one word a line"),
        (b"a\n\xff\n", "byte 2"),
    ],
)
def test_load_names_a_wrong_file(data, message, tmp_path):
    path = tmp_path / "wrong.txt"
    path.write_bytes(data)
    with pytest.raises(DataError, match=message) as error:
        Vocabulary.load(path)
    assert str(path) in str(error.value)


def test_equality_membership_and_repr():
    vocabulary = Vocabulary(["a", "b"])
    assert vocabulary == Vocabulary(["a", "b"])
    assert vocabulary != Vocabulary(["b", "a"])
    assert vocabulary != ("a", "b")
    assert hash(vocabulary) == hash(Vocabulary(["a", "b"]))
    assert "a" in vocabulary
    assert "c" not in vocabulary
    assert repr(vocabulary) == "<2 words: a, b>"
