import numpy as np
import pytest

from kerasptb.data import DataError, Subwords, Vocabulary
from kerasptb.generation import encode_text, generate, sample, suggest
from kerasptb.models import LanguageModel

VOCABULARY = Vocabulary(["<unk>", "<eos>", "the", "N", "cat", "sat", "Oslo", "n't", "did", "mr."])


@pytest.fixture(scope="module")
def model():
    return LanguageModel(len(VOCABULARY), 5, (6,), batch_size=1, num_steps=5, init_scale=2.0, seed=0)


def test_text_is_read_as_the_beginning_of_a_sentence():
    assert VOCABULARY.to_words(encode_text(VOCABULARY, "")) == ["<eos>"]
    assert VOCABULARY.to_words(encode_text(VOCABULARY, "The cat\nsat")) == ["<eos>", "the", "cat", "<eos>", "sat"]
    assert VOCABULARY.to_words(encode_text(VOCABULARY, "the cat\n")) == ["<eos>", "the", "cat", "<eos>"]


def test_words_are_kept_as_the_vocabulary_has_them_or_read_as_ptb_has():
    words = VOCABULARY.to_words(encode_text(VOCABULARY, "Oslo didn't SAT, 3.5 zebra! Mr. OSLO"))
    assert words == ["<eos>", "Oslo", "did", "n't", "sat", "N", "<unk>", "mr.", "<unk>"]


def test_words_and_punctuation_of_ones_own_text_are_read_as_it_writes_them():
    vocabulary = Vocabulary(["<eos>", "<unk>", "In", "Paris", ",", "«", "»", "warm", ".", "नमस्ते", "1999", "'"])
    words = vocabulary.to_words(encode_text(vocabulary, "«in Paris, PARIS» (warm. नमस्ते, 1999; 1998 'In' —"))
    assert words == [
        "<eos>", "«", "<unk>", "Paris", ",", "<unk>", "»", "warm", ".", "नमस्ते", ",", "1999", "<unk>", "In",
    ]  # fmt: skip
    with pytest.raises(DataError, match=r"The word '1998' is not"):
        encode_text(Vocabulary(["a"]), "a 1998")


def test_a_word_between_punctuation_is_read_as_it_is_written():
    vocabulary = Vocabulary(["<eos>", "<unk>", "u.s.", "inc", "mr.", "don't", "'tis", "dogs’", ",", "."])
    words = vocabulary.to_words(encode_text(vocabulary, "(U.S., u.s.) inc., mr., don't. \"mr.\" don't... u.s.!"))
    assert " ".join(words) == "<eos> u.s. , u.s. inc . , mr. , don't . mr. don't . . . u.s."
    words = vocabulary.to_words(encode_text(vocabulary, "('Tis dogs’,"))
    assert " ".join(words) == "<eos> 'tis dogs’ ,"
    vocabulary = Vocabulary(["<eos>", "inc", "inc.", ","])
    assert vocabulary.decode(encode_text(vocabulary, "(Inc.,")) == "<eos> inc. ,"


def test_lines_end_where_those_of_a_training_text_do():
    words = VOCABULARY.to_words(encode_text(VOCABULARY, "the\fcat\u2028sat\x85\x0bthe\x1ccat\nsat\r\nthe\rcat"))
    eos = "<eos>"
    assert words == [eos, "the", "cat", "sat", "the", "cat", eos, "sat", eos, "the", eos, "cat"]
    assert VOCABULARY.continued("the\fcat\r\nthe", VOCABULARY.encode(["sat", eos, "cat"])) == "the cat\nthe sat\ncat"


def test_text_of_nothing_readable_needs_eos():
    with pytest.raises(ValueError, match="at least one word"):
        encode_text(Vocabulary(["a", "<unk>"]), "  ...  ")


def test_suggestions_are_the_most_probable_words_without_unk(model):
    probabilities = model.next_word_probabilities([encode_text(VOCABULARY, "the cat")])[0]
    suggestions = suggest(model, VOCABULARY, "the cat", k=9)
    assert [s.word for s in suggestions] == [VOCABULARY.words[i] for i in np.argsort(-probabilities) if i != 0]
    assert [s.probability for s in suggestions] == sorted(probabilities[1:], reverse=True)
    assert sum(s.probability for s in suggestions) == pytest.approx(1 - probabilities[0], rel=1e-5)


