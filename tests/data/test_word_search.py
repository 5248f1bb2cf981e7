import collections
import types

import numpy as np
import pytest

from kerasptb.data import Vocabulary
from kerasptb.data.word_search import WordPieces, run_search, search_words, split_typed

PIECES = [b" a", b" ab", b"a", b"b", b" Ba", b"ba", b",", b"\n", " é".encode(), b" \xc3", b"\xa9", b" ", b"'s"]


class _Pieces(WordPieces):
    def __init__(self):
        tokens = tuple(map(str, range(len(PIECES))))
        super().__init__(_Fake(pieces=PIECES, tokens=tokens, unnamed=frozenset()))


class _Fake(types.SimpleNamespace):
    def __len__(self):
        return len(self.pieces)


@pytest.fixture(scope="module")
def table():
    """Log probabilities of each piece after each other, the last row those after the text."""
    logits = np.random.default_rng(0).normal(0, 1.5, (len(PIECES) + 1, len(PIECES)))
    return logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))


def find(table, prefix, k, exclude=()):
    search = search_words(_Pieces(), len(PIECES), table.__getitem__, prefix, k, exclude)
    return run_search(search, lambda beginnings: [each.piece for each in beginnings])


def every_word(table, prefix, deepest=6):
    """The words by trying every sequence of pieces."""
    ends = [not piece[:1].isalpha() and piece not in (b"\xa9", b"'s") for piece in PIECES]
    found = collections.Counter()

    def go_on(written, probability, last, depth):
        if written in (b",", b"\n"):
            found["<eos>" if written == b"\n" else ","] += probability
            return
        if written.strip():
            try:
                word = written.decode().strip()
                if written.decode().lower().startswith(prefix):
                    found[word] += probability * np.exp(table[last])[ends].sum()
            except UnicodeDecodeError:
                pass
        if depth < deepest and probability > 1e-7:
            for piece, goes_on in enumerate(PIECES):
                if not ends[piece]:
                    go_on(written + goes_on, probability * np.exp(table[last, piece]), piece, depth + 1)

    first = np.exp(table[-1])
    for piece, begun in enumerate(PIECES):
        fits = ends[piece] if not prefix else begun.startswith(b" ")
        if fits and (not prefix or begun.decode(errors="replace").lower()[: len(prefix)] == prefix[: len(begun)]):
            go_on(begun, first[piece] / (1 if prefix else first[ends].sum()), piece, 1)
    return found


@pytest.mark.parametrize("prefix", ["", " ", " a", " b", " ab"])
def test_a_wide_beam_finds_what_every_sequence_of_pieces_gives(table, prefix):

    found, expected = find(table, prefix, 200)[:4], every_word(table, prefix)
    assert [word for word, _ in found] == [word for word, _ in expected.most_common(4)]
    assert [value for _, value in found] == pytest.approx([expected[word] for word, _ in found], rel=1e-3)


def test_words_begin_with_what_was_typed_whatever_the_case(table):
    assert all(word.lower().startswith("b") for word, _ in find(table, " B", 5))
    assert "Ba" in dict(find(table, " b", 5))


def test_words_that_are_left_out_leave_the_others(table):
    first, *others = find(table, "", 5)
    assert find(table, "", 4, {first[0]}) == others


def test_a_word_of_a_vocabulary_needs_no_reading():
    vocabulary = Vocabulary(["the", "<eos>", "<unk>", "cat", "The", "N"])
    pieces = WordPieces(vocabulary)
    probabilities = np.array([0.1, 0.2, 0.3, 0.2, 0.1, 0.1])
    for prefix, words in (("", ["<unk>", "<eos>", "cat", "the", "The", "N"]), (" t", ["the", "The"]), (" n", [])):
        search = search_words(pieces, None, lambda _: np.log(probabilities), prefix, 9)
        with pytest.raises(StopIteration) as end:
            next(search)
        assert [word for word, _ in end.value.value] == words
        found = [probabilities[vocabulary.word_to_id[word]] for word in words]
        assert [value for _, value in end.value.value] == pytest.approx(found)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("", ("", " ")),
        ("hel", ("", " hel")),
        ("hello wor", ("hello", " wor")),
        ("hello ", ("hello", " ")),
        ("hello,", ("hello,", "")),
        ("(wor", ("(", "wor")),
        ("one\ntwo", ("one\n", " two")),
        ("one\n", ("one\n", " ")),
        ("it's well-kno", ("it's", " well-kno")),
        ("caf\u00e9", ("", " caf\u00e9")),
    ],
)
def test_a_text_is_split_where_the_word_that_is_typed_begins(text, parts):
    assert split_typed(text, " ") == parts
