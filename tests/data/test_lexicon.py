from kerasptb.data.lexicon import Lexicon


def test_words_of_a_text_are_those_that_it_has_twice_the_most_frequent_first():
    lexicon = Lexicon.of(["The cat, the dog: the cat's", " cat once the 1987 1987 dog-dog"])
    assert lexicon.words == ("dog", "the", "cat")


def test_words_are_known_whatever_the_case_and_the_apostrophe():
    lexicon = Lexicon(["Paris", "don't", "cat", "l’été"])
    for known in (
        "paris",
        "PARIS",
        "Don’t",
        "cat's",
        "the-cat".removeprefix("the-"),
        "cat-Paris",
        "cat Paris",
        "3",
        "",
        "L'été",
    ):
        assert known in lexicon, known
    for unknown in ("dog", "cat-dog", "parisian", 3):
        assert unknown not in lexicon, unknown
