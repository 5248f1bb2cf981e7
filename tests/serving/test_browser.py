"""The page in a real browser."""

import io
import time

import pytest

pytest.importorskip("fastapi", reason="the extra `serve` is not installed")
pytest.importorskip("selenium", reason="selenium is not installed")

import small_browser
from PIL import Image
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from small_browser import Page

from kerasptb.reading import suggest

pytestmark = small_browser.MARKS
browser = small_browser.browser


@pytest.fixture
def page(browser, serving):
    with serving(rate=None) as server:
        page = Page(browser, server.url)
        page.server = server
        yield page
        browser.get("about:blank")  # the page would ask for the server once it is gone
        assert page.complaints(getattr(page, "expected_complaint", None)) == []


def best(reader, text, beginning="", count=3):
    """The words that the keys should show."""
    context = reader.read_typed(text)
    vocabulary = reader.tokenizer.tokens
    ranked = [vocabulary[i] for i in context.log_probabilities.argsort()[::-1]]
    ranked = [word for word in ranked if word not in ("N", "<eos>", "<unk>")]
    return [word for word in ranked if word.lower().startswith(beginning)][:count]


def test_an_empty_field_has_suggestions(page, reader):
    expected = best(reader, "")
    page.wait(lambda: len(page.words) == 3)
    assert [word.lower() for word in page.words] == [word.lower() for word in expected]
    assert page.words[0][0].isupper() or not expected[0][0].isalpha()
    assert len(page.bars) == 10
    assert page.bars[:3] == page.words
    page.type("the cat ", Keys.CONTROL + "a", Keys.NULL, Keys.DELETE)
    page.wait(lambda: [word.lower() for word in page.words] == [word.lower() for word in expected])
    assert page.coloured == []


def test_suggestions_follow_the_text(page, reader):
    page.type("The cat ")
    page.wait(lambda: page.words == best(reader, "The cat "))
    page.type("sat on ")
    page.wait(lambda: page.words == best(reader, "The cat sat on "))


def test_a_tapped_word_completes_the_prefix_and_keeps_its_casing(page, reader):
    page.type("On Th")
    expected = ["Th" + word[2:] for word in best(reader, "On", "th")]
    page.wait(lambda: page.words == expected)
    page.keys[1].click()
    assert page.value == f"On {expected[1]} "
    assert page.browser.switch_to.active_element == page.text
    page.wait(lambda: page.bars and not page.bars[0].startswith("th"))
    page.type("CA")
    page.wait(lambda: page.words and all(word.startswith("CA") for word in page.words))
    page.type(Keys.BACKSPACE, Keys.BACKSPACE, "zzz")
    page.wait(lambda: page.words == [])


def test_keys_by_keyboard_alone(page):
    page.type("the c")
    page.wait(lambda: page.words and all(word.startswith("c") for word in page.words))
    third = page.words[2]
    page.type(Keys.ALT + "3" + Keys.NULL)
    assert page.value == f"the {third} "
    page.type("th")
    page.wait(lambda: page.words and all(word.startswith("th") for word in page.words))
    first = page.words[0]
    page.type(Keys.TAB)
    assert page.browser.switch_to.active_element == page.keys[0]
    page.browser.switch_to.active_element.send_keys(Keys.ENTER)
    assert page.value == f"the {third} {first} "
    assert page.browser.switch_to.active_element == page.text
    page.type(Keys.CONTROL + "z" + Keys.NULL)
    assert page.value != f"the {third} {first} "  # Undo knows of it


def test_a_word_is_put_where_the_caret_is(page):
    page.type("on th mat", *[Keys.ARROW_LEFT] * 4)
    page.wait(lambda: page.words and all(word.startswith("th") for word in page.words))
    first = page.words[0]
    page.keys[0].click()
    assert page.value == f"on {first}  mat"


