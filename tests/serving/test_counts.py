"""A server whose model has the counts of a text: all answers are of one distribution, that of its reader."""

import numpy as np
import pytest

pytest.importorskip("fastapi", reason="the extra `serve` is not installed")
pytest.importorskip("httpx2", reason="httpx2, which Starlette's test client needs, is not installed")

from small_client import post
from starlette.testclient import TestClient

from kerasptb.reading import suggest
from kerasptb.reading.counts import DEPTH
from kerasptb.serving.app import create_app
from kerasptb.serving.state_token import decode_state, encode_state

TEXT = "the cat sat on the"


@pytest.fixture(scope="module")
def client(counted):
    with TestClient(create_app(counted, rate=None)) as client:
        yield client


def pairs(suggestions):
    return {row["word"]: round(row["probability"], 4) for row in suggestions}


def test_suggestions_of_texts_and_streams_are_those_of_the_reader(client, counted):
    expected = {
        row.word: round(row.probability, 4) for row in suggest(counted, TEXT, 5, exclude=("<unk>", "<eos>", "N"))
    }
    assert next(iter(expected)) == "mat"  # which the network alone does not say
    assert pairs(post(client, "suggest", text=f"{TEXT} ", k=5)["suggestions"]) == expected
    state = None
    for words in ("The cat", "", "sat on", "the"):
        answer = post(client, "stream", state=state, text=words, k=5)
        state = answer["state"]
    assert pairs(answer["suggestions"]) == expected
    found, _, _ = decode_state(state, counted.fingerprint, counted.state_size)
    ids = counted.tokenizer.encode_typed(TEXT)
    np.testing.assert_array_equal(found[-len(ids) :], ids + 1)
    assert not found[-DEPTH : -len(ids)].any()


def test_scores_are_those_of_the_reader(client, counted):
    ids = counted.tokenizer.encode_typed(TEXT * 200)[1:]  # in several pieces
    tokens = [token for word in post(client, "score", text=TEXT * 200)["words"] for token in word["tokens"]]
    expected = counted.score(counted.begin(), ids)
    np.testing.assert_allclose([token["log_probability"] for token in tokens], expected, rtol=1e-4, atol=1e-5)
    assert np.abs(expected - counted.alone.score(counted.alone.begin(), ids)).max() > 1


def test_a_state_is_of_the_network_with_its_counts(client, counted):
    state = encode_state(np.zeros(counted.alone.state_size), counted.alone.fingerprint)
    refused = client.post("/v1/stream", json={"state": state})
    assert refused.status_code == 409
    assert "belongs to another model" in refused.json()["error"]


@pytest.mark.parametrize("last", [-1e6, -1.0, 0.5, 44.0, 1e6, np.nan])
def test_an_invented_state_is_answered_or_refused(client, counted, last):
    state = np.zeros(counted.state_size, "float32")
    for tokens in ([last], [last] * DEPTH, [last, 4.0], [4.0, last]):
        state[-len(tokens) :] = tokens
        response = client.post("/v1/stream", json={"state": encode_state(state, counted.fingerprint), "k": 100})
        assert response.status_code == (409 if np.isnan(last) else 200)
        if response.status_code == 200:
            shown = [row["probability"] for row in response.json()["suggestions"]]
            assert 0.5 < sum(shown) < 1 + 1e-4
