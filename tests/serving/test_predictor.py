import shutil

import numpy as np
import pytest
import tensorflow as tf

from kerasptb.data import Vocabulary
from kerasptb.generation import encode_text, suggest
from kerasptb.models import LanguageModel
from kerasptb.models.portable import PortableNetwork
from kerasptb.serving.errors import BadRequestError, ServingError
from kerasptb.serving.predictor import Predictor

# Both come of the same float32 graph; sums of 9 products, taken one row or several at a time.
TOLERANCE = 1e-6


@pytest.fixture(scope="module")
def loaded(saved_model):
    return tf.saved_model.load(str(saved_model))


def after(predictor, text):
    return predictor.extend([(predictor.initial, predictor.encode(text))])[0]


def test_words_are_read_as_the_whole_text_is(predictor, loaded, texts):
    for text in texts:
        encoded = loaded.encode([text])
        expected = encoded["tokens"].numpy()[0, 1 : int(encoded["lengths"][0])]
        units = predictor.units(text)
        assert [token for unit in units for token in unit.tokens] == expected.tolist(), repr(text)


def test_a_unit_says_where_it_stands(predictor):
    text = "They'll,  do\n—"
    units = [(text[unit.start : unit.end], predictor.tokenizer.decode(unit.tokens)) for unit in predictor.units(text)]
    assert units == [("They'll,", "they 'll"), ("do", "do"), ("\n", "<eos>")]


def test_the_distribution_is_that_of_predict_next(predictor, loaded, texts):
    k = len(predictor.tokenizer) - 1
    for text in texts:
        answer = loaded.predict_next([text], k)
        names = [word.decode() for word in answer["words"].numpy()[0]]
        got = np.exp(after(predictor, text).next_log_probabilities)
        assert abs(got.sum() - 1) < 1e-5
        got = [got[predictor.tokenizer.word_to_id[name]] for name in names]
        np.testing.assert_allclose(got, answer["probabilities"].numpy()[0], rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("units", [9, 8])
def test_a_projection_is_read_from_a_state_too(vocabulary, units):
    model = LanguageModel(len(vocabulary), 8, units, 1, 5, init_scale=1.0, tie_embeddings=True, projection=True, seed=4)
    predictor = Predictor(PortableNetwork(model), vocabulary)
    context = after(predictor, "the company said")
    expected = model.next_word_probabilities(encode_text(vocabulary, "the company said")[np.newaxis])[0]
    np.testing.assert_allclose(np.exp(context.next_log_probabilities), expected, atol=TOLERANCE)
    (resumed,) = predictor.resume([context.state])
    np.testing.assert_allclose(np.exp(resumed.next_log_probabilities), expected, atol=TOLERANCE)


def test_many_texts_together_equal_each_alone(predictor, texts):
    together = predictor.extend([(predictor.initial, predictor.encode(text)) for text in texts])
    for text, context in zip(texts, together, strict=True):
        alone = after(predictor, text)
        np.testing.assert_allclose(context.next_log_probabilities, alone.next_log_probabilities, atol=TOLERANCE)
        np.testing.assert_allclose(context.state, alone.state, atol=TOLERANCE)
        np.testing.assert_allclose(context.token_log_probabilities, alone.token_log_probabilities, atol=TOLERANCE)


def test_one_call_for_a_text_equals_word_by_word(predictor, texts):
    for text in texts:
        whole = predictor.extend_long(predictor.initial, predictor.encode(text))
        np.testing.assert_allclose(
            whole.next_log_probabilities, after(predictor, text).next_log_probabilities, atol=TOLERANCE
        )


def test_word_by_word_equals_score(predictor, loaded, texts):
    for text in texts:
        answer = loaded.score([text])
        expected = answer["log_probabilities"].numpy()[0, : int(answer["num_words"][0])]
        np.testing.assert_allclose(after(predictor, text).token_log_probabilities, expected, rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(predictor.score(predictor.encode(text)), expected)


def test_a_state_alone_gives_the_same_distribution(predictor):
    contexts = [after(predictor, text) for text in ("the cat", "do n't")]
    for context, resumed in zip(contexts, predictor.resume([c.state for c in contexts]), strict=True):
        np.testing.assert_allclose(
            resumed.next_log_probabilities, context.next_log_probabilities, rtol=0, atol=TOLERANCE
        )


def test_suggestions_are_those_of_the_trained_model(predictor, model, vocabulary):
    text = "they do n't compare the"
    got = after(predictor, text).next_log_probabilities
    for suggestion in suggest(model, vocabulary, text, k=10):
        assert abs(np.exp(got[vocabulary.word_to_id[suggestion.word]]) - suggestion.probability) < 1e-5


def test_the_fingerprint_is_the_models(predictor, model, vocabulary, tmp_path):
    assert Predictor(PortableNetwork(model), vocabulary).fingerprint == predictor.fingerprint  # as of a run
    from kerasptb.export import export_saved_model

    other = Vocabulary(reversed(vocabulary.words))
    assert Predictor.load(export_saved_model(model, tmp_path / "other", other)).fingerprint != predictor.fingerprint


def test_a_vocabulary_without_eos_and_unk(tmp_path):
    from kerasptb.export import export_saved_model
    from kerasptb.models import LanguageModel

    words = Vocabulary(["one", "two", "three"])
    model = LanguageModel(3, 4, 5, batch_size=1, num_steps=4, init_scale=1.0, seed=1)
    predictor = Predictor.load(export_saved_model(model, tmp_path / "plain", words))
    assert predictor.initial.next_log_probabilities is None
    context = after(predictor, "One two\nthree")
    assert [unit.tokens.tolist() for unit in predictor.units("One two\nthree")] == [[0], [1], [2]]
    assert len(context.token_log_probabilities) == 2  # nothing comes before the first
    np.testing.assert_allclose(
        predictor.score(predictor.encode("one two three")), context.token_log_probabilities, rtol=1e-5
    )
    with pytest.raises(BadRequestError, match="The word 'four' is not in the vocabulary"):
        predictor.units("one four")
    with pytest.raises(BadRequestError, match="The word 'four' is not in the vocabulary"):
        predictor.encode("four")
    assert after(predictor, "two").next_log_probabilities.shape == (3,)


def test_a_folder_that_holds_no_model_is_refused(tmp_path):
    with pytest.raises(ServingError, match="made by `kerasptb train` or `kerasptb export`"):
        Predictor.load(tmp_path)
    tf.saved_model.save(tf.Module(), str(tmp_path / "other"))
    with pytest.raises(ServingError, match="made by `kerasptb train` or `kerasptb export`"):
        Predictor.load(tmp_path / "other")


def test_a_model_that_was_copied_in_part_is_refused(saved_model, tmp_path):
    folder = shutil.copytree(saved_model, tmp_path / "model")
    data = folder / "variables" / "variables.data-00000-of-00001"
    data.write_bytes(data.read_bytes()[:100])
    with pytest.raises(ServingError, match="made by `kerasptb train` or `kerasptb export`"):
        Predictor.load(folder)
