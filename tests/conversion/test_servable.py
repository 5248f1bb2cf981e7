import concurrent.futures
import json

import numpy as np
import pytest
import tensorflow as tf

from kerasptb.data import Subwords
from kerasptb.models import evaluate_perplexity
from kerasptb.reading import generate, suggest

TEXTS = ["", "the company said", "The cat doesn't", "zebra zebra", "Mr. quick brown fox of the market 's over\nit is"]


def words(tensor):
    return [[word.decode() for word in row] for row in tensor.numpy()]


def probabilities_by_word(result):
    """Returns a list with a dict from word to probability for each row."""
    rows = zip(words(result["words"]), result["probabilities"].numpy(), strict=True)
    return [dict(zip(names, values.tolist(), strict=True)) for names, values in rows]


def test_all_probabilities_are_those_of_the_trained_model(loaded, model, vocabulary):
    result = probabilities_by_word(loaded.predict_next(TEXTS, len(vocabulary) - 1))
    for text, row in zip(TEXTS, result, strict=True):
        expected = model.next_word_probabilities(vocabulary.encode_typed(text)[np.newaxis])[0]
        assert set(row) == set(vocabulary.words) - {"<unk>"}
        for word, probability in row.items():
            assert probability == pytest.approx(expected[vocabulary.word_to_id[word]], abs=1e-5)


@pytest.mark.parametrize("text", TEXTS)
def test_suggestions_are_those_of_suggest(loaded, model, vocabulary, text):
    result = loaded.predict_next([text], 4)
    expected = suggest(model, text, 4)
    assert words(result["words"]) == [[suggestion.word for suggestion in expected]]
    np.testing.assert_allclose(
        result["probabilities"][0], [suggestion.probability for suggestion in expected], atol=1e-5
    )


def test_unk_is_not_suggested_even_if_it_is_the_likeliest(vocabulary, tmp_path):
    from kerasptb.conversion.servable import Servable
    from kerasptb.models import LanguageModel
    from kerasptb.models.portable import PortableNetwork

    model = LanguageModel(len(vocabulary), 4, 4, 1, 1, seed=0, tokenizer=vocabulary)
    bias = np.zeros(len(vocabulary), "float32")
    bias[vocabulary.unk_id] = 5.0
    model.get_layer("logits").bias.assign(bias)
    servable = Servable(PortableNetwork(model), model.text_format, tmp_path)
    result = servable.predict_next(["the"], len(vocabulary) - 1)
    assert "<unk>" not in words(result["words"])[0]
    unk_probability = model.next_word_probabilities(vocabulary.encode_typed("the")[np.newaxis])[0, vocabulary.unk_id]
    assert float(tf.reduce_sum(result["probabilities"])) == pytest.approx(1 - unk_probability, abs=1e-5)
    assert unk_probability > 0.5
    generated = servable.generate([""] * 20, 20, 1.0, 0)["words"]
    assert "<unk>" not in {word for row in words(generated) for word in row}


def test_suggestions_are_five_where_no_number_is_named(loaded):
    assert loaded.predict_next(["the"])["words"].shape == (1, 5)


def test_a_row_does_not_depend_on_its_neighbours(loaded):
    together = loaded.predict_next(TEXTS, 7)
    scored = loaded.score(TEXTS)
    for row, text in enumerate(TEXTS):
        alone = loaded.predict_next([text], 7)
        assert words(alone["words"])[0] == words(together["words"])[row]
        np.testing.assert_allclose(alone["probabilities"][0], together["probabilities"][row], atol=1e-6)
        np.testing.assert_allclose(loaded.score([text])["perplexity"], scored["perplexity"][row : row + 1], rtol=1e-5)


@pytest.mark.parametrize("text", TEXTS)
def test_word_by_word_equals_the_whole_text(loaded, vocabulary, text):
    k = len(vocabulary) - 1
    tokens, state = loaded.encode([text])["tokens"], loaded.initial_state(1)
    for step in range(tokens.shape[1]):
        result = loaded.signatures["step"](tokens=tokens[:, step : step + 1], k=tf.constant(k), **state)
        state = {name: result[name] for name in state}
    streamed, whole = probabilities_by_word(result)[0], probabilities_by_word(loaded.predict_next([text], k))[0]
    assert streamed == pytest.approx(whole, abs=1e-6)


