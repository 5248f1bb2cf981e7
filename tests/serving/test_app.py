import copy
import math
import re
import threading
from concurrent.futures import ThreadPoolExecutor
from html.parser import HTMLParser

import numpy as np
import pytest

pytest.importorskip("fastapi", reason="the extra `serve` is not installed")
pytest.importorskip("httpx2", reason="httpx2, which Starlette's test client needs, is not installed")

from small_client import post
from starlette.testclient import TestClient

from kerasptb.data import Vocabulary
from kerasptb.models import LanguageModel
from kerasptb.reading import suggest
from kerasptb.reading.reader import open_reader
from kerasptb.serving.app import MAX_BODY_BYTES, create_app, replace_model
from kerasptb.serving.engine import SuggestionEngine
from kerasptb.serving.errors import BusyError
from kerasptb.serving.middleware import CancelOnDisconnect
from kerasptb.serving.schemas import MAX_CHARACTERS

NOT_ON_KEYS = ("<unk>", "<eos>", "N")


@pytest.fixture(scope="module")
def client(reader):
    with TestClient(create_app(reader, rate=None)) as client:
        yield client


def problem(response, status):
    assert response.status_code == status, response.text
    assert list(response.json()) == ["error"]
    return response.json()["error"]


def test_suggestions_are_those_of_the_trained_model(client, model, vocabulary):
    for text in ("", "The cat sat on the", "I don't\n", "a – 日本"):
        answer = post(client, "suggest", text=text, k=5, complete=False)
        expected = suggest(model, text, 5, exclude=NOT_ON_KEYS)
        assert [row["word"] for row in answer["suggestions"]] == [row.word for row in expected]
        np.testing.assert_allclose(
            [row["probability"] for row in answer["suggestions"]], [row.probability for row in expected], rtol=1e-4
        )
        assert answer["prefix"] == ""


def test_an_unfinished_word_is_completed(client):
    whole = {row["word"]: row["probability"] for row in post(client, "suggest", text="on ", k=100)["suggestions"]}
    answer = post(client, "suggest", text="on Th", k=2)
    assert answer["prefix"] == "Th"
    beginning = {word: value for word, value in whole.items() if word.startswith("th")}
    expected = sorted(beginning, key=beginning.get, reverse=True)[:2]
    assert [row["word"] for row in answer["suggestions"]] == expected
    for row in answer["suggestions"]:
        assert abs(row["probability"] - whole[row["word"]]) < 1e-6
    assert abs(answer["prefix_probability"] - sum(beginning.values())) < 1e-6
    assert post(client, "suggest", text="on th", complete=False)["prefix"] == ""


def test_a_stream_equals_the_whole_text(client):
    state = None
    for words in ("The cat", "", "sat on", "\n", "it does", "n't"):
        answer = post(client, "stream", state=state, text=words, k=4)
        state = answer["state"]
    whole = post(client, "suggest", text="The cat sat on \n it doesn't ", k=4)
    assert [row["word"] for row in answer["suggestions"]] == [row["word"] for row in whole["suggestions"]]
    for row, expected in zip(answer["suggestions"], whole["suggestions"], strict=True):
        assert abs(row["probability"] - expected["probability"]) < 1e-5
    only_c = post(client, "stream", state=state, prefix="c", k=100)
    assert {row["word"] for row in only_c["suggestions"]} == {"ca", "company", "compare", "cat", "café"}


def words_of(answer):
    return [row["word"] for row in answer["suggestions"]]


def test_words_of_the_writer_are_suggested(client):
    text = "The zebra sat on a Kimono. A zebra's mat\n"
    assert words_of(post(client, "suggest", text=text + "ze")) == []  # off by default
    assert words_of(post(client, "suggest", text=text + "Ze", learn=True)) == ["zebra"]
    answer = post(client, "suggest", text=text + "a ki", learn=True)
    assert (words_of(answer), answer["prefix"]) == (["Kimono"], "ki")
    assert 0 < answer["suggestions"][0]["probability"] == answer["prefix_probability"]
    # Another text, or the same without what was typed before, knows nothing of them.
    assert words_of(post(client, "suggest", text="on a ze", learn=True)) == []
    for complete, text in ((True, "the cat "), (False, "the cat")):
        without = post(client, "suggest", text=text, complete=complete, k=100)
        learned = post(client, "suggest", text=text, complete=complete, k=100, learn=True)
        assert without != learned
        assert len(words_of(learned)) == len(words_of(without))


def test_a_word_typed_often_becomes_more_probable(client):
    def probability(text, learn):
        rows = post(client, "suggest", text=text, k=100, learn=learn)["suggestions"]
        return next(row["probability"] for row in rows if row["word"] == "fox")

    text = "quick fox " * 20 + "quick "
    assert probability(text, learn=True) > probability(text, learn=False) + 0.2


