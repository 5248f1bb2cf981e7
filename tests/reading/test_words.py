import functools
import itertools
import math

import numpy as np
import pytest
from kerasptb.data.word_search import begins_paragraph, pieces_of, run_search, search_words, split_typed

from kerasptb.data import Subwords, Vocabulary

# What a small model may write, and how likely, whatever came before.
CHANCES = {" ca": 0.2, " c": 0.15, " ": 0.1, "c": 0.02, "ca": 0.03, "a": 0.1, "t": 0.15, ",": 0.15, "\n": 0.1}


class Pieces:
    """A tokenizer of the pieces above, in two of which the same can be written."""

    tokens = tuple(CHANCES)
    pieces = tuple(piece.encode() for piece in CHANCES)
    unnamed = frozenset()
    token_to_id = {piece: index for index, piece in enumerate(CHANCES)}  # noqa: RUF012

    def __len__(self):
        return len(self.tokens)


def found(tokenizer, prefix, k, chances, **settings):
    with np.errstate(divide="ignore"):
        values = np.log(np.array(chances))
    search = search_words(pieces_of(tokenizer), None, lambda context: values, prefix, k, **settings)
    return run_search(search, lambda beginnings: [None] * len(beginnings))


@functools.cache
def written():
    """Returns all texts of five pieces, more than what is looked for here needs, with their probabilities."""
    texts = itertools.product(CHANCES, repeat=5)
    return [("".join(pieces), math.prod(map(CHANCES.get, pieces))) for pieces in texts]


@pytest.mark.parametrize("prefix", [" c", " ca", " cat", " "])
def test_a_word_has_the_probability_of_all_that_writes_it_and_then_ends(prefix):
    result = found(Pieces(), prefix, 50, list(CHANCES.values()))  # so many that nothing likely is left out
    begun = sum(chance for text, chance in written() if text.startswith(prefix))
    assert result.prefix_probability == pytest.approx(begun, rel=0.02)
    for word, probability in result.words[:3]:
        whole = f" {word}"
        expected = sum(p for text, p in written() if text.startswith((f"{whole} ", f"{whole},", f"{whole}\n")))
        assert probability == pytest.approx(expected, rel=0.02), word
    assert result.words[0][0] == {" c": "ca", " ca": "ca", " cat": "cat", " ": "ca"}[prefix]


def test_after_a_whole_word_anything_may_come_that_does_not_go_on_with_it():
    result = found(Pieces(), "", 50, list(CHANCES.values()))
    ends = sum(chance for piece, chance in CHANCES.items() if piece[0] in " ,\n")
    assert dict(result.words)[","] == pytest.approx((0.15 + 0.1 * 0.15) / ends)  # with a space before it, and without
    assert [word for word, _ in result.words][:4] == [",", "ca", "c", "<eos>"]
    assert result.prefix_probability == pytest.approx(1.0)


def test_characters_find_words_after_a_space_and_where_a_paragraph_begins():
    characters = Subwords.characters()
    after = {" ": "t", "\n": "t", "t": "h", "h": "e", "e": " "}

    def values(last):
        chances = np.full(256, 1e-4)
        chances[characters.encode(after[last])] = 1.0
        return np.log(chances / chances.sum())

    def best(text, prefix):
        begins = begins_paragraph(characters, text)
        search = search_words(pieces_of(characters), text[-1:], values, prefix, 1, begins=begins)
        ((word, _),) = run_search(search, lambda all_: [each.written[-1] for each in all_]).words
        return word

    assert (best("the", ""), best("the", " "), best("the\n", ""), best("the", " t")) == ("the",) * 4
    assert not begins_paragraph(characters, "the")
    assert not begins_paragraph(Vocabulary(["the"]), "")


def test_a_sign_of_several_bytes_is_no_part_of_the_word_before_it():
    characters = Subwords.characters()
    ids = {byte: characters.pieces.index(bytes([byte])) for byte in " the\u201d\u00e9".encode()}
    following = {None: " ", " ": "t", "t": "h", "h": "e\u00e9", "e": " \u201d", "\udca9": " \u201d"}
    within = ((0xE2, 0x80), (0x80, 0x9D), (0x9D, 0x20), (0xC3, 0xA9))
    inside = {chr(0xDC00 + byte): after for byte, after in within}  # a lone byte is a surrogate

    def values(last):
        chances = np.full(256, 1e-9)
        firsts = [inside[last]] if last in inside else [each.encode()[0] for each in following[last]]
        for byte in firsts:
            chances[ids[byte]] = 1 / len(firsts)
        return np.log(chances)

    search = search_words(pieces_of(characters), None, values, " t", 4)
    words = run_search(search, lambda all_: [each.written[-1] for each in all_]).words
    assert [word for word, probability in words if probability > 0.01] == ["the", "th\u00e9"]
    # Without a letter before them they are a sign.
    following[" "] = "\u201d"
    search = search_words(pieces_of(characters), None, values, " ", 1)
    ((word, _),) = run_search(search, lambda all_: [each.written[-1] for each in all_]).words
    assert word == "\u201d"


def test_words_that_are_all_but_impossible_cost_no_further_round():
    rounds = []
    search = search_words(
        pieces_of(Pieces()), None, lambda context: np.log(np.array([*CHANCES.values()]) ** 6), " cat", 5
    )
    run_search(search, lambda beginnings: rounds.append(len(beginnings)) or [None] * len(beginnings))
    assert len(rounds) <= 3


def test_a_long_beginning_costs_a_row_or_two_for_each_piece_and_a_very_long_one_nothing():
    rows = []

    def search(prefix):
        rows.clear()
        values = np.full(256, np.log(1 / 256))
        values[ord("X") - ord("!")] -= 8  # a capital is all but impossible
        searching = search_words(pieces_of(Subwords.characters()), None, lambda context: values, prefix, 100)
        return run_search(searching, lambda beginnings: rows.append(len(beginnings)) or [None] * len(beginnings))

    assert search(" " + "x" * 39).prefix_probability > 0
    assert 39 < len(rows) < 50
    assert max(rows[:39]) <= 2
    assert search(" " + "x" * 40).words == []
    assert rows == []


@pytest.mark.parametrize(
    ("text", "whole", "prefix"),
    [
        ("the ca", "the", " ca"),
        ("the ", "the", " "),
        ("the (ca", "the (", "ca"),
        ("a\nca", "a\n", "_ca"),
        ("", "", "_"),
        ("don't", "", "_don't"),
        ("the,", "the,", ""),
    ],
)
def test_where_the_word_begins(text, whole, prefix):
    assert split_typed(text, "_") == (whole, prefix)


def test_words_begin_with_what_was_typed_whatever_the_case():
    vocabulary = Vocabulary(["the", "<eos>", "<unk>", "cat", "The", "N"])
    chances = [0.1, 0.2, 0.3, 0.2, 0.1, 0.1]
    for prefix, words in (
        ("", ["<unk>", "<eos>", "cat", "the", "The", "N"]),
        (" t", ["the", "The"]),
        (" T", ["the", "The"]),
        (" n", []),  # "N" stands for a number, and cannot be typed
    ):
        result = found(vocabulary, prefix, 9, chances)
        assert [word for word, _ in result.words] == words
        expected = [chances[vocabulary.word_to_id[word]] for word in words]
        assert [value for _, value in result.words] == pytest.approx(expected)


def test_words_that_are_left_out_leave_the_others():
    first, *others = found(Pieces(), "", 4, list(CHANCES.values())).words
    assert found(Pieces(), "", 3, list(CHANCES.values()), exclude={first[0]}).words == others
