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

from kerasptb.engine.quantized import quantize_rows
from kerasptb.export import export_page
from kerasptb.reading.reader import open_reader
from kerasptb.run import load_run
from kerasptb.serving.app import create_app
from kerasptb.serving.server import load_reader

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
    "the Zorblax's cat, l'xyz don't; Zo",
    "the zebra and Kim saw the zebra and K",
    "I d",
    "…and “wh",
    "猫は庭",
    "the\u0085cat\x1csat\x1f on \x1d\n\ufeffthe\ufeff cat\u3000sat \ufeff\nthe c",
)
WITH_ERRORS = (
    "the ca",
    "on teh",
    "the cst",
    "It dies nit",
    "Yesterday he wemt",
    "I woild",
    "Zorblax came. He saw Zirb",
    "Zorblax came. Zorblax went. He saw Zirblax",
    "\u00c7a va Fran\u00e7ois. Fran\u00e7ois is here. So Fran",
)
KINDS = ("words", "subwords", "characters")
ENGLISH = "I would like to see the house in which they lived before the war, she said, and smiled."


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
        reader = open_reader(of_kind)
        found[kind] = TestClient(create_app(reader, rate=None)), export_page(of_kind, folder / f"{kind}.html")
    reader = load_reader("english")
    found["english"] = TestClient(create_app(reader, rate=None)), export_page(load_run("english"), folder / "e.html")
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


@pytest.mark.parametrize("learn", [False, True])
@pytest.mark.parametrize("kind", ["words", "subwords", "english"])
def test_what_was_meant_is_what_the_server_says(open_page, exported, kind, learn):
    page, (client, _) = open_page(kind), exported[kind]
    for text in (*TYPED, *WITH_ERRORS):
        if learn:
            page = open_page(kind)  # it has learned nothing before
        answer = page.ask("suggest", text=text, k=3, learn=learn, typos="qwerty")
        expected = post(client, "suggest", text=text, k=3, learn=learn, typos="qwerty")
        assert answer["prefix"] == expected["prefix"], text
        assert answer["prefix_probability"] == pytest.approx(expected["prefix_probability"], rel=0.02, abs=1e-9), text
        found, words = ([(each["word"], each["corrects"]) for each in a["suggestions"]] for a in (answer, expected))
        assert found[0] == words[0] if words else not found, text
        assert len(set(found) & set(words)) >= len(words) - 1, text
        assert (answer["correction"] or {}).get("word") == (expected["correction"] or {}).get("word"), text


def test_a_space_corrects_but_no_word_that_was_learned(open_page):
    page = open_page("english")
    page.type("Yesterday he wemt")
    page.wait(lambda: page.words[:2] == ["“wemt”", "went"])
    page.type(" ")
    page.wait(lambda: page.value == "Yesterday he went ")
    page.type(Keys.CONTROL + "a", Keys.NULL, Keys.DELETE)
    page.browser.find_element(By.ID, "learn").click()
    page.typos.select_by_visible_text("Off")
    page.text.click()
    page.type("Mr Wemt came. ")
    page.typos.select_by_visible_text("QWERTY")
    page.text.click()
    page.type("He saw Wemt")
    page.wait(lambda: "Wemt" in page.words)
    page.type(" ")
    time.sleep(0.3)
    assert page.value == "Mr Wemt came. He saw Wemt "


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


