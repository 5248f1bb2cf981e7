"""Words typed with errors, at the server."""

import numpy as np
import pytest

pytest.importorskip("fastapi", reason="the extra `serve` is not installed")
pytest.importorskip("httpx2", reason="httpx2, which Starlette's test client needs, is not installed")

from small_client import post
from starlette.testclient import TestClient

from kerasptb.data.lexicon import Lexicon
from kerasptb.keyboard import load_layout, suggest
from kerasptb.serving.app import create_app


@pytest.fixture(scope="module")
def client(subworded):
    subworded.reader.lexicon = Lexicon(["the", "cat", "dog", "sat", "hat", "mat", "that"])
    with TestClient(create_app(subworded.reader, rate=None)) as client:
        yield client
    subworded.reader.lexicon = None


def centres(word):
    qwerty = load_layout("qwerty")
    return [qwerty.centres[qwerty.keys.index(letter)].tolist() for letter in word]


@pytest.mark.parametrize("text", ["The cat sat on the mst", "a dpg", "The cst", "tha"])
def test_suggestions_are_those_of_the_same_function(client, subworded, text):
    answer = post(client, "suggest", text=text, k=20, typos="qwerty")
    expected = suggest(subworded.reader, text, 20, exclude=("<unk>", "<eos>"), typos="qwerty")
    assert [row["word"] for row in answer["suggestions"]] == [each.word for each in expected]
    given = [row["probability"] / answer["prefix_probability"] for row in answer["suggestions"]]
    np.testing.assert_allclose(given, [each.probability for each in expected], rtol=1e-3)


def test_a_word_with_a_wrong_letter_is_corrected(client):
    answer = post(client, "suggest", text="The cat sat on the mst", typos="qwerty")
    assert answer["prefix"] == "mst"
    assert answer["correction"]["word"] == "mat"
    assert answer["correction"]["log_odds"] > 1
    by_word = {row["word"]: row["corrects"] for row in answer["suggestions"]}
    assert by_word["mat"] is True


def test_a_word_that_is_right_is_not_corrected(client):
    answer = post(client, "suggest", text="The cat sat on the mat", typos="qwerty")
    assert answer["correction"] is None
    first = answer["suggestions"][0]
    assert (first["word"], first["corrects"]) == ("mat", False)


def test_where_the_keys_were_hit_tells_more(client):
    """Between two keys the word decides, in the middle of one the key."""
    at_the_edge = centres("cat")
    at_the_edge[0] = [3.48, 3.75]  # x, at the side of c
    middle = centres("cat")
    middle[0] = centres("x")[0]
    edge = post(client, "suggest", text="The xat", typos="qwerty", touches=at_the_edge)
    inside = post(client, "suggest", text="The xat", typos="qwerty", touches=middle)
    assert edge["correction"]["word"] == inside["correction"]["word"] == "cat"
    assert edge["correction"]["log_odds"] > inside["correction"]["log_odds"] + 2


def test_nothing_is_corrected_where_nothing_is_typed_or_nobody_errs(client):
    for body in ({"text": "The cat "}, {"text": ""}, {"text": "The cst", "complete": False}):
        assert post(client, "suggest", typos="qwerty", **body)["correction"] is None
        assert not any(row["corrects"] for row in post(client, "suggest", typos="qwerty", **body)["suggestions"])
    assert post(client, "suggest", text="The cst")["correction"] is None


def test_words_typed_before_stay(client):
    text = "Cst sat. " * 12
    assert post(client, "suggest", text="The cst", typos="qwerty")["correction"]["word"] == "cat"
    assert post(client, "suggest", text=f"{text} The cst", typos="qwerty", learn=True)["correction"] is None


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ({"text": "The cst", "touches": [[1, 1]]}, "Expected a point x, y for each of 3 taps. Received: shape (1, 2)"),
        ({"text": "The cst", "touches": [[1, 1], [1], [1, 1]]}, "`touches.1"),
        ({"text": "The c", "touches": [[1e9, 1]]}, "less than or equal to 100"),
        ({"text": "The c", "touches": [[1, 1]], "typos": None}, "are of the keys that `typos` names: send both"),
        ({"text": "The c", "touches": [["1", 1]]}, "`touches.0.0`"),
        ({"text": "The c", "typos": "../../secret"}, "'azerty', 'portuguese', 'qwerty' or 'qwertz'"),
        ({"text": "The c", "typos": True}, "`typos`"),
    ],
)
def test_wrong_touches_and_layouts_are_refused(client, body, reason):
    response = client.post("/v1/suggest", json={"typos": "qwerty", **body})
    assert response.status_code == 422
    assert reason in response.json()["error"]


@pytest.mark.parametrize(
    ("text", "touches"),
    [
        ("a" * 10_000, None),
        ("xyz", [[-99, 99]] * 3),
        ("яблоко", None),
        ("漢字", None),
        ("a\u0301\u0301b", None),
        ("'''---'''", None),
        ("3.14", None),
    ],
)
def test_whatever_is_typed_gets_an_answer(client, text, touches):
    answer = post(client, "suggest", text=f"The {text}", typos="qwerty", touches=touches)
    assert len(answer["suggestions"]) <= 3
    assert all(0 <= row["probability"] <= 1 for row in answer["suggestions"])
