import keras
import numpy as np
import pytest

from kerasptb.data import DataError, Subwords, Vocabulary
from kerasptb.keyboard import evaluate_keyboard
from kerasptb.models import LanguageModel
from kerasptb.reading import generate, suggest
from kerasptb.reading.reader import open_reader

VOCABULARY = Vocabulary(["<unk>", "<eos>", "the", "N", "cat", "sat", "Oslo", "n't", "did", "mr."])


@pytest.fixture(scope="module")
def model():
    return LanguageModel(
        len(VOCABULARY), 5, (6,), batch_size=1, num_steps=5, init_scale=2.0, seed=0, tokenizer=VOCABULARY
    )


def test_suggestions_are_the_most_probable_words_without_unk(model):
    probabilities = model.next_word_probabilities([VOCABULARY.encode_typed("the cat")])[0]
    suggestions = suggest(model, "the cat", k=9)
    assert [s.word for s in suggestions] == [VOCABULARY.words[i] for i in np.argsort(-probabilities) if i != 0]
    expected = sorted(probabilities[1:], reverse=True)
    np.testing.assert_allclose([s.probability for s in suggestions], expected, rtol=1e-6)
    assert sum(s.probability for s in suggestions) == pytest.approx(1 - probabilities[0], rel=1e-5)


def test_equally_probable_words_come_in_the_order_of_their_ids():
    model = LanguageModel(len(VOCABULARY), 5, (6,), batch_size=1, num_steps=5, init_scale=0.0, tokenizer=VOCABULARY)
    assert [s.word for s in suggest(model, "the", k=9)] == list(VOCABULARY.words[1:])


def test_a_completion_has_its_probability_given_the_letters_that_are_typed(model):
    chances = {each.word: each.probability for each in suggest(model, "the cat", k=9)}
    begun = {word: chance for word, chance in chances.items() if word.lower().startswith("n") and word != "N"}
    found = suggest(model, "the cat n", k=9, complete=True)
    assert {each.word for each in found} == {"n't"}
    assert [each.probability for each in found] == pytest.approx([1.0], rel=1e-6)
    assert sum(begun.values()) < 0.5
    after_space = {each.word: each.probability for each in suggest(model, "the cat ", k=9, complete=True)}
    assert after_space == pytest.approx(chances)  # no letter is typed


def test_of_a_script_without_spaces_what_follows_is_suggested_not_what_is_written(japanese):
    for text, complete in (("猫は", True), ("犬は猫を見ています。私は", True), ("猫は", False)):
        words = [each.word for each in suggest(japanese.model, text, 30, complete=complete)]
        assert {"犬", "猫", "ています"} <= set(words), words
        assert not {"猫は", "は", "私は"} & set(words)


def test_k_is_checked(model):
    with pytest.raises(ValueError, match=r"from 1 to 9\. Received: k=10"):
        suggest(model, "the", k=10)
    for k in (0, 1.5, "3", True):
        with pytest.raises(ValueError, match=f"`k` must be a whole number of at least 1. Received: k={k!r}"):
            suggest(model, "the", k=k)


@pytest.mark.parametrize("ask", [suggest, generate])
def test_what_is_no_model_of_ours_is_told_what_it_must_be(ask):
    own = keras.Sequential([keras.layers.Embedding(6, 4), keras.layers.LSTM(5), keras.layers.Dense(6)])
    for other in (own, "english", None):
        with pytest.raises(ValueError, match=r"`kerasptb.reading.Reader` for .* Received: " + type(other).__name__):
            ask(other, "the")


def test_a_process_that_is_forked_after_a_use_can_ask_a_reader(model, said_by_a_fork, native_library):
    """A model in Keras it cannot, whose backend has threads that the fork left behind."""
    reader = open_reader(model)
    expected = repr(suggest(reader, "the", k=9)).encode()
    assert said_by_a_fork(lambda: repr(suggest(reader, "the", k=9)).encode()) == expected

    def ask():
        with pytest.raises(RuntimeError) as told:
            suggest(model, "the")
        return str(told.value).encode()

    assert said_by_a_fork(ask).startswith(b"Expected a process that was begun anew, as by multiprocessing.get_context")
    assert repr(suggest(model, "the", k=9)).encode() == expected  # the first process goes on


def test_no_more_words_of_pieces_are_looked_for_than_memory_holds():
    model = LanguageModel(256, 4, 4, batch_size=1, num_steps=4, tokenizer=Subwords.characters())
    for k in (1001, 100_000):
        with pytest.raises(ValueError, match=f"from 1 to 1000. Received: k={k}"):
            suggest(model, "the", k=k)
    with pytest.raises(ValueError, match=r"`keys` must be at most 1000\. Received: keys=1001"):
        evaluate_keyboard(model, "a few words", keys=1001)


def test_characters_begin_a_paragraph_without_a_space_and_a_space_at_the_end_says_nothing():
    characters = Subwords.characters()
    model = LanguageModel(256, 4, 4, batch_size=1, num_steps=4, seed=2, tokenizer=characters)
    bias = np.full(256, -9.0, "float32")
    bias[characters.encode("ab .\n")] = 2.0
    model.get_layer("logits").bias.assign(bias)
    for text in ("", "ab\n"):
        assert {"a", "b"} < {suggestion.word for suggestion in suggest(model, text, 4)}
    assert suggest(model, "ab ", 5) == suggest(model, "ab", 5)


@pytest.mark.parametrize("ask", [suggest, generate])
def test_a_model_that_does_not_know_its_tokenizer_is_told(ask):
    with pytest.raises(ValueError, match="give it as `tokenizer` where the model is made"):
        ask(LanguageModel(3, 5, (6,), batch_size=1, num_steps=5), "the")


@pytest.mark.parametrize("ask", [suggest, generate])
def test_a_vocabulary_of_which_nothing_is_left_is_told(ask):
    model = LanguageModel(1, 5, (6,), batch_size=1, num_steps=5, tokenizer=Vocabulary(["<unk>"]))
    with pytest.raises(DataError, match=r"Every word of the vocabulary is left out\. Received: exclude=\('<unk>',\)"):
        ask(model, "the")
