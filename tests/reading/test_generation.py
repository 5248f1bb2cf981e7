import re

import numpy as np
import pytest
from small_readers import ConstantNetwork

from kerasptb.data import DataError, Subwords, Vocabulary
from kerasptb.data.text_format import TextFormat
from kerasptb.evaluation import score_sentences
from kerasptb.keyboard import evaluate_keyboard
from kerasptb.models import LanguageModel
from kerasptb.reading import Reader, generate, generate_text, suggest
from kerasptb.reading.generation import sample

VOCABULARY = Vocabulary(["<unk>", "<eos>", "the", "N", "cat", "sat", "Oslo", "n't", "did", "mr."])


@pytest.fixture(scope="module")
def model():
    return LanguageModel(
        len(VOCABULARY), 5, (6,), batch_size=1, num_steps=5, init_scale=2.0, seed=0, tokenizer=VOCABULARY
    )


def test_generation_repeats_with_its_seed(model):
    first, again, other = (generate(model, "the", 40, seed=seed) for seed in (1, 1, 2))
    assert first == again != other
    assert sum(word != "<eos>" for word in first) == 40
    assert first[-1] != "<eos>"
    assert "<unk>" not in first


def test_temperature_zero_takes_the_most_probable_word_each_time(model):
    words, text = generate(model, "the", 6, temperature=0), ["the"]
    for word in words:
        # Read anew from the beginning: generation goes on from its state instead.
        assert suggest(model, " ".join(text), k=1)[0].word == word
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
        {"words": -1},
        {"words": 1.5},
        {"top_k": 0},
        {"top_k": 1.5},
        {"top_p": 0.0},
        {"top_p": 1.5},
        {"seed": -1},
        {"seed": 1.5},
        *({"temperature": value} for value in (-0.1, float("nan"), float("inf"))),
    ],
)
def test_arguments_out_of_range_are_named(model, arguments):
    ((name, value),) = arguments.items()
    with pytest.raises(ValueError, match=re.escape(f"`{name}` must be a ") + f".*Received: {name}={value}"):
        generate(model, "the", **arguments)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "Expected a text, a str. Received: NoneType"),
        (b"the", "Received: bytes: decode bytes first"),
        ("the \udce9", r"Expected whole characters, .*Received: '\\udce9', at place 4 of the text"),
    ],
)
def test_what_is_no_text_is_told(model, text, message):
    score = lambda model, text: list(score_sentences(model, [text]))  # noqa: E731
    for ask in (suggest, generate, generate_text, score, evaluate_keyboard):
        with pytest.raises(DataError, match=message):
            ask(model, text)


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


def test_words_that_are_left_out_are_the_callers_choice(model):
    assert {s.word for s in suggest(model, "the", k=10, exclude=())} == set(VOCABULARY.words)
    words = generate(model, "the", 1, temperature=0, exclude=())
    assert words[0] == suggest(model, "the", k=1, exclude=())[0].word
    for without in ((words[0], "zebra"), ("<unk>", "cat")):
        assert suggest(model, "the", k=1, exclude=without)[0].word not in without
        assert not set(generate(model, "the", 40, seed=1, exclude=without)) & set(without)
    suggestions = suggest(model, "the", k=9, exclude=words[0])  # one word, not its letters
    assert words[0] not in {s.word for s in suggestions}
    # Named twice, a word is left out once.
    twice = ["<unk>"] * len(VOCABULARY)
    assert len(suggest(model, "the", k=9, exclude=twice)) == 9
    assert len(generate(model, "the", tokens=4, exclude=twice)) == 4


def constant(characters, text, probabilities):
    """Expects the same after any text: each of some characters with its probability."""
    logs = np.full(256, -np.inf, "float32")
    logs[[characters.pieces.index(each.encode()) for each in text]] = np.log(probabilities)
    return Reader(ConstantNetwork(logs), TextFormat(tokenizer=characters))


def test_a_word_that_does_not_end_counts_as_several():
    characters = Subwords.characters()
    words = generate(constant(characters, "a ", (0.9, 0.1)), "b", 3, temperature=0)
    assert words == ["a" * 3 * 40]


def test_words_are_counted_and_not_the_signs_between_them():
    characters = Subwords.characters()
    reader = constant(characters, "a, \n", (0.4, 0.2, 0.2, 0.2))
    for seed in range(5):
        sampled = generate(reader, "b", 12, temperature=1, seed=seed)
        assert sum("a" in each for each in sampled) == 12, sampled
        assert "a" in sampled[-1] and sampled != ["a"] * 12
        assert generate_text(reader, "b", tokens=7, temperature=1, seed=seed)[1:].count("") == 8  # 7 characters
    assert generate(reader, "b", 0) == generate(reader, "b", tokens=0) == []


def test_a_text_without_words_ends():
    reader = constant(Subwords.characters(), ", ", (0.9, 0.1))
    assert len(generate_text(reader, "b", 2, temperature=0)) == 1 + 2 * 40 + 1


def test_pieces_of_words_are_sampled_at_a_lower_temperature_than_words(model):
    characters = constant(Subwords.characters(), "a ", (0.6, 0.4))
    for reader, usual, other in ((characters, 0.7, 1.0), (model, 1.0, 0.7)):
        first = generate(reader, "the", 40, seed=3)
        assert first == generate(reader, "the", 40, usual, seed=3) != generate(reader, "the", 40, other, seed=3)


def test_words_of_one_piece_can_be_left_out():
    subwords = Subwords.train(["the cat sat on the mat"] * 9, 270)
    model = LanguageModel(len(subwords), 5, 5, batch_size=1, num_steps=5, init_scale=0.1, seed=0, tokenizer=subwords)
    options = {"words": 300, "seed": 1, "temperature": 0.7}
    bias = np.full(len(subwords), -9.0, "float32")
    bias[subwords.encode("the cat the.\n")] = 2.0
    model.get_layer("logits").bias.assign(bias)
    assert {"the", "<eos>", "."} < set(generate(model, "", **options))
    assert not {"the", "<eos>"} & set(generate(model, "", exclude=["the", "<eos>", "<unk>"], **options))
    with pytest.raises(DataError, match=r"Expected words that are one of the subwords\. Received: exclude=\['zebra'\]"):
        generate(model, "", exclude=["the", "zebra"], **options)


def test_after_an_opening_quote_and_where_characters_begin_a_word_may_begin():
    characters = constant(Subwords.characters(), "a ", (0.9, 0.1))
    for prompt in ("", "b\n", 'b "', "b ("):
        assert generate(characters, prompt, 1, temperature=0)[0][:1] == "a", prompt
        assert generate_text(characters, prompt, 1, temperature=0).startswith(f"{prompt}a")
    assert generate_text(characters, "b", 1, temperature=0).startswith("b a")  # a whole word, as before
    assert generate_text(characters, "字", 1, temperature=0).startswith("字a")
