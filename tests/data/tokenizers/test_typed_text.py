import pytest
from hypothesis import given
from hypothesis import strategies as st

from kerasptb.data import DataError, Vocabulary
from kerasptb.data.tokenizers.prefixes import PrefixIndex
from kerasptb.keyboard import Memory

WORDS = "the that Anna <unk> N <eos> n't 's 've do does dan it ca mr. u.s. well-known 1980s government"
VOCABULARY = Vocabulary(WORDS.split())
PTB_WORDS = Vocabulary(["<unk>", "<eos>", "the", "N", "cat", "sat", "Oslo", "n't", "did", "mr."])


def beginning(vocabulary, prefix):
    return [vocabulary.words[i] for i in vocabulary.prefixes.beginning(f" {prefix}")]


def split(vocabulary, text, others=None):
    """The two parts, the second without the space that comes before a word."""
    whole, prefix = vocabulary.split_typed(text, others)
    assert not prefix or prefix[0] == " "
    return whole, prefix[1:]


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
    assert set(beginning(VOCABULARY, prefix)) == expected


def test_a_vocabulary_with_either_apostrophe():
    vocabulary = Vocabulary(["don’t", "it's", "s", "t"])
    for typed in ("don’", "don'", "DON’t"):
        assert beginning(vocabulary, typed) == ["don’t"]
        assert split(vocabulary, f"we {typed}") == ("we ", typed)
    assert beginning(vocabulary, "it’") == ["it's"]


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
    assert split(VOCABULARY, text) == (text.removesuffix(prefix) if prefix else text, prefix)


@given(st.text(alphabet=st.sampled_from("ntheT'’ .,-\n\t日\U0001f600"), max_size=12))
def test_the_parts_are_the_text_and_the_prefix_has_no_white_space(text):
    written, prefix = split(VOCABULARY, text)
    assert written + prefix == text
    assert prefix == "" or prefix.split() == [prefix]


@pytest.mark.parametrize("opening", ["", "(", '"', "«", "—", "the ", "$"])
def test_a_completed_word_is_read_as_that_word(opening):
    words = "<eos> <unk> the In Paris , « warm . — don't d'água नमस्ते cafe\u0301 guarda-chuva Nov. OK"
    vocabulary = Vocabulary(words.split(" "))
    completed = 0
    for word in vocabulary.words[2:]:
        for length in range(1, len(word) + 1):
            before, prefix = split(vocabulary, opening + word[:length])
            if prefix and word in beginning(vocabulary, prefix):
                assert vocabulary.words[vocabulary.encode_typed(f"{before}{word} ")[-1]] == word
                completed += 1
    assert completed >= 54


def test_a_vocabulary_without_words_to_complete():
    vocabulary = Vocabulary(["<eos>", "<unk>", "N"])
    assert split(vocabulary, "a cat") == ("a ", "cat")
    assert beginning(vocabulary, "c") == []


def test_texts_by_how_they_begin():
    index = PrefixIndex(["b", "ab", "A", "abc", "", "a’", "Éa"])
    assert index.beginning("A").tolist() == [1, 2, 3, 5]
    assert index.beginning("É").tolist() == [6]
    assert index.beginning("abcd").tolist() == []
    assert "a'" in index
    assert "aB" in index
    assert "abcd" not in index


def test_a_long_run_is_split_in_time_that_grows_with_its_length():
    # In time that grows with the square of the length this would not end.
    assert split(VOCABULARY, "a" * 2_000_000 + "," + "b" * 3)[1] == "bbb"


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
    read = list(VOCABULARY.read_typed(text))
    assert read[: len(expected)] == expected
    assert VOCABULARY.encode(word for word, _ in read).tolist() == VOCABULARY.encode_typed(text)[1:].tolist()


def test_a_word_of_others_may_begin_where_no_word_of_the_vocabulary_does():
    assert split(VOCABULARY, "on e-ma") == ("on e-", "ma")
    assert split(VOCABULARY, "on E-ma", Memory(["e-mail"])) == ("on ", "E-ma")
    assert split(VOCABULARY, 'the "e-ma', Memory(["e-mail"])) == ('the "', "e-ma")
    assert split(VOCABULARY, "e-mails", Memory(["e-mail"])) == ("e-", "mails")


