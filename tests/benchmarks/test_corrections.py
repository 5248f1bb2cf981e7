from benchmarks.corrections import figures, first_words, type_text
from kerasptb.keyboard import Correction


def test_words_are_counted_before_and_after_corrections():
    units = [(0, 2, "It", 1), (3, 6, "was", 1), (7, 13, "the best", 2), (14, 16, "of", 1), (17, 22, "times", 1)]
    corrections = [Correction(7, 13, "tebest", "the best", 5.0), Correction(17, 22, "times", "limes", 4.0)]
    found = figures("It wes tebest of times", units, corrections)
    assert found == {
        "words": 6,
        "wrong_percent": 50.0,  # "was", and two without their space
        "wrong_after_percent": 33.33,
        "changed_per_1000": 333.33,
        "corrections": 2,
    }


def test_a_text_without_errors_is_as_it_is():
    text = first_words("It was\nthe  best of times", 4)
    assert text == "It was\nthe  best"
    typed, units = type_text(text, 0)
    assert typed == text
    assert [(typed[start:end], meant) for start, end, meant, _ in units] == [(w, w) for w in text.split()]


def test_errors_are_in_the_words_and_each_unit_is_where_it_says():
    text = "It was the best of times,\nit was the worst of times. " * 20
    typed, units = type_text(text, 0.1)
    assert sum(number for *_, number in units) == len(text.split())
    assert " ".join(meant for _, _, meant, _ in units).split() == text.split()
    assert [typed[start:end] for start, end, *_ in units] == typed.split()
    assert typed != text