def test_a_step_may_take_many_words_and_rows(loaded):
    state = loaded.initial_state(2)
    at_once = loaded.step(tf.constant([[1, 5, 7], [2, 2, 9]]), 3, *state_arguments(state))
    for column in ([[1], [2]], [[5], [2]], [[7], [9]]):
        one_by_one = loaded.step(tf.constant(column), 3, *state_arguments(state))
        state = one_by_one
    for name in ("probabilities", "h0", "c0", "h1", "c1"):
        np.testing.assert_allclose(at_once[name], one_by_one[name], atol=1e-6, err_msg=name)
    assert words(at_once["words"]) == words(one_by_one["words"])


def state_arguments(state):
    return [state[name] for name in ("h0", "c0", "h1", "c1")]


def test_scores_are_the_log_probabilities_of_each_word_given_those_before(loaded, model, vocabulary):
    text = "The quick zebra doesn't sit"
    result = loaded.score([text])
    tokens = vocabulary.encode_typed(text)
    assert words(result["words"]) == [["the", "quick", "<unk>", "does", "n't", "<unk>"]]
    assert result["num_words"].numpy().tolist() == [6]
    expected = [np.log(model.next_word_probabilities(tokens[np.newaxis, : i + 1])[0, tokens[i + 1]]) for i in range(6)]
    np.testing.assert_allclose(result["log_probabilities"][0], expected, atol=1e-5)
    assert float(result["perplexity"][0]) == pytest.approx(np.exp(-np.mean(expected)), rel=1e-5)


def test_perplexity_of_a_long_text_is_that_of_evaluate(loaded, model, vocabulary):
    # More words than are scored together, and not a multiple of that number.
    ids = np.random.default_rng(0).integers(0, len(vocabulary), 1300)
    result = loaded.score([vocabulary.decode(ids).replace(" <eos> ", "\n")])
    expected = evaluate_perplexity(model, np.r_[vocabulary.eos_id, ids].astype("int32"), every_word=True)
    assert result["num_words"].numpy().tolist() == [1300]
    assert float(result["perplexity"][0]) == pytest.approx(expected, rel=1e-5)


def test_rows_without_words_score_one(loaded):
    result = loaded.score(["", "the cat", " \t "])
    assert words(result["words"]) == [["", ""], ["the", "cat"], ["", ""]]
    assert result["num_words"].numpy().tolist() == [0, 2, 0]
    np.testing.assert_array_equal(result["log_probabilities"].numpy()[[0, 2]], 0)
    np.testing.assert_array_equal(result["perplexity"].numpy()[[0, 2]], 1)
    assert loaded.score([""])["words"].shape == (1, 0)


def test_greedy_generation_is_that_of_generate(loaded, model, vocabulary):
    result = loaded.generate(["the company", "", "Mr. fox of the"], 12, 0.0, 0)
    for row, prompt in zip(words(result["words"]), ["the company", "", "Mr. fox of the"], strict=True):
        assert row == generate(model, prompt, tokens=12, temperature=0)


def test_the_seed_decides_what_is_drawn(loaded):
    first = words(loaded.generate(["the"], 20, 1.0, 7)["words"])
    assert words(loaded.generate(["the"], 20, 1.0, 7)["words"]) == first
    assert words(loaded.generate(["the"], 20, 1.0, 8)["words"]) != first
    # More words from the same seed begin with the same ones.
    assert words(loaded.generate(["the"], 25, 1.0, 7)["words"])[0][:20] == first[0]


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_words_are_drawn_as_often_as_the_model_says(loaded, model, vocabulary, temperature):
    num_draws = 4000
    drawn = words(loaded.generate(["the cat"] * num_draws, 1, temperature, 3)["words"])
    probabilities = model.next_word_probabilities(vocabulary.encode_typed("the cat")[np.newaxis])[0].astype("float64")
    probabilities[vocabulary.unk_id] = 0
    probabilities **= 1 / temperature
    probabilities /= probabilities.sum()
    counts = np.bincount([vocabulary.word_to_id[row[0]] for row in drawn], minlength=len(vocabulary))
    # Pearson's chi-squared statistic has mean V - 2 and variance 2 (V - 2); the seed is fixed, so it passes always.
    possible = probabilities > 0
    statistic = np.sum((counts - num_draws * probabilities)[possible] ** 2 / (num_draws * probabilities[possible]))
    degrees = possible.sum() - 1
    assert statistic < degrees + 4 * np.sqrt(2 * degrees)
    assert counts[~possible].sum() == 0


def test_each_word_is_drawn_anew(loaded):
    # At this temperature all words are as likely, whatever came before.
    (drawn,) = words(loaded.generate([""], 100, 1e6, 3)["words"])
    assert len(set(drawn)) > 20


def test_the_lowest_temperature_draws_the_likeliest(loaded):
    greedy = words(loaded.generate(["the"], 8, 0.0, 1)["words"])
    assert words(loaded.generate(["the"], 8, 1e-38, 1)["words"]) == greedy