def test_equally_probable_words_come_in_the_order_of_their_ids():
    model = LanguageModel(len(VOCABULARY), 5, (6,), batch_size=1, num_steps=5, init_scale=0.0)
    assert [s.word for s in suggest(model, VOCABULARY, "the", k=9)] == list(VOCABULARY.words[1:])


def test_k_is_checked(model):
    for k in (0, 10):
        with pytest.raises(ValueError, match=f"from 1 to 9. Received: k={k}"):
            suggest(model, VOCABULARY, "the", k=k)


@pytest.mark.parametrize("size", [9, 11])
@pytest.mark.parametrize("ask", [suggest, generate])
def test_a_vocabulary_of_another_size_is_told(model, ask, size):
    other = Vocabulary([*VOCABULARY.words, "dog"][:size])
    with pytest.raises(DataError, match=f"vocabulary, of 10 words. Received: one of {size}"):
        ask(model, other, "the")


@pytest.mark.parametrize("ask", [suggest, generate])
def test_a_vocabulary_of_which_nothing_is_left_is_told(ask):
    model = LanguageModel(1, 5, (6,), batch_size=1, num_steps=5)
    with pytest.raises(DataError, match=r"Every word of the vocabulary is left out\. Received: exclude=\('<unk>',\)"):
        ask(model, Vocabulary(["<unk>"]), "the")


def test_generation_repeats_with_its_seed(model):
    first, again, other = (generate(model, VOCABULARY, "the", 40, seed=seed) for seed in (1, 1, 2))
    assert first == again != other
    assert len(first) == 40
    assert "<unk>" not in first


def test_temperature_zero_takes_the_most_probable_word_each_time(model):
    words, text = generate(model, VOCABULARY, "the", 6, temperature=0), ["the"]
    for word in words:
        # Read anew from the beginning: generation goes on from its state instead.
        assert suggest(model, VOCABULARY, " ".join(text), k=1)[0].word == word
        text.append(word)


def test_sampling_follows_the_distribution_and_its_temperature():
    random = np.random.default_rng(0)
    probabilities = np.array([0.2, 0.0, 0.8])
    drawn = np.array([sample(probabilities, 1.0, random) for _ in range(4000)])
    assert np.mean(drawn == 2) == pytest.approx(0.8, abs=0.025)  # four standard deviations
    assert not np.any(drawn == 1)
    # At temperature 1/2 probabilities are squared: 0.04 against 0.64.
    sharper = np.array([sample(probabilities, 0.5, random) for _ in range(4000)])
    assert np.mean(sharper == 2) == pytest.approx(0.64 / 0.68, abs=0.016)


@pytest.mark.parametrize(
    "arguments",
    [
        {"num_words": -1},
        {"top_k": 0},
        {"top_p": 0.0},
        {"top_p": 1.5},
        *({"temperature": value} for value in (-0.1, float("nan"), float("inf"))),
    ],
)
def test_arguments_out_of_range_are_named(model, arguments):
    with pytest.raises(ValueError, match="Received"):
        generate(model, VOCABULARY, "the", **arguments)


def test_sampling_takes_the_most_probable_words_and_renormalises_them():
    probabilities, random = np.array([0.1, 0.4, 0.2, 0.3]), np.random.default_rng(0)

    def shares(**limits):
        drawn = [sample(probabilities, 1.0, random, **limits) for _ in range(4000)]
        return np.bincount(drawn, minlength=4) / 4000

    for limits, expected in (
        ({"top_k": 2}, [0, 4 / 7, 0, 3 / 7]),
        ({"top_p": 0.7}, [0, 4 / 7, 0, 3 / 7]),  # exactly reached
        ({"top_p": 0.71}, [0, 4 / 9, 2 / 9, 3 / 9]),
        ({"top_p": 0.01}, [0, 1, 0, 0]),
        ({"top_k": 3, "top_p": 0.75}, [0, 4 / 7, 0, 3 / 7]),  # of the three: 7/9
        ({"top_k": 9, "top_p": 1.0}, probabilities),
    ):
        np.testing.assert_allclose(shares(**limits), expected, atol=0.03, err_msg=str(limits))
    # The temperature comes first: 0.4 and 0.3 squared are 16 and 9 of 30.
    assert {sample(probabilities, 0.5, random, top_p=0.5) for _ in range(100)} == {1}