def test_surprise_is_shown_for_each_whole_word(page, reader):
    page.type("The cat, zebra don't mat")
    page.wait(lambda: len(page.coloured) == 4)
    values = reader.score(reader.begin(), reader.tokenizer.encode_typed("The cat, zebra don't ")[1:])
    bits = [-value / 0.6931472 for value in (values[0], values[1], values[2], values[3] + values[4])]
    for (word, strength), expected, value in zip(page.coloured, ("The", "cat,", "zebra", "don't"), bits, strict=True):
        assert word == expected
        assert abs(strength - 0.6 * min(value / 18, 1)) < 1e-4
    unknown = page.browser.find_elements(By.CSS_SELECTOR, "#surprise .unknown")
    assert [word.get_property("textContent") for word in unknown] == ["zebra"]
    assert "over 5 words" in page.browser.find_element(By.ID, "summary").text
    # The copy lies exactly under the text.
    assert page.browser.execute_script("return document.getElementById('surprise').textContent") == page.value


def test_ten_thousand_characters_pasted(page):
    pasted = "the quick brown fox sat on it\n" * 333 + "on the mat"
    assert len(pasted) == 10_000
    page.browser.execute_script(
        "arguments[0].focus(); document.execCommand('insertText', false, arguments[1])", page.text, pasted
    )
    page.wait(lambda: len(page.coloured) >= 2333, 60)
    assert page.notice == ""
    page.type(" th")
    page.wait(lambda: page.words and all(word.startswith("th") for word in page.words))
    height = "return [document.getElementById('text').scrollHeight, document.getElementById('surprise').scrollHeight]"
    text, copy = page.browser.execute_script(height)
    assert abs(text - copy) <= 2


def test_of_a_text_over_the_limit_the_end_is_read(page, reader):
    page.browser.execute_script(
        "arguments[0].value = '\U0001f600 the cat '.repeat(2000); arguments[0].setSelectionRange(22000, 22000);"
        "arguments[0].dispatchEvent(new Event('input'))",
        page.text,
    )
    page.wait(lambda: page.coloured, 60)
    page.type("sat on ")
    page.wait(lambda: [word for word, _ in page.coloured][-3:] == ["cat", "sat", "on"], 60)
    page.wait(lambda: page.words == best(reader, "the cat " * 99 + "sat on "))
    assert page.notice == ""
    # The words are coloured where they stand, and those before the part that is read not at all.
    assert page.browser.execute_script("return document.getElementById('surprise').textContent") == page.value
    assert 2 * 1363 <= len(page.coloured) <= 2 * 1818 + 2  # of 15,000 to 20,000 characters, eleven for two words


def test_figures_are_those_of_suggest(page, reader):
    for typed, prefix in (("The cat ", ""), ("th", "th")):
        page.type(typed)
        page.wait(lambda: page.bars and all(word.startswith(prefix) for word in page.bars))  # noqa: B023
        page.wait(lambda: page.browser.find_element(By.ID, "summary").text)
        expected = suggest(reader, page.value, 3, exclude=("N", "<eos>", "<unk>"), complete=True)
        values = [value.text for value in page.browser.find_elements(By.CSS_SELECTOR, "#bars .value")]
        assert page.bars[:3] == [each.word for each in expected]
        assert values[:3] == [f"{100 * each.probability:.1f} %" for each in expected]


def test_the_server_stopped_and_started_again(page):
    page.expected_complaint = "ERR_CONNECTION_REFUSED"
    page.type("the c")
    page.wait(lambda: page.words and all(word.startswith("c") for word in page.words))
    page.server.stop()
    try:
        page.type("a")
        page.wait(lambda: "does not answer" in page.notice)
        assert page.words == []
        page.type("t")
        assert page.value == "the cat"
    finally:
        page.server.start()
    page.wait(lambda: page.notice == "" and page.words == ["cat"], 20)


def test_an_answer_that_comes_late_is_thrown_away(page):
    page.browser.execute_script("""
        const real = window.fetch;
        window.late = 0;
        window.fetch = async (path, options) => {
            const answer = await real(path, options);
            if (options?.body?.includes('"the c"')) {
                await new Promise((resolve) => setTimeout(resolve, 600));
                window.late += 1;
            }
            return answer;
        };
    """)
    page.type("the c")
    page.type(Keys.BACKSPACE, "th")
    page.wait(lambda: page.words and all(word.startswith("th") for word in page.words))
    page.wait(lambda: page.browser.execute_script("return window.late") >= 1)
    time.sleep(0.1)
    assert all(word.startswith("th") for word in page.words)