def test_a_stream_learns_as_the_whole_text_does(client):
    state, whole = None, ""
    for words in ("The zebra", "sat on", "\n", "Zebra", "a gnu", "the zebra sat"):
        answer = post(client, "stream", state=state, text=words, k=100, learn=True)
        state, whole = answer["state"], f"{whole}{words} "
    expected = post(client, "suggest", text=whole, k=100, learn=True)
    assert words_of(answer) == words_of(expected)
    assert {"zebra", "gnu"} < set(words_of(answer))
    for row, other in zip(answer["suggestions"], expected["suggestions"], strict=True):
        assert abs(row["probability"] - other["probability"]) < 1e-5
    assert words_of(post(client, "stream", state=state, prefix="Z", learn=True)) == ["zebra"]
    forgets = post(client, "stream", state=state, prefix="z")
    assert words_of(forgets) == []
    assert words_of(post(client, "stream", state=forgets["state"], prefix="z", learn=True)) == []


def test_a_state_is_taken_by_another_server_of_the_same_model(client, reader):
    state = post(client, "stream", text="the")["state"]
    with TestClient(create_app(reader)) as other:
        assert post(other, "stream", state=state, text="cat") == post(client, "stream", state=state, text="cat")


@pytest.mark.parametrize(
    "change", [lambda s: "", lambda s: s[:-4], lambda s: s + "AAAA", lambda s: "é", lambda s: s[4:]]
)
def test_a_wrong_state_is_refused(client, change):
    state = change(post(client, "stream", text="the")["state"])
    assert "Begin again without a state" in problem(client.post("/v1/stream", json={"state": state}), 409)


def test_pages_of_the_origins_that_are_named_may_read_the_answers(client, reader):
    asks = {"Origin": "https://a.example", "Access-Control-Request-Method": "POST"}
    asks |= {"Access-Control-Request-Headers": "content-type"}
    assert "access-control-allow-origin" not in client.options("/v1/suggest", headers=asks).headers
    with TestClient(create_app(reader, allowed_origins=["https://a.example"])) as open_client:
        allowed = open_client.options("/v1/suggest", headers=asks)
        assert (allowed.status_code, allowed.headers["access-control-allow-origin"]) == (200, "https://a.example")
        answer = open_client.post("/v1/suggest", json={"text": "the "}, headers={"Origin": "https://a.example"})
        assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (200, "https://a.example")
        other = open_client.post("/v1/suggest", json={"text": "the "}, headers={"Origin": "https://b.example"})
        assert "access-control-allow-origin" not in other.headers


def test_scores_are_those_of_the_model(client, reader):
    text = "The cat doesn't,\nmr. \U0001f600 Fox — 日本"
    answer = post(client, "score", text=text)
    assert [word["text"] for word in answer["words"]] == ["The", "cat", "doesn't,", "\n", "mr.", "Fox", "日本"]
    assert all(text[word["start"] : word["end"]] == word["text"] for word in answer["words"])
    tokens = [token for word in answer["words"] for token in word["tokens"]]
    assert [token["word"] for token in tokens] == ["the", "cat", "does", "n't", "<eos>", "mr.", "fox", "日本"]
    expected = reader.score(reader.begin(), reader.tokenizer.encode_typed(text)[1:])
    np.testing.assert_allclose([token["log_probability"] for token in tokens], expected, rtol=1e-5)
    assert answer["num_tokens"] == 8
    assert math.isclose(answer["log_probability"], expected.sum(), rel_tol=1e-5)
    assert math.isclose(answer["perplexity"], math.exp(-expected.mean()), rel_tol=1e-5)
    later = post(client, "score", text=text, start=4)
    assert later == {**answer, "words": answer["words"][1:]}


def test_a_first_word_that_nothing_comes_before_counts_nowhere():
    words = Vocabulary(["one", "two", "three"])
    model = LanguageModel(3, 4, 5, batch_size=1, num_steps=4, init_scale=1.0, seed=1, tokenizer=words)
    with TestClient(create_app(open_reader(model))) as client:
        answer = post(client, "score", text="one two three")
    assert [word["tokens"][0]["log_probability"] is None for word in answer["words"]] == [True, False, False]
    assert math.isclose(answer["perplexity"], math.exp(-answer["log_probability"] / 2), rel_tol=1e-6)


def test_an_empty_text_has_no_words_and_perplexity_one(client):
    assert post(client, "score", text=" ") == {"words": [], "num_tokens": 0, "log_probability": 0, "perplexity": 1}


