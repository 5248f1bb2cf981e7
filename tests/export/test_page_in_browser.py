"""An exported page in a real browser: it answers as the server does, by itself."""

import base64
import re
import time

import pytest

pytest.importorskip("fastapi", reason="the extra `serve` is not installed")
pytest.importorskip("selenium", reason="selenium is not installed")

import small_browser
from fastapi.testclient import TestClient
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from small_browser import Page
from small_client import post
from small_readers import TEXTS, Subworded, model, vocabulary

from kerasptb.export import export_page
from kerasptb.models.portable import PortableNetwork
from kerasptb.reading.network_reader import NetworkReader
from kerasptb.runs.quantized import quantize_rows
from kerasptb.serving.app import create_app

__all__ = ["model", "vocabulary"]

pytestmark = small_browser.MARKS
browser = small_browser.browser

TYPED = (
    *TEXTS,
    "t",
    "The cat, (th",
    'On the mat the dog said, "th',
    "The cat sat. The cat ate",
    "It can't — it's Anna’s",
    "the Zebra saw Kim. The zebra s",
    "the zebra and Kim saw the zebra and K",
    "I d",
    "…and “wh",
    "猫は庭",
)
KINDS = ("words", "subwords", "characters")


def in_8_bits(model):
    """Returns a model whose weights are those that a page stores."""
    for weight in model.weights:
        if weight.shape.rank > 1:
            integers, scales = quantize_rows(weight.numpy())
            weight.assign(integers * scales)
    return model


def small_model(kind, model):
    if kind == "words":
        return in_8_bits(model)
    from kerasptb.data import Subwords

    return in_8_bits(Subworded(Subwords.characters() if kind == "characters" else None).model)


@pytest.fixture(scope="module")
def exported(model, tmp_path_factory):
    """Of each kind of tokens a client of the server, and the file of the page."""
    folder = tmp_path_factory.mktemp("pages")
    found = {}
    for kind in KINDS:
        of_kind = small_model(kind, model)
        reader = NetworkReader(PortableNetwork(of_kind), of_kind.text_format)
        found[kind] = TestClient(create_app(reader, rate=None)), export_page(of_kind, folder / f"{kind}.html")
    return found


class LocalPage(Page):
    """A page that was exported."""

    def ask(self, path, **body):
        script = """
            const [path, body, done] = arguments;
            serverModule.post(path, body).then(done, ({ message }) => done(message));
        """
        return self.browser.execute_async_script(script, f"v1/{path}", body)

    @property
    def sentence(self):
        return self.browser.find_element(By.ID, "opening").text


@pytest.fixture
def open_page(browser, exported):
    pages = []

    def open_page(kind="words"):
        pages.append(LocalPage(browser, exported[kind][1].as_uri()))
        return pages[-1]

    yield open_page
    browser.execute_script("localStorage.clear()")
    assert pages[-1].complaints() == []
    asked = browser.execute_script("return performance.getEntriesByType('resource').map(({ name }) => name)")
    assert [name for name in asked if not name.startswith("data:")] == []


@pytest.mark.parametrize("learn", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_words_are_those_of_the_server(open_page, exported, kind, learn):
    page, (client, _) = open_page(kind), exported[kind]
    for text in TYPED:
        if learn:
            page = open_page(kind)  # it has learned nothing before
        answer = page.ask("suggest", text=text, k=4, learn=learn)
        expected = post(client, "suggest", text=text, k=4, learn=learn)
        assert answer["prefix"] == expected["prefix"], text
        assert answer["prefix_probability"] == pytest.approx(expected["prefix_probability"], rel=0.01, abs=1e-6), text
        found, words = (
            {each["word"]: each["probability"] for each in reply["suggestions"]} for reply in (answer, expected)
        )
        assert found == pytest.approx(words, rel=0.01), text
        assert sorted(found.values(), reverse=True) == list(found.values())


@pytest.mark.parametrize("kind", KINDS)
def test_surprise_is_that_of_the_server(open_page, exported, kind):
    page, (client, _) = open_page(kind), exported[kind]
    for text in TYPED:
        answer, expected = page.ask("score", text=text, start=4), post(client, "score", text=text, start=4)
        assert [word | {"tokens": None} for word in answer["words"]] == [
            word | {"tokens": None} for word in expected["words"]
        ], text
        for word, other in zip(answer["words"], expected["words"], strict=True):
            assert [token["word"] for token in word["tokens"]] == [token["word"] for token in other["tokens"]]
            values = [token["log_probability"] for token in other["tokens"]]
            assert [token["log_probability"] for token in word["tokens"]] == pytest.approx(values, abs=0.01)
        assert (answer["num_tokens"], answer["perplexity"]) == (
            expected["num_tokens"],
            pytest.approx(expected["perplexity"], rel=0.01),
        )