def test_keystrokes_saved(page):
    def shown():
        return page.browser.find_element(By.ID, "saved").text

    page.type("on th")
    assert shown() == ""
    page.wait(lambda: page.words and all(word.startswith("th") for word in page.words))
    page.keys[0].click()
    length = len(page.value)
    gain = length - 6  # five letters and a tap
    assert shown() == f"{gain} of {length} keystrokes saved ({round(100 * gain / length)} %)"
    page.type(Keys.BACKSPACE)  # a key, and a letter less
    assert shown().startswith(f"{gain - 2} of {length - 1} ") or gain <= 2
    page.type(Keys.CONTROL + "a", Keys.NULL, Keys.DELETE)
    assert shown() == ""


def test_words_of_ones_own(page):
    learn = page.browser.find_element(By.ID, "learn")
    assert (learn.aria_role, learn.accessible_name, learn.is_selected()) == ("checkbox", "Learn from this text", False)
    page.type("Zebras eat. The zebra met Kim. A ze")
    page.wait(lambda: page.browser.find_element(By.ID, "next-title").text == "Words that begin with “ze”")
    assert page.words == []
    # By keyboard alone: no key is enabled, so Tab leads from the text to the box.
    page.type(Keys.TAB)
    assert page.browser.switch_to.active_element == learn
    learn.send_keys(Keys.SPACE)
    page.wait(lambda: sorted(page.words) == ["zebra", "zebras"])
    first = page.words[0]
    page.keys[0].click()
    assert page.value == f"Zebras eat. The zebra met Kim. A {first} "
    page.type("ki")
    page.wait(lambda: page.words == ["Kim"])
    page.keys[0].click()
    assert page.value.endswith(" Kim ")
    learn.click()
    page.type("ki")
    page.wait(lambda: page.words == [])


@pytest.mark.parametrize(("width", "height"), [(320, 568), (390, 760), (1000, 800)])
def test_the_page_fits_the_screen(page, width, height):
    with page.screen(width, height):
        page.type("The cat sat on the mat. It does")
        assert page.browser.execute_script("return document.documentElement.scrollWidth") <= width
        for key in page.keys:
            assert key.rect["height"] >= 44  # a finger's size
            assert key.rect["x"] >= 0
            assert key.rect["x"] + key.rect["width"] <= width
        assert page.keys[0].rect["y"] < page.text.rect["y"]
        for control in ("#learning label", "#typos"):
            box = page.browser.find_element(By.CSS_SELECTOR, control).rect
            assert box["height"] >= 44
            assert box["x"] + box["width"] <= width


