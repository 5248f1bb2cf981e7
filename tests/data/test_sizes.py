import math

import pytest

from kerasptb.data.sizes import TextSizes, describe, sizes_of


def test_sizes_of_a_paragraph_and_its_end():
    assert sizes_of(" the caf\u00e9") == (3, 11, 10, 0)
    assert sizes_of("\u9053\u53ef a\u3002") == (3, 12, 6, 3)
    assert sizes_of(b"\xff a".decode(errors="surrogateescape")) == (3, 4, 4, 0)  # a character that was cut


@pytest.mark.parametrize(
    ("counts", "figures"),
    [
        (TextSizes(100, 50, 250, 250), "perplexity of a word 16.00, 0.800 bits a byte"),
        (TextSizes(100, 50, 250, 250, unknown=5), "perplexity of a word 16.00, 0.800 bits a byte (10.0% of the words"),
        (TextSizes(100, 20, 600, 200, unspaced=199), "perplexity of a character 2.00, 0.333 bits a byte"),
        (TextSizes(100, 100, 600, 280, unspaced=180), "perplexity of a word 4.00, 0.333 bits a byte"),  # with spaces
        (TextSizes(100, 4, 100, 100), "perplexity of a character 4.00, 2.000 bits a byte"),  # no white space
    ],
)
def test_a_text_without_words_between_its_spaces_has_figures_of_a_character(counts, figures):
    assert describe(counts, 4.0).startswith(figures)
    assert math.isnan(counts.word_perplexity(4.0)) == ("character" in figures)


def test_a_perplexity_beyond_all_numbers_is_infinite():
    assert TextSizes(100_000, 1, 20, 20).word_perplexity(2.0) == math.inf