@pytest.mark.parametrize("text", ["the cat " * 1250, "x" * 10_000, "日" * 10_000, "\U0001f600 " * 5_000, "\n" * 10_000])
def test_ten_thousand_characters_are_answered(client, text):
    assert len(text) == 10_000
    assert len(post(client, "suggest", text=text, complete=False)["suggestions"]) == 3
    answer = post(client, "score", text=text, start=9_990)
    assert answer["num_tokens"] == {"t": 2500, "x": 1, "日": 1, "\U0001f600": 0, "\n": 10_000}[text[0]]


@pytest.mark.parametrize(
    ("path", "body", "status", "reason"),
    [
        ("suggest", {}, 422, "`text`: Field required"),
        ("suggest", {"text": 1}, 422, "`text`"),
        ("suggest", {"text": None}, 422, "`text`"),
        ("suggest", {"text": "a", "k": 0}, 422, "`k`: Input should be greater than or equal to 1"),
        ("suggest", {"text": "a", "k": 101}, 422, "`k`: Input should be less than or equal to 100"),
        ("suggest", {"text": "a", "k": 2.5}, 422, "`k`"),
        ("suggest", {"text": "a", "k": "3"}, 422, "`k`"),
        ("suggest", {"text": "a", "k": True}, 422, "`k`"),
        ("suggest", {"text": "a", "complete": "no"}, 422, "`complete`"),
        ("suggest", {"text": "a", "words": 3}, 422, "`words`: Extra inputs are not permitted"),
        ("suggest", {"text": "a" * (MAX_CHARACTERS + 1)}, 422, "at most 20000 characters"),
        ("suggest", [1], 422, "Expected a JSON object"),
        ("stream", {"prefix": "a" * 101}, 422, "`prefix`"),
        ("stream", {"state": 5}, 422, "`state`"),
        ("score", {"text": "a", "start": -1}, 422, "`start`"),
        ("nothing", {}, 404, "Not Found"),
    ],
)
def test_wrong_requests_are_refused_with_a_reason(client, path, body, status, reason):
    assert reason in problem(client.post(f"/v1/{path}", json=body), status)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b"[" * 200_000,
        b'{"text": "a", "k": ' + b"9" * 5000 + b"}",
        b'{"text": "\\ud800"}',
        b'{"text": "a", "\\ud800": 1}',
        b'{"text": NaN}',
        b'{"text": "a", "k": 1e400}',
    ],
)
def test_what_is_no_such_json_is_refused(client, body):
    response = client.post("/v1/suggest", content=body, headers={"Content-Type": "application/json"})
    assert response.status_code in (400, 422)
    assert len(response.json()["error"]) < 200


def test_the_longest_text_fits_in_the_largest_body_however_it_is_written(client):
    escaped = b'{"text": "' + b"\\ud83d\\ude00" * MAX_CHARACTERS + b'", "complete": false}'
    headers = {"Content-Type": "application/json"}
    assert client.post("/v1/suggest", content=escaped, headers=headers).status_code == 200
    larger = escaped + b" " * MAX_BODY_BYTES
    assert "at most 291," in problem(client.post("/v1/suggest", content=larger, headers=headers), 413)


def test_the_rate_is_limited(reader):
    with TestClient(create_app(reader, rate=2)) as client:
        statuses = [client.post("/v1/suggest", json={"text": ""}).status_code for _ in range(6)]
        assert statuses[:4] == [200] * 4
        assert 429 in statuses
        assert client.get("/health").status_code == 200


def test_health_and_version(client, reader):
    assert client.get("/health").json() == {"status": "ok"}
    assert client.head("/health").status_code == 200
    version = client.get("/version").json()
    assert version["model"] == reader.fingerprint
    assert version["vocabulary_size"] == len(reader.tokenizer)
    assert version["max_characters"] == MAX_CHARACTERS


def test_a_fault_of_the_server_is_told_in_json(reader, monkeypatch):
    monkeypatch.setattr(SuggestionEngine, "keys", lambda *arguments: 1 / 0)
    with TestClient(create_app(reader, rate=None), raise_server_exceptions=False) as client:
        assert "failed" in problem(client.post("/v1/suggest", json={"text": ""}), 500)


@pytest.mark.slow
def test_the_state_of_a_large_model_comes_back(vocabulary):
    model = LanguageModel(len(vocabulary), 8, [640] * 5, batch_size=1, num_steps=5, tokenizer=vocabulary)
    with TestClient(create_app(open_reader(model))) as client:
        state = post(client, "stream", text="the")["state"]
        assert len(state) > 4 / 3 * 4 * 2 * 5 * 640
        assert post(client, "stream", state=state, text="cat")["suggestions"]


