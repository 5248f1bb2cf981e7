import pytest

from benchmarks.training import training_flops


def test_the_floor_counts_the_products_of_the_texts_own_vocabulary():
    # Multiply-adds of a word: 456 x 1024 + 384 x 512 in the layers, 128 for each word of the vocabulary.
    assert training_flops(1200, 10_000) == pytest.approx(13.9935744e9, rel=1e-12)
    assert training_flops(1, 1_000) == 6 * (456 * 1024 + 384 * 512 + 128_000)
