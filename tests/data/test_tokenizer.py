import doctest

import pytest

from kerasptb.data import tokenizer


def test_examples_run():
    result = doctest.testmod(tokenizer)
    assert (result.failed, result.attempted) == (0, 1)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Can’t we've they'll", ["ca", "n't", "we", "'ve", "they", "'ll"]),
        ("1987 1,000 3.5 10-20 mid-1980s", ["N", "N", "N", "N", "N", "mid-1980s"]),
        ("U.S. $5 R&D 7%", ["u.s", "$", "N", "r", "&", "d", "N", "%"]),
        (" \t(--) ", []),
    ],
)
def test_words_are_as_the_treebank_has_them(text, words):
    assert tokenizer.tokenize(text) == words