def test_openapi_describes_every_route_and_its_problems(client):
    description = client.get("/openapi.json").json()
    assert set(description["paths"]) == {"/v1/suggest", "/v1/stream", "/v1/score", "/health", "/version"}
    for path, methods in description["paths"].items():
        for operation in methods.values():
            assert operation["summary"], path
            if path.startswith("/v1"):
                expected = {"200", "400", "408", "413", "421", "422", "429", "503"} | (
                    {"409"} if "stream" in path else set()
                )
                assert set(operation["responses"]) == expected
    assert client.get("/docs").status_code == 404  # its page would load scripts from elsewhere


class Links(HTMLParser):
    def __init__(self):
        super().__init__()
        self.links, self.inline = [], []

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.links += [attributes[name] for name in ("href", "src") if name in attributes]
        self.inline += [name for name in attributes if name == "style" or name.startswith("on")]
        if tag in ("script", "style") and "src" not in attributes:
            self.inline.append(tag)


def test_the_page_is_whole_and_uses_nothing_from_elsewhere(client):
    page = client.get("/")
    assert page.headers["content-type"].startswith("text/html")
    links = Links()
    links.feed(page.text)
    assert links.inline == []
    assert len(links.links) >= 3
    for link in links.links:
        assert not re.match(r"[a-z]+:|//", link)
        answer = client.get(f"/{link}")
        assert answer.status_code == 200, link
        assert not re.search(r"(?:url\(|from |import\()\s*[\"']?(?:https?:)?//", answer.text), link
    assert client.head("/").status_code == 200
    assert client.get("/static/../app.py").status_code == 404
    assert client.get("/static/%2e%2e/app.py").status_code == 404


def test_a_word_that_was_never_expected_has_a_perplexity_too(client, monkeypatch):
    score = SuggestionEngine.score

    async def surprised(engine, text):
        units, values = await score(engine, text)
        return units, [-1000.0] * len(values)

    monkeypatch.setattr(SuggestionEngine, "score", surprised)
    answer = post(client, "score", text="the cat")
    assert (answer["log_probability"], answer["perplexity"]) == (-2000, math.exp(700))


def test_a_busy_server_says_when_to_ask_again(client, monkeypatch):
    async def busy(*_):
        raise BusyError("Try again later.")

    monkeypatch.setattr(SuggestionEngine, "context", busy)
    response = client.post("/v1/suggest", json={"text": ""})
    assert problem(response, 503) == "Try again later."
    assert response.headers["Retry-After"] == "1"


def test_requests_that_have_begun_are_answered_by_the_model_before(reader):
    slow, other, begun, may_end = copy.copy(reader), copy.copy(reader), threading.Event(), threading.Event()
    other.fingerprint = "0123456789abcdef"

    def read_together(texts):
        begun.set()
        may_end.wait(20)
        return reader.read_together(texts)

    slow.read_together = read_together
    app = create_app(slow)
    engine = app.state.engine
    with TestClient(app) as client, ThreadPoolExecutor(1) as executor:
        asked = executor.submit(post, client, "stream", text="the")
        assert begun.wait(20)
        client.portal.call(replace_model, app, other)
        assert client.get("/version").json()["model"] == other.fingerprint
        may_end.set()
        body = {"state": asked.result()["state"], "text": "cat"}
        assert other.fingerprint in problem(client.post("/v1/stream", json=body), 409)
        answered = client.portal.call(engine.extend, reader.begin(), "the cat")  # as by a request with more to do
        np.testing.assert_allclose(answered.state, reader.read_typed("the cat").state, atol=1e-6)
        assert post(client, "stream", text="the")["state"] != body["state"]


def test_threads_end_with_the_server(reader):
    app = create_app(reader)
    with TestClient(app) as client:
        post(client, "score", text="the cat")
    assert all(batcher._executor is None for batcher in app.state.engine._batchers())


def test_a_wrong_method_is_told_the_right_one(client):
    response = client.get("/v1/suggest")
    assert problem(response, 405) == "Method Not Allowed"
    assert response.headers["Allow"] == "POST"


def test_work_for_a_client_that_has_gone_is_ended(reader):
    assert CancelOnDisconnect in {middleware.cls for middleware in create_app(reader).user_middleware}


@pytest.mark.parametrize("headers", [{}, {"content-type": "text/plain; charset=utf-8"}], ids=str)
def test_a_body_that_is_not_said_to_be_json_is_told_how(client, headers):
    response = client.post("/v1/suggest", content=b'{"text": "the"}', headers=headers)
    assert "Content-Type: application/json. Received: " in problem(response, 422)