def test_text_is_read_as_the_beginning_of_a_sentence():
    assert PTB_WORDS.to_words(PTB_WORDS.encode_typed("")) == ["<eos>"]
    assert PTB_WORDS.to_words(PTB_WORDS.encode_typed("The cat\nsat")) == ["<eos>", "the", "cat", "<eos>", "sat"]
    assert PTB_WORDS.to_words(PTB_WORDS.encode_typed("the cat\n")) == ["<eos>", "the", "cat", "<eos>"]


def test_words_are_kept_as_the_vocabulary_has_them_or_read_as_ptb_has():
    words = PTB_WORDS.to_words(PTB_WORDS.encode_typed("Oslo didn't SAT, 3.5 zebra! Mr. OSLO"))
    assert words == ["<eos>", "Oslo", "did", "n't", "sat", "N", "<unk>", "mr.", "<unk>"]


def test_words_and_punctuation_of_ones_own_text_are_read_as_it_writes_them():
    vocabulary = Vocabulary(["<eos>", "<unk>", "In", "Paris", ",", "«", "»", "warm", ".", "नमस्ते", "1999", "'"])
    words = vocabulary.to_words(vocabulary.encode_typed("«in Paris, PARIS» (warm. नमस्ते, 1999; 1998 'In' —"))
    assert words == [
        "<eos>", "«", "<unk>", "Paris", ",", "<unk>", "»", "warm", ".", "नमस्ते", ",", "1999", "<unk>", "In",
    ]  # fmt: skip
    with pytest.raises(DataError, match=r"The word '1998' is not"):
        Vocabulary(["a"]).encode_typed("a 1998")


def test_a_word_between_punctuation_is_read_as_it_is_written():
    vocabulary = Vocabulary(["<eos>", "<unk>", "u.s.", "inc", "mr.", "don't", "'tis", "dogs’", ",", "."])
    words = vocabulary.to_words(vocabulary.encode_typed("(U.S., u.s.) inc., mr., don't. \"mr.\" don't... u.s.!"))
    assert " ".join(words) == "<eos> u.s. , u.s. inc . , mr. , don't . mr. don't . . . u.s."
    words = vocabulary.to_words(vocabulary.encode_typed("('Tis dogs’,"))
    assert " ".join(words) == "<eos> 'tis dogs’ ,"
    vocabulary = Vocabulary(["<eos>", "inc", "inc.", ","])
    assert vocabulary.decode(vocabulary.encode_typed("(Inc.,")) == "<eos> inc. ,"


def test_lines_end_where_those_of_a_training_text_do():
    words = PTB_WORDS.to_words(PTB_WORDS.encode_typed("the\fcat\u2028sat\x85\x0bthe\x1ccat\nsat\r\nthe\rcat"))
    eos = "<eos>"
    assert words == [eos, "the", "cat", "sat", "the", "cat", eos, "sat", eos, "the", eos, "cat"]
    assert PTB_WORDS.continued("the\fcat\r\nthe", PTB_WORDS.encode(["sat", eos, "cat"])) == "the cat\nthe sat\ncat"


def test_text_of_nothing_readable_needs_eos():
    with pytest.raises(ValueError, match="at least one word"):
        Vocabulary(["a", "<unk>"]).encode_typed("  ...  ")


@pytest.mark.parametrize(
    ("prompt", "words", "text"),
    [
        ("the  cat", ["sat", "<eos>", "a", "dog", "<eos>"], "the cat sat\na dog"),
        ("the cat\nthe dog", ["sat"], "the cat\nthe dog sat"),
        ("the cat\n", ["the", "dog"], "the cat\nthe dog"),
        ("", ["<eos>", "<eos>", "a"], "\n\na"),
        ("", ["a", "<eos>", "<eos>", "b"], "a\n\nb"),
    ],
)
def test_each_sentence_is_a_line_of_text(prompt, words, text):
    vocabulary = Vocabulary(sorted({*prompt.split(), *words}))
    assert vocabulary.continued(prompt, vocabulary.encode(words)) == text