def test_no_words_are_generated_where_none_are_asked_for(loaded):
    assert loaded.generate(["the", "a"], 0, 1.0, 1)["words"].shape == (2, 0)


def test_the_initial_state_is_zero(loaded, model):
    state = loaded.initial_state(3)
    assert {name: value.shape.as_list() for name, value in state.items()} == {
        "h0": [3, 11],
        "c0": [3, 11],
        "h1": [3, 9],
        "c1": [3, 9],
    }
    assert all(not np.any(value) for value in state.values())


def test_odd_texts_are_answered(loaded, vocabulary):
    odd = [
        "\ud83d".encode("utf-8", "surrogatepass"),
        b"\xff\xfe\x00",
        "\u202eהפוך",
        "é" * 300,
        "\x00",
        "x" * 200_000,
        "🙂🙃",
    ]
    result = loaded.predict_next(odd, len(vocabulary) - 1)
    sums = result["probabilities"].numpy().sum(axis=1)
    assert np.all((sums > 0.5) & (sums < 1 + 1e-5))
    assert np.all(np.isfinite(loaded.score(odd)["perplexity"]))


def test_ten_thousand_words_are_answered(loaded):
    text = "the cat sat on " * 3000
    predicted, scored = loaded.predict_next([text], 5), loaded.score([text])
    stepped = loaded.step(loaded.encode([text])["tokens"], 5, *state_arguments(loaded.initial_state(1)))
    assert words(predicted["words"]) == words(stepped["words"])
    np.testing.assert_allclose(predicted["probabilities"], stepped["probabilities"], atol=1e-6)
    assert scored["num_words"].numpy().tolist() == [12000]
    assert np.isfinite(scored["perplexity"][0])


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("predict_next", (["a"], 0), "`k` from 1 to 52"),
        ("predict_next", (["a"], 53), "`k` from 1 to 52"),
        ("predict_next", ([], 1), "at least one text"),
        ("initial_state", (0,), "`batch` of at least 1"),
        ("generate", (["a"], -1, 1.0, 0), "`num_words` from 0 to 10000"),
        ("generate", (["a"], 10_001, 1.0, 0), "`num_words` from 0 to 10000"),
        ("generate", (["a"], 1, -0.1, 0), "finite `temperature` of at least 0"),
        ("generate", (["a"], 1, float("nan"), 0), "finite `temperature` of at least 0"),
        ("generate", (["a"], 1, float("inf"), 0), "finite `temperature` of at least 0"),
        ("score", ([],), "at least one text"),
    ],
)
def test_what_is_out_of_range_is_refused(loaded, name, arguments, message):
    arguments = [tf.constant(value, tf.string) if value == [] else value for value in arguments]
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        getattr(loaded, name)(*arguments)


@pytest.mark.parametrize("tokens", [[[53]], [[-1]], [[]]])
def test_ids_out_of_range_and_no_words_are_refused_by_step(loaded, tokens):
    with pytest.raises(tf.errors.InvalidArgumentError, match="ids from 0 to 52"):
        loaded.step(tf.constant(tokens, tf.int32), 1, *state_arguments(loaded.initial_state(1)))


def test_concurrent_callers_get_the_answers_of_one_at_a_time(loaded):
    texts = [" ".join(["the", "cat", "sat", "on", "company"][: i % 5 + 1] * (i % 4 + 1)) for i in range(64)]

    def ask(text):
        return loaded.predict_next([text], 5), loaded.generate([text], 5, 1.0, 1), loaded.score([text])

    one_at_a_time = [ask(text) for text in texts]
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        together = list(pool.map(ask, texts))
    for (predicted, generated, scored), (predicted_2, generated_2, scored_2) in zip(
        one_at_a_time, together, strict=True
    ):
        assert words(predicted["words"]) == words(predicted_2["words"])
        np.testing.assert_allclose(predicted["probabilities"], predicted_2["probabilities"], atol=1e-7)
        assert words(generated["words"]) == words(generated_2["words"])
        np.testing.assert_allclose(scored["log_probabilities"], scored_2["log_probabilities"], atol=1e-6)


def test_a_step_takes_a_state_of_as_many_rows_as_it_has_words(loaded):
    state = dict(loaded.initial_state(2))
    for wrong in ({}, {"c1": state["c1"][:1]}):
        tokens = np.zeros((2 if wrong else 1, 3), "int32")
        with pytest.raises(tf.errors.InvalidArgumentError, match=r"Expected a row of .*c1 for each row of `tokens`"):
            loaded.step(tokens, 2, **state | wrong)
    with pytest.raises(tf.errors.InvalidArgumentError, match="Expected a row of"):
        loaded.step(np.zeros((2, 3), "int32"), 2, **loaded.initial_state(1))