def test_typing_by_keyboard_alone(open_page):
    page = open_page("subwords")
    assert page.browser.switch_to.active_element == page.text
    assert page.browser.find_element(By.ID, "model").text == "a language model of 288 subwords"
    page.typos.select_by_visible_text("Off")
    page.text.click()
    page.browser.switch_to.active_element.send_keys("The cat s")
    page.wait(lambda: page.words and all(word.startswith("s") for word in page.words))
    page.wait(lambda: [word for word, _ in page.coloured] == ["The", "cat"])
    second = page.words[1]
    page.type(Keys.ALT + "2" + Keys.NULL)
    assert page.value == f"The cat {second} "
    page.wait(lambda: page.words and not page.words[0].startswith("s"))
    page.wait(lambda: len(page.bars) == 10 and page.bars[:3] == page.words)
    first = page.words[0]
    page.type(Keys.TAB)
    page.browser.switch_to.active_element.send_keys(Keys.ENTER)
    assert page.value.startswith(f"The cat {second}") and page.value.rstrip().endswith(first)
    names = []
    for _ in range(6):
        page.browser.switch_to.active_element.send_keys(Keys.TAB)
        names.append(page.browser.switch_to.active_element.accessible_name)
    assert names[3:] == ["Learn from this text", "Remember my words in this browser", "Correct typing errors"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_axe_finds_nothing_and_all_fits_the_screen(open_page, width, scheme):
    page = open_page("words")
    with page.screen(width, scheme=scheme):
        page.browser.find_element(By.ID, "learn").click()
        page.type("The cat, zebra don't th")
        page.wait(lambda: page.words and len(page.coloured) == 4)
        assert page.browser.execute_script("return document.documentElement.scrollWidth") <= width
        for control in ("#keys button", "#learning label", "#remembering label"):
            assert page.browser.find_element(By.CSS_SELECTOR, control).rect["height"] >= 44
        page.check_by_axe()


def remember_box(page):
    return page.browser.find_element(By.ID, "remember")


def test_a_caret_that_moves_through_the_text_teaches_nothing(open_page):
    page = open_page("words")
    remember_box(page).click()
    page.type("The zebra and Kim. A ze")
    page.wait(lambda: page.words == ["zebra"])
    kept = page.browser.execute_script("return Object.values(localStorage)")
    page.type(Keys.CONTROL + Keys.HOME, Keys.NULL)
    page.wait(lambda: page.words != ["zebra"])
    first = page.words
    page.type(*[Keys.ARROW_RIGHT] * 10)  # after "The zebra "
    page.wait(lambda: page.words != first)
    assert page.browser.execute_script("return Object.values(localStorage)") == kept
    page.type(Keys.CONTROL + Keys.END, Keys.NULL)
    page.wait(lambda: page.words == ["zebra"])
    assert page.browser.execute_script("return Object.values(localStorage)") == kept


def test_words_are_kept_only_if_that_is_asked(open_page):
    def kept(page):
        return page.browser.execute_script("return Object.keys(localStorage).length")

    page = open_page("words")
    page.browser.find_element(By.ID, "learn").click()
    page.type("The zebra and Kim. A ze")
    page.wait(lambda: page.words == ["zebra"])
    assert kept(page) == 0
    page.type(Keys.CONTROL + "a", Keys.NULL, Keys.DELETE, "A ze")  # another text
    page.wait(lambda: page.words == ["zebra"])
    page = open_page("words")
    assert [box.is_selected() for box in page.browser.find_elements(By.CSS_SELECTOR, ".choice input")] == [False] * 2
    remember_box(page).click()
    assert page.browser.find_element(By.ID, "learn").is_selected()
    page.type("The zebra and Kim. A ze")
    page.wait(lambda: page.words == ["zebra"])
    page = open_page("words")
    assert remember_box(page).is_selected()
    page.type("A ze")
    page.wait(lambda: page.words == ["zebra"])
    remember_box(page).click()
    page.wait(lambda: page.words == [])
    assert kept(page) == 0


def test_what_was_kept_may_be_damaged(open_page):
    page = open_page("words")
    page.browser.execute_script("localStorage.setItem('kerasptb ', '{\"a\": 1}')")
    page = open_page("words")
    assert not remember_box(page).is_selected()
    page.type("the c")
    page.wait(lambda: page.words and all(word.startswith("c") for word in page.words))


def test_the_words_of_english(open_page, exported):
    page, (client, path) = open_page("english"), exported["english"]
    assert path.stat().st_size < 7_500_000
    assert page.browser.title == "english – kerasptb keyboard"
    for end in range(0, len(ENGLISH), 4):
        text = ENGLISH[:end]
        words = [
            [each["word"] for each in answer["suggestions"]]
            for answer in (page.ask("suggest", text=text, k=10), post(client, "suggest", text=text, k=10))
        ]
        assert words[0][:3] == words[1][:3], text
        assert len(set(words[0]) & set(words[1])) >= 9, text


def test_a_long_text_is_read_while_the_page_draws(open_page):
    page = open_page("english")
    script = """
        const [field, text, done] = arguments;
        let frames = 0;
        const count = () => { frames += 1; requestAnimationFrame(count); };
        requestAnimationFrame(count);
        field.focus();
        document.execCommand("insertText", false, text);
        const isRead = () => document.querySelectorAll("#surprise span").length > 1500;
        const wait = () => (isRead() ? done(frames) : setTimeout(wait, 20));
        wait();
    """
    page.browser.set_script_timeout(120)
    assert page.browser.execute_async_script(script, page.text, "the cat sat " * 520) > 10
    page.type("th")
    page.wait(lambda: page.words and all(word.startswith("th") for word in page.words))
    assert page.notice == ""


DAMAGED, NOT_WHOLE = "This page is damaged: get the file again.", "This page is not whole, or this browser is too old"


def flipped(match):
    """Returns a compressed part with another byte in its middle."""
    content = bytearray(base64.b64decode(match[2]))
    content[len(content) // 2] ^= 1
    return match[1] + base64.b64encode(content).decode()


DAMAGES = {
    "a byte of the model": (lambda text: re.sub(r'(id="gzip-model"[^>]*>)([^<]+)', flipped, text), DAMAGED),
    "a byte of the runtime": (lambda text: re.sub(r'(id="gzip-runtime"[^>]*>)([^<]+)', flipped, text), DAMAGED),
    "a letter that is no base64": (lambda text: re.sub(r'(id="gzip-model"[^>]*>.{999}).', r"\1*", text), DAMAGED),
    "the script": (lambda text: text.replace("const NUM_BARS = 10", "const NUM_BARS = 11"), NOT_WHOLE),
    "half of it": (lambda text: text[: len(text) // 2], NOT_WHOLE),
    "its end": (lambda text: text[: text.index("</script>\n</body>")], NOT_WHOLE),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_page_says_so(browser, exported, tmp_path, damage):
    change, sentence = DAMAGES[damage]
    text = exported["words"][1].read_text(encoding="utf-8")
    assert change(text) != text
    (tmp_path / "page.html").write_text(change(text), encoding="utf-8")
    browser.get((tmp_path / "page.html").as_uri())
    opening = browser.find_element(By.ID, "opening")
    deadline = time.monotonic() + 10
    while not opening.text.startswith(sentence) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert opening.text.startswith(sentence)
    assert not browser.find_element(By.ID, "text").is_displayed()
    browser.get_log("browser")  # it complains


@pytest.mark.parametrize(
    "lack",
    [
        "WebAssembly.instantiate = () => Promise.reject(new WebAssembly.CompileError('SIMD'))",
        "delete window.DecompressionStream",
        "delete window.WebAssembly",
    ],
)
def test_an_old_browser_is_told_so(browser, exported, lack):
    added = browser.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": lack})
    try:
        browser.get(exported["words"][1].as_uri())
        opening = browser.find_element(By.ID, "opening")
        deadline = time.monotonic() + 10
        while "2023" not in opening.text and time.monotonic() < deadline:
            time.sleep(0.05)
        assert opening.text == (
            "This browser is too old for this page, which needs WebAssembly with SIMD and DecompressionStream: open it "
            "in a browser of 2023 or later."
        )
    finally:
        browser.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", added)
        browser.get_log("browser")


def test_in_another_page_it_leaves_the_focus(browser, exported, tmp_path):
    (tmp_path / "around.html").write_text(
        f'<input autofocus id="mine"><iframe src="{exported["words"][1].as_uri()}" width="800" height="600"></iframe>'
    )
    browser.get((tmp_path / "around.html").as_uri())
    frame = browser.find_element(By.TAG_NAME, "iframe")
    browser.switch_to.frame(frame)
    deadline = time.monotonic() + 10
    while not browser.find_elements(By.CSS_SELECTOR, "#bars li") and time.monotonic() < deadline:
        time.sleep(0.05)
    assert len(browser.find_elements(By.CSS_SELECTOR, "#bars li")) == 10
    browser.switch_to.default_content()
    assert browser.switch_to.active_element.get_attribute("id") == "mine"
