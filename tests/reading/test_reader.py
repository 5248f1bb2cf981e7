import shutil

import numpy as np
import pytest
import tensorflow as tf

from kerasptb.conversion import export_saved_model
from kerasptb.data import UnknownWordError, Vocabulary
from kerasptb.data.text_format import TextFormat
from kerasptb.models import LanguageModel
from kerasptb.reading import Reader, generate, load_saved_model, suggest
from kerasptb.reading.reader import open_reader
from kerasptb.utils.errors import ExportError

# Both come of the same float32 graph; sums of 9 products, taken one row or several at a time.
TOLERANCE = 1e-6


@pytest.fixture(scope="module")
def loaded(saved_model):
    return tf.saved_model.load(str(saved_model))


def test_words_are_read_as_the_whole_text_is(reader, loaded, texts):
    for text in texts:
        encoded = loaded.encode([text])
        expected = encoded["tokens"].numpy()[0, 1 : int(encoded["lengths"][0])]
        units = reader.tokenizer.units_typed(text)
        assert [token for unit in units for token in unit.tokens] == expected.tolist(), repr(text)


def test_a_unit_says_where_it_stands(reader):
    text = "They'll,  do\n—"
    units = [
        (text[unit.start : unit.end], reader.tokenizer.decode(unit.tokens))
        for unit in reader.tokenizer.units_typed(text)
    ]
    assert units == [("They'll,", "they 'll"), ("do", "do"), ("\n", "<eos>")]


def test_the_distribution_is_that_of_predict_next(reader, loaded, texts):
    k = len(reader.tokenizer) - 1
    for text in texts:
        answer = loaded.predict_next([text], k)
        names = [word.decode() for word in answer["words"].numpy()[0]]
        got = np.exp(reader.read_typed(text).log_probabilities)
        assert abs(got.sum() - 1) < 1e-5
        got = [got[reader.tokenizer.word_to_id[name]] for name in names]
        np.testing.assert_allclose(got, answer["probabilities"].numpy()[0], rtol=0, atol=TOLERANCE)


def test_a_few_rows_have_the_distributions_that_many_have(reader):
    hidden = np.random.default_rng(0).normal(size=(9, reader.network.kernel.shape[0])).astype("float32")
    many = reader.log_probabilities(hidden)
    for rows in (1, 3, 8):
        np.testing.assert_allclose(reader.log_probabilities(hidden[:rows]), many[:rows], rtol=0, atol=TOLERANCE * 10)
    assert reader.log_probabilities(hidden[:0]).shape == (0, len(reader.tokenizer))


@pytest.mark.parametrize("units", [9, 8])
def test_a_projection_is_read_from_a_state_too(vocabulary, units):
    model = LanguageModel(
        len(vocabulary),
        8,
        units,
        1,
        5,
        init_scale=1.0,
        tie_embeddings=True,
        projection=True,
        seed=4,
        tokenizer=vocabulary,
    )
    reader = open_reader(model)
    context = reader.read_typed("the company said")
    expected = model.next_word_probabilities(vocabulary.encode_typed("the company said")[np.newaxis])[0]
    np.testing.assert_allclose(np.exp(context.log_probabilities), expected, atol=TOLERANCE)
    (resumed,) = reader.resume([context.state])
    np.testing.assert_allclose(np.exp(resumed.log_probabilities), expected, atol=TOLERANCE)


def test_many_texts_together_equal_each_alone(reader, texts):
    ids = [reader.tokenizer.encode_typed(text)[1:] for text in texts]
    together = reader.read_together([(reader.begin(), each) for each in ids])
    for text, context in zip(texts, together, strict=True):
        alone = reader.read_typed(text)  # in one call
        np.testing.assert_allclose(context.log_probabilities, alone.log_probabilities, atol=TOLERANCE)
        np.testing.assert_allclose(context.state, alone.state, atol=TOLERANCE)