@pytest.fixture(scope="module")
def of_ids(subword_exports):
    return tf.saved_model.load(str(subword_exports / "models" / "novel" / "1"))


def test_ids_are_read_and_written_where_tokens_are_no_words(of_ids, subword_model, subwords):
    rows = [subwords.encode_typed(text).tolist() for text in ("Once upon a time", "the", "")]
    padded = [row + [-1] * (len(rows[0]) - len(row)) for row in rows]
    predicted, scored = of_ids.predict_next(padded, len(subwords)), of_ids.score(padded)
    generated = of_ids.generate(padded, 4, 0.0, 0)["tokens"].numpy()
    assert scored["num_tokens"].numpy().tolist() == [len(row) - 1 for row in rows]
    for i, row in enumerate(rows):
        tokens, logs = np.array([row], "int32"), []
        for t in range(1, len(row)):
            logs.append(np.log(subword_model.next_word_probabilities(tokens[:, :t])[0, row[t]]))
        assert scored["tokens"].numpy()[i].tolist() == padded[i][1:]
        np.testing.assert_allclose(scored["log_probabilities"][i], logs + [0] * (len(rows[0]) - len(row)), atol=1e-5)
        assert float(scored["perplexity"][i]) == pytest.approx(np.exp(-np.mean(logs or [0])), rel=1e-5)
        probabilities = subword_model.next_word_probabilities(tokens)[0]
        by_id = dict(zip(predicted["tokens"].numpy()[i], predicted["probabilities"].numpy()[i], strict=True))
        np.testing.assert_allclose([by_id[token] for token in range(len(subwords))], probabilities, atol=1e-6)
        for token in generated[i]:
            assert token == subword_model.next_word_probabilities(tokens)[0].argmax()
            tokens = np.append(tokens, [[token]], axis=1)
    alone = of_ids.score([[*rows[1], -1, -1]])
    assert alone["tokens"].shape == alone["log_probabilities"].shape == (1, len(rows[1]) - 1)
    stepped = of_ids.step([rows[0]], 3, **of_ids.initial_state(1))
    assert stepped["tokens"].numpy().tolist() == predicted["tokens"].numpy()[:1, :3].tolist()


def test_texts_go_in_and_out_where_tokens_are_no_words(of_ids, subword_model, subwords):
    texts = ["Once upon a time", "the cat\nsat"]
    encoded = of_ids.encode(texts)
    rows = [subwords.encode_typed(text).tolist() for text in texts]
    assert [row[:n].tolist() for row, n in zip(encoded["tokens"].numpy(), encoded["lengths"], strict=True)] == rows
    generated = of_ids.generate(encoded["tokens"], 6, 0.0, 0)["tokens"]
    assert [text.decode() for text in of_ids.decode(generated)["text"].numpy()] == [
        subwords.decode(row) for row in generated.numpy()
    ]
    assert of_ids.decode(encoded["tokens"])["text"].numpy().tolist() == [b"\n" + text.encode() for text in texts]


def test_other_rules_leave_texts_to_their_library(subword_model, subwords, tmp_path):
    from kerasptb.conversion.servable import Servable
    from kerasptb.data.text_format import TextFormat
    from kerasptb.models.portable import PortableNetwork

    content = json.loads(subwords._content)
    content["model"]["ignore_merges"] = True
    other = Subwords(json.dumps(content))
    signatures = Servable(PortableNetwork(subword_model), TextFormat(tokenizer=other), tmp_path).signatures
    assert set(signatures) == {"serving_default", "predict_next", "step", "initial_state", "score", "generate"}


@pytest.mark.parametrize(
    "tokens", [[[300]], [[-2]], [[-1]], [[5, -1, 5]], [[5], [-1]], np.zeros((0, 3)), np.zeros((1, 0))]
)
def test_rows_that_are_no_ids_are_refused(of_ids, subwords, tokens):
    with pytest.raises(tf.errors.InvalidArgumentError, match=f"Expected rows of ids from 0 to {len(subwords) - 1}"):
        of_ids.score(np.array(tokens, "int32"))


def test_text_in_the_place_of_ids_is_told_in_a_line(of_ids):
    with pytest.raises(TypeError, match=r"\['the'\] to EagerTensor of dtype int32.*tokens: TensorSpec") as told:
        of_ids.predict_next(["the"], 3)
    assert "\n" not in str(told.value)
