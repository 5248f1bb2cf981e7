import doctest

import pytest

from kerasptb.data.tokenizers import ptb_words


def test_examples_run():
    result = doctest.testmod(ptb_words)
    assert (result.failed, result.attempted) == (0, 2)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Can’t we've they'll", ["ca", "n't", "we", "'ve", "they", "'ll"]),
        ("I'm you're HE'D", ["i", "'m", "you", "'re", "he", "'d"]),
        ("1987 1,000 3.5 10-20 mid-1980s", ["N", "N", "N", "N", "N", "mid-1980s"]),
        ("U.S. $5 R&D 7%", ["u.s", "$", "N", "r", "&", "d", "N", "%"]),
        (" \t(--) ", []),
    ],
)
def test_words_are_as_the_treebank_has_them(text, words):
    assert ptb_words.tokenize(text) == words


def test_parts_are_as_they_are_written():
    parts = list(ptb_words.split_tokens("«Non», DON’T — cafe\u0301s, नमस्ते! R&D"))
    assert [part for part, _ in parts] == [
        "«", "Non", "»", ",", "DO", "N'T", "—", "cafe\u0301s", ",", "नमस्ते", "!", "R", "&", "D",
    ]  # fmt: skip
    assert [part for part, is_word in parts if not is_word] == ["«", "»", ",", "—", ",", "!"]


def test_word_characters_are_letters_marks_digits_and_joiners():
    assert all(map(ptb_words.is_word_character, "aZß字7_\u0301\u093e\u20dd\u200c\u200d"))
    assert not any(map(ptb_words.is_word_character, " .'’-$—\u2028"))