def test_a_temperature_near_zero_takes_the_most_probable_word():
    probabilities = np.array([0.2, 0.5, 0.3])
    assert sample(probabilities, 1e-320, np.random.default_rng(0)) == 1


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


def test_words_that_are_left_out_are_the_callers_choice(model):
    assert {s.word for s in suggest(model, VOCABULARY, "the", k=10, exclude=())} == set(VOCABULARY.words)
    words = generate(model, VOCABULARY, "the", 1, temperature=0, exclude=())
    assert words[0] == suggest(model, VOCABULARY, "the", k=1, exclude=())[0].word
    for without in ((words[0], "zebra"), ("<unk>", "cat")):
        assert suggest(model, VOCABULARY, "the", k=1, exclude=without)[0].word not in without
        assert not set(generate(model, VOCABULARY, "the", 40, seed=1, exclude=without)) & set(without)
    suggestions = suggest(model, VOCABULARY, "the", k=9, exclude=words[0])  # one word, not its letters
    assert words[0] not in {s.word for s in suggestions}
    # Named twice, a word is left out once.
    twice = ["<unk>"] * len(VOCABULARY)
    assert len(suggest(model, VOCABULARY, "the", k=9, exclude=twice)) == 9
    assert len(generate(model, VOCABULARY, "the", 4, exclude=twice)) == 4


class Constant:
    """A model that expects the same after any text: each of some characters with its probability."""

    vocabulary_size = 256

    def __init__(self, characters, text, probabilities):
        self.of_next = np.zeros((1, 256), "float32")
        self.of_next[0, characters.encode(text)[-len(text) :]] = probabilities

    def stateless_next_word_probabilities(self, tokens, state):
        return self.of_next, state


def test_a_word_that_does_not_end_counts_as_several():
    characters = Subwords.characters()
    words = generate(Constant(characters, "a ", (0.9, 0.1)), characters, "b", 3, temperature=0)
    assert words == ["a" * 119]  # with its space three times 40


def test_words_of_one_piece_can_be_left_out():
    subwords = Subwords.train(["the cat sat on the mat"] * 9, 270)
    model = LanguageModel(len(subwords), 5, 5, batch_size=1, num_steps=5, init_scale=0.1, seed=0)
    options = {"num_words": 300, "seed": 1, "temperature": 0.7}
    bias = np.full(len(subwords), -9.0, "float32")
    bias[subwords.encode("the cat the.\n")] = 2.0
    model.get_layer("logits").bias.assign(bias)
    assert {"the", "<eos>", "."} < set(generate(model, subwords, "", **options))
    assert not {"the", "<eos>"} & set(generate(model, subwords, "", exclude=["the", "<eos>", "<unk>"], **options))
    with pytest.raises(DataError, match=r"Expected words that are one of the subwords\. Received: exclude=\['zebra'\]"):
        generate(model, subwords, "", exclude=["the", "zebra"], **options)


def test_characters_begin_a_paragraph_without_a_space_and_a_space_at_the_end_says_nothing():
    characters = Subwords.characters()
    model = LanguageModel(256, 4, 4, batch_size=1, num_steps=4, seed=2)
    bias = np.full(256, -9.0, "float32")
    bias[characters.encode("ab .\n")] = 2.0
    model.get_layer("logits").bias.assign(bias)
    for text in ("", "ab\n"):
        assert {"a", "b"} < {suggestion.word for suggestion in suggest(model, characters, text, 4)}
    assert suggest(model, characters, "ab ", 5) == suggest(model, characters, "ab", 5)
