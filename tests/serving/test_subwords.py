"""A model of subwords at the server: whole words, and texts as they are written."""

import math

import numpy as np
import pytest

pytest.importorskip("fastapi", reason="the extra `serve` is not installed")
pytest.importorskip("httpx2", reason="httpx2, which Starlette's test client needs, is not installed")

import tensorflow as tf
from small_client import post
from starlette.testclient import TestClient

from kerasptb.data import Subwords
from kerasptb.reading import load_saved_model, suggest
from kerasptb.serving.app import create_app


@pytest.fixture(scope="module")
def client(subworded):
    with TestClient(create_app(subworded.reader, rate=None)) as client:
        yield client


def words_of(answer):
    return [row["word"] for row in answer["suggestions"]]


def probabilities(answer):
    return [row["probability"] for row in answer["suggestions"]]


@pytest.mark.parametrize("text", ["The cat s", "The", "A dog (th", "it's\nth", "The cat sat on the ca"])
def test_completions_are_those_of_the_trained_model(client, subworded, text):
    answer = post(client, "suggest", text=text, k=5)
    expected = suggest(subworded.model, text, 5, exclude=("<unk>", "<eos>"), complete=True)
    assert words_of(answer) == [each.word for each in expected]
    given = np.array(probabilities(answer)) / answer["prefix_probability"]
    np.testing.assert_allclose(given, [each.probability for each in expected], rtol=1e-4)
    assert answer["prefix"] == text.split()[-1].strip("(")
    assert all(word.lower().startswith(answer["prefix"].lower()) for word in words_of(answer))
    assert sum(probabilities(answer)) <= answer["prefix_probability"] * (1 + 1e-6) <= 1


@pytest.mark.parametrize("text", ["The cat", "The dog,", "", "The cat\n"])
def test_after_a_whole_word_there_are_words_and_signs(client, subworded, text):
    answer = post(client, "suggest", text=text, k=20, complete=False)
    expected = suggest(subworded.model, text, 20, exclude=("<unk>", "<eos>"))
    assert words_of(answer) == [each.word for each in expected]
    np.testing.assert_allclose(probabilities(answer), [each.probability for each in expected], rtol=1e-4)
    assert answer["prefix"] == ""
    assert any(word.isalpha() for word in words_of(answer))
    assert {",", "."} & set(words_of(answer))


def test_after_a_space_there_are_the_words_that_it_begins(client, subworded):
    answer, of_the = (post(client, "suggest", text=text, k=20) for text in ("The cat ", "The cat th"))
    assert answer == {**answer, "prefix": ""}
    assert not {",", ".", "<eos>"} & set(words_of(answer))
    # What begins with th has the probability that it has without these letters: the word before has ended.
    there = dict(zip(words_of(answer), probabilities(answer), strict=True))
    for word, probability in zip(words_of(of_the), probabilities(of_the), strict=True):
        assert word not in there or there[word] == pytest.approx(probability, rel=1e-3)
    assert there.keys() & set(words_of(of_the))


def test_a_probability_is_that_of_the_pieces_and_of_an_end(client, subworded):
    tokenizer, reader = subworded.tokenizer, subworded.reader
    (best, *_) = post(client, "suggest", text="The cat ca", k=1)["suggestions"]
    pieces = tokenizer.encode_further(f" {best['word']}")
    context = reader.read_typed("The cat")
    after = reader.read(context, pieces)
    signs = b'!"#$%&*+/:;<=>?@\n,.()'
    spaced = [i for i, piece in enumerate(tokenizer.pieces) if piece[:1] == b" "]
    ends = spaced + [i for i, piece in enumerate(tokenizer.pieces) if piece[:1] in signs]
    ended = np.exp(after.log_probabilities)[ends].sum()
    given = np.exp(context.log_probabilities)[spaced].sum()  # the space is typed
    # What else can write the word, piece by piece, adds a little; of the other signs' bytes none is likely.
    whole = math.exp(reader.score(context, pieces).sum()) * ended / given
    assert best["probability"] == pytest.approx(whole, rel=0.05)