def test_a_small_dark_screen_shows_everything_whole(page):
    def edge(selector):
        return page.browser.find_element(By.CSS_SELECTOR, selector).rect["x"]

    with page.screen(390, scheme="dark"):
        page.type("The cat sat ")
        page.wait(lambda: page.browser.find_element(By.ID, "summary").text)
        script = """
            const name = document.querySelector("#bars .word");
            name.textContent = "end of sentence";
            name.className = "word class";
            return [name.scrollWidth, name.clientWidth]"""
        text, room = page.browser.execute_script(script)
        assert text <= room
        assert edge("#summary") == edge("#legend")
        box = Image.open(io.BytesIO(page.browser.find_element(By.ID, "learn").screenshot_as_png)).convert("L")
        assert box.getpixel((box.width // 2, box.height // 2)) > 200  # an empty box that can be filled is not grey


@pytest.mark.parametrize("width", [390, 1000])
def test_axe_finds_nothing(correcting, width):
    page = correcting
    with page.screen(width):
        page.browser.find_element(By.ID, "learn").click()
        page.type("The cat, zebra don't th")
        page.wait(lambda: page.words and len(page.coloured) == 4)
        page.keys[0].click()
        page.type("teh wemt")
        page.wait(lambda: page.marked == ["the"] and page.words[:1] == ["“wemt”"])
        page.check_by_axe()


def test_names_for_those_who_listen(page):
    page.type("the ")
    assert page.text.accessible_name == "Your text"
    page.wait(lambda: page.browser.find_element(By.ID, "announcement").get_property("textContent").startswith("Sugg"))
    assert [key.accessible_name for key in page.keys] == page.words


# By the script that puts a word: the word, the beginning that it completes, the text before the caret, and after it.
PUT = {
    "words": [
        ("the", "", "", "The "),
        ("the", "", "on", "on the "),
        ("the", "", "on ", "on the "),
        ("the", "", "It is so. ", "It is so. The "),
        ("the", "", "It is so.\n", "It is so.\nThe "),
        ("smith", "", "Mr. ", "Mr. smith "),
        ("the", "Th", "on Th", "on The "),
        ("mr.", "m", "m", "mr. "),
        ("Paris", "par", "in par", "in Paris "),
        ("don’t", "don'", "I don'", "I don’t "),
        ("the", "TH", "on TH", "on THE "),
        ("l'homme", "L'", "on L'", "on L'homme "),
        ("i\u0307stanbul", "\u0130s", "in \u0130s", "in \u0130stanbul "),  # two characters in lower case, one as typed
        ("n't", "", "I do ", "I don't "),
        ("n't", "n'", "I don'", "I don't "),
        ("'s", "", "it ", "it's "),
        ("'s", "’", "it’", "it’s "),
        ("%", "", "5 ", "5% "),
        ("i", "", "and ", "and I "),
        ("the", "", 'he said "', 'he said "the '),
        ("the", "", "(", "(the "),
        ("the", "", 'he "said"', 'he "said" the '),
    ],
    "written": [
        ("the", "", "", "The "),
        ("the", "", "on", "on the "),
        ("the", "", "on ", "on the "),
        ("the", "", "It is so. ", "It is so. The "),
        ("the", "", "It is so.\n", "It is so.\nThe "),
        ("the", "Th", "on Th", "on The "),
        ("Paris", "par", "in par", "in Paris "),
        (".", "", "It is so ", "It is so. "),
        (",", "", "so", "so, "),
        (".", "", "It is so.. ", "It is so... "),
        ("i", "", "bor ", "bor i "),
        ("(", "", "it ", "it ("),
        ("see", "", "it (", "it (see "),
        (")", "", "it (see ", "it (see) "),
        ('"', "", "said ", 'said "'),
        ("no", "", 'said "', 'said "no '),
        ("no", "", "said “", "said “no "),
        ("no", "", "said [‘", "said [‘no "),
        ("no", "", 'said "yes"', 'said "yes" no '),
        ("'I", "‘", "said ‘", "said ‘I "),
        ("don't", "don’", "I don’", "I don’t "),
        ("です", "", "これは", "これはです"),
        ("。", "", "これはです", "これはです。"),
        ("web", "", "これは", "これはweb "),
        ('"', "", 'said "no ', 'said "no" '),
        ("and", "", 'said "no" ', 'said "no" and '),
        ("\u2013", "", "it ", "it \u2013 "),
    ],
}


@pytest.mark.parametrize("module", PUT)
def test_how_a_word_is_put(page, module):
    for word, prefix, before, value in PUT[module]:
        change = page.accepted(module, word, prefix, before)
        assert before[: change["from"]] + change["insert"] == value


def test_a_text_as_it_is_written(browser, serving, subworded):
    with serving(of=subworded.reader, rate=None) as server:
        page = Page(browser, server.url)
        name = f"a language model of {len(subworded.tokenizer)} subwords"
        page.wait(lambda: browser.find_element(By.ID, "model").text == name)
        assert browser.title == "kerasptb keyboard"
        page.typos.select_by_visible_text("Off")
        page.type("The cat ")
        page.wait(lambda: [word for word, _ in page.coloured] == ["The", "cat"])
        assert "over 2 subwords" in browser.find_element(By.ID, "summary").text
        assert not browser.find_element(By.CSS_SELECTOR, "#legend .unknown").is_displayed()  # none is unknown
        page.wait(lambda: page.bars and not {",", "."} & set(page.bars))
        page.type("s")
        page.wait(lambda: page.words and all(word.startswith("s") for word in page.words))
        first = page.words[0]
        page.keys[0].click()
        assert page.value == f"The cat {first} "
        page.wait(lambda: page.bars and not page.bars[0].startswith("s"))
        assert page.notice == ""
        browser.get("about:blank")


@pytest.mark.parametrize("width", [390, 1000])
def test_the_run_is_named(browser, serving, width):
    from kerasptb.serving.server import load_reader

    browser.set_window_size(width, 800)
    try:
        with serving(load_reader("english"), name="english") as server:
            page = Page(browser, server.url)
            page.wait(lambda: page.browser.find_element(By.ID, "model").text)
            assert page.browser.find_element(By.ID, "model").text == "a language model of 8,000 subwords"
            assert (browser.title, browser.find_element(By.TAG_NAME, "h1").text) == (
                "english – kerasptb keyboard",
                "english",
            )
            assert not browser.execute_script("return document.body.scrollWidth > window.innerWidth")
            assert page.typos.first_selected_option.text == "QWERTY"
            page.typos.select_by_visible_text("Off")
            page.type("I would like ")
            page.wait(lambda: "to" in page.words)
            page.type(Keys.CONTROL + "a", Keys.NULL, "He said, “")
            page.wait(lambda: page.words[:1] == ["I"])
            page.keys[0].click()
            assert page.value == "He said, “I "
            page.type("don’")
            page.wait(lambda: page.words[:1] == ["don’t"])
            values = [value.text for value in browser.find_elements(By.CSS_SELECTOR, "#bars .value")]
            assert float(values[0].removesuffix(" %")) > 90
            page.typos.select_by_visible_text("QWERTY")
            page.type(Keys.CONTROL + "a", Keys.NULL, "Yesterday he wemt")
            page.wait(lambda: page.words[:2] == ["“wemt”", "went"])
            page.type(" hoome, ")
            page.wait(lambda: page.value == "Yesterday he went home, ")
            browser.get("about:blank")
    finally:
        browser.set_window_size(1000, 800)


# Requests are answered as without `typos` but for the words of a table. An answer may be held until it is let go.
CORRECTING = """
    const [corrections] = arguments;
    const real = window.fetch;
    window.held = {};  // word: what lets its answers go
    window.sent = [];
    window.waiting = 0;
    const suggest = async (path, options) => {
        const body = JSON.parse(options.body);
        window.sent.push(body);
        const answer = await (await real(path, { ...options, body: JSON.stringify({ ...body, typos: null }) })).json();
        const word = body.typos && corrections[answer.prefix.toLowerCase()];
        answer.correction = word ? { word, log_odds: 4 } : null;
        if (word) {
            answer.suggestions = [word, "wet"].map((word) => ({ word, probability: 0.1, corrects: true }));
        }
        if (answer.prefix in window.held) {
            await new Promise((resolve) => window.held[answer.prefix].push(resolve));
        }
        return Response.json(answer);
    };
    window.fetch = async (path, options) => {
        if (path !== "v1/suggest") {
            return real(path, options);
        }
        window.waiting += 1;
        try {
            return await suggest(path, options);
        } finally {
            window.waiting -= 1;
        }
    };
    window.heard = [];
    const announcement = document.getElementById("announcement");
    new MutationObserver(() => window.heard.push(announcement.textContent)).observe(announcement, { childList: true });
"""


class CorrectingPage(Page):
    """A page that corrects the words of a table."""

    def __init__(self, page, **corrections):
        super().__init__(page.browser, page.server.url)
        self.run(CORRECTING, corrections)
        self.typos.select_by_visible_text("QWERTY")

    def run(self, script, *arguments):
        return self.browser.execute_script(script, *arguments)

    def hold(self, *words):
        self.run("for (const word of arguments[0]) window.held[word] = []", words)

    def let_go(self, word):
        """Lets the answers for a word go, and waits until the page has them."""
        self.wait(lambda: self.run("return window.held[arguments[0]].length > 0", word))
        self.run("window.held[arguments[0]].forEach((go) => go()); delete window.held[arguments[0]]", word)
        self.browser.execute_async_script("setTimeout(arguments[0], 50)")

    def settle(self):
        """Waits until all is answered, and corrected."""
        self.wait(lambda: self.run("return window.waiting === 0 && window.sent.at(-1).text.length") == self.caret)
        self.browser.execute_async_script("setTimeout(arguments[0], 50)")

    def compose(self, *texts):
        """Shows the texts of an input method one after the other."""
        for text in texts:
            selection = {"text": text, "selectionStart": len(text), "selectionEnd": len(text)}
            self.browser.execute_cdp_cmd("Input.imeSetComposition", selection)

    @property
    def caret(self):
        start, end = self.run("return [arguments[0].selectionStart, arguments[0].selectionEnd]", self.text)
        assert start == end
        return start

    @property
    def marked(self):
        return self.run("return [...document.querySelectorAll('.corrected')].map((each) => each.textContent)")

    @property
    def saved(self):
        return self.browser.find_element(By.ID, "saved").text


@pytest.fixture
def correcting(page):
    assert page.typos.first_selected_option.text == "Off"  # a model of words
    return CorrectingPage(page, wemt="went", dont="don't", teh="the")


def test_a_space_corrects_and_one_backspace_puts_back(correcting):
    page = correcting
    page.type("He wemt")
    page.wait(lambda: page.words == ["“wemt”", "went", "wet"])
    page.type(" ")
    page.wait(lambda: page.value == "He went ")
    assert (page.caret, page.marked) == (8, ["went"])
    assert "Corrected wemt to went. Backspace puts it back." in page.run("return window.heard")
    page.wait(lambda: page.marked == [])
    page.type(Keys.BACKSPACE)
    assert (page.value, page.caret) == ("He wemt ", 8)
    assert "Put back wemt." in page.run("return window.heard")
    page.type(Keys.BACKSPACE)
    assert page.value == "He wemt"
    page.wait(lambda: page.words == ["went", "wet"])
    page.type(" Wemt wemt.")
    page.settle()
    assert page.value == "He wemt Wemt wemt."  # never again in this text
    page.type(Keys.CONTROL + "a", Keys.NULL, Keys.DELETE, "wemt ")
    page.wait(lambda: page.value == "Went ")  # but in another


def test_typing_on_keeps_a_correction(correcting):
    page = correcting
    page.type("wemt ")
    page.wait(lambda: page.value == "Went ")
    page.type("to", *[Keys.BACKSPACE] * 3)
    assert page.value == "Went"


def test_a_correction_is_no_key(correcting):
    page = correcting
    page.type("I dont ")
    page.wait(lambda: page.value == "I don't ")
    assert page.saved == "1 of 8 keystrokes saved (13 %)"
    page.type(Keys.BACKSPACE, "and")  # eleven keys
    assert (page.value, page.saved) == ("I dont and", "")


def test_the_key_in_quotes_keeps_what_was_typed(correcting):
    page = correcting
    page.type("He wemt")
    page.wait(lambda: page.words[:1] == ["“wemt”"])
    page.type(Keys.ALT + "1" + Keys.NULL)
    assert page.value == "He wemt "
    page.type("wemt ")
    page.settle()
    assert page.value == "He wemt wemt "
    page.type("teh")
    page.wait(lambda: page.words[:2] == ["“teh”", "the"])
    page.keys[1].click()
    assert page.value == "He wemt wemt the "


def test_an_answer_that_comes_after_the_space_corrects(correcting):
    page = correcting
    page.hold("wemt", "dont")
    page.type("I dont if he wemt on")
    page.wait(lambda: page.value == "I dont if he wemt on")
    page.let_go("dont")
    assert (page.value, page.caret) == ("I don't if he wemt on", 21)
    assert "Corrected dont to don't." in page.run("return window.heard")
    page.type("ce")
    page.let_go("wemt")
    assert (page.value, page.caret) == ("I don't if he went once", 23)
    # Backspace deletes the letters typed since, and then puts back.
    page.type(*[Keys.BACKSPACE] * 4)
    assert page.value == "I don't if he went "
    page.type(Keys.BACKSPACE)
    assert page.value == "I don't if he wemt "


@pytest.mark.parametrize(
    ("keys", "value"),
    [
        ([Keys.BACKSPACE, Keys.BACKSPACE, "s "], "He wems "),
        ([Keys.HOME, "So "], "So He wemt "),
        ([Keys.TAB], "He wemt "),
    ],
)
def test_an_answer_that_comes_after_another_change_corrects_nothing(correcting, keys, value):
    page = correcting
    page.hold("wemt")
    page.type("He wemt ", *keys)
    page.let_go("wemt")
    assert page.value == value


def test_what_corrections_look_like(correcting):
    page = correcting
    for typed, value in (
        ("teh. ", "The. "),
        ("teh, ", "The, "),
        ("teh?\n", "The?\n"),
        ("He wemt\n", "He went\n"),
        ('On Teh "teh" (TEH) ', 'On The "the" (THE) '),
        ("I can’t, dont! ", "I can’t, don’t! "),
        ("e.teh. teh's well-teh ", "e.teh. teh's well-teh "),
    ):
        page.type(Keys.CONTROL + "a", Keys.NULL, Keys.DELETE)
        page.settle()
        page.type(typed)
        page.settle()
        assert page.value == value


def test_only_what_is_typed_is_corrected(correcting):
    page = correcting
    page.type("on wemtx", Keys.ARROW_LEFT)  # in the middle of a word
    page.wait(lambda: page.words == ["went", "wet"])
    page.type(" ")
    page.settle()
    assert page.value == "on wemt x"
    page.type(Keys.END, " teh  mat", *[Keys.ARROW_LEFT] * 4)
    page.wait(lambda: page.value == "on wemt x the  mat")
    page.type("teh ")  # before a space
    page.wait(lambda: page.value == "on wemt x the the  mat")
    page.type(Keys.ARROW_RIGHT, "teh ")  # before a word
    page.wait(lambda: page.value == "on wemt x the the  the mat")
    for way in ("Paste", "Drop"):
        page.run(
            """
            const [text, inputType] = arguments;
            text.value = "they wemt";
            text.setSelectionRange(9, 9);
            text.dispatchEvent(new InputEvent("input", { inputType, data: "they wemt" }));
            """,
            page.text,
            f"insertFrom{way}",
        )
        page.wait(lambda: page.words == ["went", "wet"])
        page.type(" ")
        page.settle()
        assert page.value == "they wemt "
    page.type("teh!")
    page.wait(lambda: page.value == "they wemt the!")
    page.type(" dontwemt", *[Keys.BACKSPACE] * 4)
    page.settle()
    assert page.value == "they wemt the! dont"


def test_what_an_input_method_composes_stays(correcting):
    page = correcting
    page.type("He ")
    page.compose("we", "wemt")
    page.browser.execute_cdp_cmd("Input.insertText", {"text": "wemt"})
    assert page.value == "He wemt"
    page.type(" ")
    page.settle()
    assert page.value == "He wemt "
    page.type("teh ")
    page.wait(lambda: page.value == "He wemt the ")
    page.hold("dont")
    page.type("dont ")
    page.compose("w")  # a change beside it might end it
    page.let_go("dont")
    assert page.value == "He wemt the dont w"


def test_undo_takes_a_correction_back(correcting):
    page = correcting
    page.type("He wemt ")
    page.wait(lambda: page.value == "He went ")
    page.type(Keys.CONTROL + "z" + Keys.NULL)
    assert (page.value, page.caret) == ("He wemt ", 8)
    page.type("wemt ")
    page.settle()
    assert page.value == "He wemt wemt "


def test_nothing_is_corrected_if_it_is_off(correcting):
    page = correcting
    page.hold("wemt")
    page.type("He wemt ")
    page.typos.select_by_visible_text("Off")
    page.text.click()
    page.let_go("wemt")
    page.type("wemt ")
    page.settle()
    assert page.value == "He wemt wemt "
    assert page.run("return window.sent.at(-1).typos") is None


def test_layouts_by_keyboard_alone(correcting):
    page = correcting
    page.type("zzz")  # no word begins so: no key is enabled
    page.wait(lambda: page.words == [])
    page.type(Keys.TAB)
    page.browser.switch_to.active_element.send_keys(Keys.TAB)
    chosen = page.browser.switch_to.active_element
    assert (chosen.accessible_name, chosen.aria_role) == ("Correct typing errors", "combobox")
    names = [option.text for option in page.typos.options]
    assert names == ["Off", "QWERTY", "QWERTZ", "AZERTY", "Portuguese"]
    for name in ("qwertz", "azerty", "portuguese"):
        chosen.send_keys(Keys.ARROW_DOWN)
        page.wait(lambda: page.run("return window.sent.at(-1).typos") == name)  # noqa: B023