def test_scores_are_those_of_score_and_of_one_word_after_the_other(reader, loaded, texts):
    for text in texts:
        answer, ids = loaded.score([text]), reader.tokenizer.encode_typed(text)[1:]
        expected = answer["log_probabilities"].numpy()[0, : int(answer["num_words"][0])]
        np.testing.assert_allclose(reader.score(reader.begin(), ids), expected, rtol=1e-5, atol=1e-5)
        context, values = reader.begin(), []
        for token in ids:
            values.append(context.log_probabilities[token])
            (context,) = reader.extend([context], [token])
        np.testing.assert_allclose(values, expected, rtol=1e-5, atol=1e-5)


def test_a_model_and_its_export_read_alike(reader, model, texts):
    of_model = open_reader(model)
    for text in texts:
        here, there = of_model.read_typed(text), reader.read_typed(text)
        np.testing.assert_allclose(here.log_probabilities, there.log_probabilities, atol=10 * TOLERANCE)
        ids = reader.tokenizer.encode_typed(text)[1:]
        scores = (each.score(each.begin(), ids) for each in (of_model, reader))
        np.testing.assert_allclose(*scores, rtol=1e-4, atol=1e-5)
        (resumed,) = of_model.resume([here.state])
        np.testing.assert_allclose(resumed.log_probabilities, here.log_probabilities, atol=10 * TOLERANCE)


def test_a_state_alone_gives_the_same_distribution(reader):
    contexts = [reader.read_typed(text) for text in ("the cat", "do n't")]
    for context, resumed in zip(contexts, reader.resume([c.state for c in contexts]), strict=True):
        np.testing.assert_allclose(resumed.log_probabilities, context.log_probabilities, rtol=0, atol=TOLERANCE)


def test_suggestions_and_samples_are_those_of_the_trained_model(reader, model):
    text = "they do n't compare the"
    for here, there in zip(suggest(reader, text, 10), suggest(model, text, 10), strict=True):
        assert (here.word, round(here.probability, 5)) == (there.word, round(there.probability, 5))
    assert generate(reader, text, 9, temperature=0) == generate(model, text, 9, temperature=0)


def test_the_fingerprint_is_the_models(reader, model, vocabulary, tmp_path):
    assert open_reader(model).fingerprint == reader.fingerprint
    other = Reader(reader.network, TextFormat(tokenizer=Vocabulary(reversed(vocabulary.words))))
    assert other.fingerprint != reader.fingerprint


def test_a_vocabulary_without_eos_and_unk(tmp_path):
    words = Vocabulary(["one", "two", "three"])
    model = LanguageModel(3, 4, 5, batch_size=1, num_steps=4, init_scale=1.0, seed=1, tokenizer=words)
    reader = load_saved_model(export_saved_model(model, tmp_path / "plain"))
    assert reader.begin().log_probabilities is None
    assert [unit.tokens.tolist() for unit in words.units_typed("One two\nthree")] == [[0], [1], [2]]
    first, *others = reader.score(reader.begin(), words.encode("one two three"))
    assert np.isnan(first)  # nothing comes before it
    expected = [reader.read_typed(text).log_probabilities[i] for i, text in ((1, "one"), (2, "one two"))]
    np.testing.assert_allclose(others, expected, rtol=1e-5)
    with pytest.raises(UnknownWordError, match="The word 'four' is not in the vocabulary"):
        reader.read_typed("one four")


def test_a_folder_that_holds_no_model_is_refused(tmp_path):
    with pytest.raises(ExportError, match="made by `kerasptb train` or `kerasptb export`"):
        load_saved_model(tmp_path)
    tf.saved_model.save(tf.Module(), str(tmp_path / "other"))
    with pytest.raises(ExportError, match="made by `kerasptb train` or `kerasptb export`"):
        load_saved_model(tmp_path / "other")


def test_a_model_that_was_copied_in_part_is_refused(saved_model, tmp_path):
    folder = shutil.copytree(saved_model, tmp_path / "model")
    data = folder / "variables" / "variables.data-00000-of-00001"
    data.write_bytes(data.read_bytes()[:100])
    with pytest.raises(ExportError, match="made by `kerasptb train` or `kerasptb export`"):
        load_saved_model(folder)