def test_keystrokes_of_a_word_share_what_they_read(subworded, monkeypatch):
    rows = []
    extend = subworded.reader.extend
    monkeypatch.setattr(subworded.reader, "extend", lambda *rows_of: rows.append(len(rows_of[0])) or extend(*rows_of))
    texts = ("The ", "The c", "The ca", "The c", "The ")
    with TestClient(create_app(subworded.reader, rate=None)) as client:
        counts = []
        for text in texts:
            before = sum(rows)
            answer = post(client, "suggest", text=text, k=10)
            counts.append(sum(rows) - before)
        assert counts[0] > 3  # the text, and the beginnings of words after it
        assert counts[3:] == [0, 0]
        # The word that is taken was read when it was suggested.
        before = sum(rows)
        app = client.app
        word = words_of(post(client, "suggest", text="The c", k=1))[0]
        assert len(subworded.tokenizer.encode_further(word)) == 1
        client.portal.call(app.state.engine.context, f"The {word}")
        assert sum(rows) == before
    assert answer["suggestions"]


def test_a_stream_equals_the_whole_text(client):
    state = None
    for text in ("The cat", "sat", ", ", "and", "\nThe", "dog's"):
        answer = post(client, "stream", state=state, text=text, k=4)
        state = answer["state"]
    whole = post(client, "suggest", text="The cat sat, and\nThe dog's", complete=False, k=4)
    assert words_of(answer) == words_of(whole)
    np.testing.assert_allclose(probabilities(answer), probabilities(whole), rtol=1e-4)
    begun = post(client, "stream", state=state, prefix="ca", k=3)
    expected = post(client, "suggest", text="The cat sat, and\nThe dog's ca", k=3)
    assert words_of(begun) == words_of(expected)
    assert begun["prefix_probability"] == pytest.approx(expected["prefix_probability"], rel=1e-4)


@pytest.mark.parametrize("model", ["subworded", "spelled"])
def test_a_stream_knows_where_a_paragraph_begins(model, request):
    texts = {  # and what was written until then, with the beginning of a word
        "The cat sat": "The cat sat th",
        "\n": "The cat sat\nth",
        "": "The cat sat\nth",
        '"The cat': 'The cat sat\n"The cat th',
        "\n\n": 'The cat sat\n"The cat\nth',
        "the": 'The cat sat\n"The cat\nthe th',
    }
    with TestClient(create_app(request.getfixturevalue(model).reader, rate=None)) as client:
        state = None
        for text, written in texts.items():
            answer = post(client, "stream", state=state, text=text, prefix="th", k=4)
            state = answer["state"]
            whole = post(client, "suggest", text=written, k=4)
            assert (text, words_of(answer)) == (text, words_of(whole))
            np.testing.assert_allclose(probabilities(answer), probabilities(whole), rtol=1e-4)
            assert answer["prefix_probability"] == pytest.approx(whole["prefix_probability"], rel=1e-4)


def test_each_word_is_scored_with_its_pieces(client, subworded):
    text = "The  cat's hat,\n\n(on) caf\u00e9 "
    answer = post(client, "score", text=text)
    assert [word["text"] for word in answer["words"]] == ["The", "cat's", "hat,", "\n", "(on)", "caf\u00e9"]
    assert all(text[word["start"] : word["end"]] == word["text"] for word in answer["words"])
    tokens = [token for word in answer["words"] for token in word["tokens"]]
    ids = subworded.tokenizer.encode_typed(text.rstrip())
    np.testing.assert_allclose(
        [token["log_probability"] for token in tokens],
        subworded.reader.score(subworded.reader.begin(), ids[1:]),
        rtol=1e-4,
    )
    assert answer["num_tokens"] == len(ids) - 1
    assert "".join(token["word"] for token in answer["words"][2]["tokens"]) == "hat,"
    assert [token["word"] for token in answer["words"][3]["tokens"]] == ["<eos>"]
    later = post(client, "score", text=text, start=5)
    assert later == {**answer, "words": answer["words"][1:]}


def test_a_text_of_too_many_tokens_is_not_scored(client, subworded, monkeypatch):
    text = "".join(chr(0x4E00 + i) for i in range(7000))  # each is three bytes that no piece writes together
    monkeypatch.setattr(subworded.reader, "score_in_pieces", None)  # nothing is scored
    response = client.post("/v1/score", json={"text": text})
    assert response.status_code == 422
    assert response.json() == {
        "error": "Expected a text of at most 20,000 subwords to score. Received: 21,001. Score it in parts."
    }
    assert client.get("/version").json()["max_scored_tokens"] == 20_000


