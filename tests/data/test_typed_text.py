import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kerasptb.data import Vocabulary
from kerasptb.data.typed_text import PrefixIndex, read_words
from kerasptb.generation import encode_text

WORDS = "the that Anna <unk> N <eos> n't 's 've do does dan it ca mr. u.s. well-known 1980s government"
VOCABULARY = Vocabulary(WORDS.split())
INDEX = PrefixIndex(VOCABULARY)


def words(prefix):
    return {VOCABULARY.words[i] for i in INDEX.ids(prefix)}


def test_the_empty_prefix_gives_every_word_but_unk():
    assert words("") == set(VOCABULARY.words) - {"<unk>"}


@pytest.mark.parametrize(
    ("prefix", "expected"),
    [
        ("th", {"the", "that"}),
        ("TH", {"the", "that"}),
        ("a", {"Anna"}),
        ("do", {"do", "does"}),
        ("n", {"n't"}),  # and neither N nor a name in brackets
        ("<", set()),
        ("’", {"'s", "'ve"}),
        ("zebra", set()),
        ("the ", set()),
        ("1", {"1980s"}),
        ("\U0010ffff", set()),
    ],
)
def test_words_that_begin_with_a_prefix(prefix, expected):
    assert words(prefix) == expected


def test_a_vocabulary_with_either_apostrophe():
    vocabulary = Vocabulary(["don’t", "it's", "s", "t"])
    index = PrefixIndex(vocabulary)
    for typed in ("don’", "don'", "DON’t"):
        assert [vocabulary.words[i] for i in index.ids(typed)] == ["don’t"]
        assert index.split(f"we {typed}") == ("we ", typed)
    assert [vocabulary.words[i] for i in index.ids("it’")] == ["it's"]


@pytest.mark.parametrize(
    ("text", "prefix"),
    [
        ("", ""),
        ("the ", ""),
        ("the\n", ""),
        ("the cat", "cat"),
        ("Th", "Th"),
        ("it'", "'"),
        ("it’v", "’v"),
        ("don", "don"),
        ("don'", "n'"),
        ("Don’t", "n’t"),
        ("CAN'T", "N'T"),
        ("(\"don't", "n't"),
        ("-Don’", "n’"),
        ("Dan'", "'"),  # "da" is no word of the vocabulary, so nothing is negated
        ("hello,", ""),
        ('"th', "th"),
        ("(", ""),
        ("do/th", "th"),
        ("mr.", "mr."),
        ("Mr", "Mr"),
        ("u.", "u."),
        ("well-k", "well-k"),
        ("pro-gov", "gov"),
        ("end.", ""),
        ("日", "日"),
        ("the\u00a0th", "th"),
    ],
)
def test_where_the_unfinished_word_begins(text, prefix):
    assert INDEX.split(text) == (text.removesuffix(prefix) if prefix else text, prefix)


@settings(deadline=None)
@given(st.text(alphabet=st.sampled_from("ntheT'’ .,-\n\t日\U0001f600"), max_size=12))
def test_the_parts_are_the_text_and_the_prefix_has_no_white_space(text):
    written, prefix = INDEX.split(text)
    assert written + prefix == text
    assert prefix == "" or prefix.split() == [prefix]


@pytest.mark.parametrize("opening", ["", "(", '"', "«", "—", "the ", "$"])
def test_a_completed_word_is_read_as_that_word(opening):
    words = "<eos> <unk> the In Paris , « warm . — don't d'água नमस्ते cafe\u0301 guarda-chuva Nov. OK"
    vocabulary = Vocabulary(words.split(" "))
    index, completed = PrefixIndex(vocabulary), 0
    for word in vocabulary.words[2:]:
        for length in range(1, len(word) + 1):
            before, prefix = index.split(opening + word[:length])
            if prefix and vocabulary.word_to_id[word] in index.ids(prefix):
                assert vocabulary.words[encode_text(vocabulary, f"{before}{word} ")[-1]] == word
                completed += 1
    assert completed >= 54


def test_a_vocabulary_without_words_to_complete():
    index = PrefixIndex(Vocabulary(["<eos>", "<unk>", "N"]))
    assert index.split("a cat") == ("a ", "cat")
    assert index.ids("c").tolist() == []


def test_a_long_run_is_split_in_time_that_grows_with_its_length():
    # In time that grows with the square of the length this would not end.
    assert INDEX.split("a" * 2_000_000 + "," + "b" * 3)[1] == "bbb"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The THAT", [("the", "The"), ("that", "THAT")]),
        (
            "(Anna’s 1,5 Mr.\nzebra!",
            [("Anna", "Anna"), ("'s", "'s"), ("N", "1"), ("N", "5"), ("mr.", "Mr."), ("<eos>", "\n")],
        ),
        ("e-mail Zoë", [("e-mail", "e-mail"), ("Zoë", "Zoë")]),
        ("", []),
    ],
)
def test_words_and_what_was_typed_for_them(text, expected):
    read = list(read_words(VOCABULARY, text))
    assert read[: len(expected)] == expected
    assert VOCABULARY.encode(word for word, _ in read).tolist() == encode_text(VOCABULARY, text)[1:].tolist()


def test_a_word_of_others_may_begin_where_no_word_of_the_vocabulary_does():
    assert INDEX.split("on e-ma") == ("on e-", "ma")
    assert INDEX.split("on E-ma", ("e-mail",)) == ("on ", "E-ma")
    assert INDEX.split('the "e-ma', ("e-mail",)) == ('the "', "e-ma")
    assert INDEX.split("e-mails", ("e-mail",)) == ("e-", "mails")