@pytest.mark.slow
def test_one_call_for_a_long_text_equals_token_by_token(client, subworded):
    text = "The cat's hat sat on the dog, (the) mat. " * 40
    reader = subworded.reader
    ids = subworded.tokenizer.encode_typed(text.rstrip())[1:]
    assert len(ids) > 512  # more than are scored together
    (context,) = reader.read_together([(reader.begin(), ids)])
    np.testing.assert_allclose(context.state, reader.read_typed(text.rstrip()).state, rtol=1e-3, atol=1e-5)
    answer = post(client, "suggest", text=text.rstrip(), complete=False, k=5)
    expected = suggest(subworded.model, text.rstrip(), 5, exclude=("<unk>", "<eos>"))
    pairs = zip(words_of(answer), probabilities(answer), strict=True)
    assert dict(pairs) == pytest.approx({each.word: each.probability for each in expected}, rel=1e-3)


def test_a_saved_model_is_served_as_its_run(subworded, tmp_path):
    module = tf.Module()
    subworded.tokenizer.save(tmp_path / Subwords.FILE)
    module.weights = [weight.value for weight in subworded.network.weights]
    module.cell = tf.Variable("lstm")
    module.tokenizer = tf.saved_model.Asset(str(tmp_path / Subwords.FILE))
    tf.saved_model.save(module, str(tmp_path / "model"))
    loaded = load_saved_model(tmp_path / "model")
    assert loaded.fingerprint == subworded.reader.fingerprint
    assert loaded.tokenizer == subworded.tokenizer
    np.testing.assert_array_equal(loaded.begin().log_probabilities, subworded.reader.begin().log_probabilities)


def test_words_of_the_writer_are_suggested(client):
    text = "The zebra sat, and the zebra-hat sat.\nThe Kim sat, the "
    assert "zebra" not in words_of(post(client, "suggest", text=text + "z", k=10))
    learned = post(client, "suggest", text=text + "ze", learn=True)
    assert words_of(learned)[:2] == ["zebra", "zebra-hat"]
    assert sum(probabilities(learned)[:2]) <= learned["prefix_probability"] <= 1
    assert words_of(post(client, "suggest", text=text + "ki", k=1, learn=True)) == ["Kim"]

    def probability(learn):
        answer = post(client, "suggest", text=text, k=100, learn=learn)
        # A line has ended before, which is no word on a key.
        assert answer["prefix_probability"] == pytest.approx(1.0 if not learn else 0.99, abs=2e-3)
        return dict(zip(words_of(answer), probabilities(answer), strict=True)).get("zebra", 0.0)

    assert probability(learn=True) > probability(learn=False) + 0.02
    # A line's end is learned too: it leaves less for other words.
    ended = post(client, "suggest", text="yes\nno\nyes\nno\nyes", complete=False, learn=True)
    assert ended["prefix_probability"] < 0.9


def test_a_stream_learns_as_the_whole_text_does(client):
    state, whole = None, ""
    for words in ("The zebra", "sat, ", "\nThe", "gnu", "sat"):
        answer = post(client, "stream", state=state, text=words, k=10, learn=True)
        state, whole = answer["state"], whole + words.removesuffix(" ") + (" " if words != "sat, " else "")
    expected = post(client, "suggest", text=whole.rstrip(), complete=False, k=10, learn=True)
    assert words_of(answer) == words_of(expected)
    np.testing.assert_allclose(probabilities(answer), probabilities(expected), rtol=1e-4)
    assert words_of(post(client, "stream", state=state, prefix="Z", k=1, learn=True)) == ["zebra"]


def test_the_version_says_what_is_read(client):
    assert client.get("/version").json()["tokens"] == "subwords"


@pytest.mark.fast_cases(1)
@pytest.mark.parametrize("text", ["\u65e5" * 3_333, "x" * 10_000, "\n" * 10_000, "the cat, " * 1_100])
def test_long_texts_are_answered(client, text):
    assert post(client, "suggest", text=text, complete=False)["suggestions"]
    counts = {"\u65e5": 10_000, "x": 10_000, "\n": 0, "t": 3_300}
    tokens = post(client, "score", text=text, start=9_990)["num_tokens"]
    assert 0.8 * counts[text[0]] <= tokens <= counts[text[0]] + 1
