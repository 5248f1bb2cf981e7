"""An exported page in browsers: its size, the time until it shows words, that of a keystroke, its memory, its words.

    python -m benchmarks.page RUN [--text FILE] [--characters N] [--contexts N] [--csv FILE]

The first characters of the text are typed one after another, and after each the page is waited for until it has its
keys; a text that goes on is not read again: without corrections, and with them. Then the page is asked for the words
after beginnings of passages of the text, of which the first three are compared, in their order, with those that
`kerasptb.keyboard.Writer` finds. Memory is that of the page's process alone, less that of an empty page, after
all that.
Of Chromium and Firefox those that are installed are asked, without a screen.
"""

import argparse
import contextlib
import re
import shutil
import tempfile
from pathlib import Path

import numpy as np

from benchmarks import machine
from benchmarks.firefox import FIREFOX, firefox

CHROMIUM, CHROMEDRIVER = shutil.which("chromium"), shutil.which("chromedriver")
FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking")
PAUSE_MS = 80
A_CALL = 200
_CALL = "const given = [...arguments]; const done = given.pop(); Promise.resolve(({})(...given)).then(done)"

# When the page has its first words.
SHOWN = """() => new MutationObserver((changes, observer) => {
  if (document.querySelector("#bars li")) {
    window.shownAt = performance.now();
    observer.disconnect();
  }
}).observe(document, { childList: true, subtree: true })"""
WAIT = "async () => { while (!window.shownAt) await new Promise(requestAnimationFrame); return window.shownAt; }"
# Puts texts into the field one after the other; returns the milliseconds until the keys have the words for each.
TYPE = """async (texts, layout, pause) => {
  const field = document.getElementById("text");
  document.getElementById("typos").value = layout;
  const times = [];
  for (const text of texts) {
    const shown = new Promise((resolve) =>
      new MutationObserver((changes, observer) => resolve(observer.disconnect())).observe(
        document.getElementById("next-title"), { childList: true }));
    field.value = text;
    field.setSelectionRange(text.length, text.length);
    const begin = performance.now();
    field.dispatchEvent(new Event("input"));
    await shown;
    times.push(performance.now() - begin);
    await new Promise((resolve) => setTimeout(resolve, pause));
  }
  return times;
}"""
FIND = """async (texts) => {
  const words = [];
  for (const text of texts) {
    const { suggestions } = await serverModule.post("v1/suggest", { text, k: 4, learn: false, typos: null });
    words.push(suggestions.slice(0, 3).map(({ word }) => word));
  }
  return words;
}"""


class Chromium:
    """A window of Chromium, with the methods of `Firefox`."""

    def __init__(self, driver):
        self._driver = driver

    def before_each_page(self, function):
        """As of `Firefox`, like the others."""
        self._driver.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": f"({function})()"})

    def get(self, url):
        """Opens a page."""
        self._driver.get(url)

    def call(self, function, *arguments):
        """Returns what a function returns or promises."""
        return self._driver.execute_async_script(_CALL.format(function), *arguments)

    @property
    def pid(self):
        """The number of the first process."""
        return self._driver.service.process.pid


@contextlib.contextmanager
def chromium():
    """Yields a `Chromium`, which is ended afterwards."""
    from selenium import webdriver  # noqa: PLC0415

    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    with tempfile.TemporaryDirectory() as profile:
        for flag in (*FLAGS, f"--user-data-dir={profile}"):
            options.add_argument(flag)
        driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(CHROMEDRIVER))
        driver.set_script_timeout(600)
        try:
            yield Chromium(driver)
        finally:
            driver.quit()


BROWSERS = ((CHROMIUM and CHROMEDRIVER, chromium), (FIREFOX, firefox))


def memory_of(pid):
    """Returns the bytes that the largest of the processes of pages has for itself, below a process of a browser."""
    return max(map(_private, filter(_is_of_page, _below(pid))), default=0)


def _below(pid):
    for child in "".join(path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/children")).split():
        yield int(child)
        yield from _below(child)


def _is_of_page(pid):
    command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ")
    return b"--type=renderer" in command or command.rstrip().endswith(b" tab")


def _private(pid):
    fields = re.findall(r"^Private_\w+: +(\d+)", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.MULTILINE)
    return 1024 * sum(map(int, fields))


def contexts_of(text, count):
    """Returns beginnings of passages of a text, each up to 300 characters, which end anywhere."""
    random = np.random.default_rng(0)
    starts = [found.end() for found in re.finditer(r"\n\n+" if "\n\n" in text else r"\n", text)]
    chosen = random.choice(starts, count, replace=False)
    return [text[start : start + random.integers(1, 300)].replace("\n", " ") for start in chosen]


def expected(run, texts):
    """Returns the three words that Python finds for each text."""
    from kerasptb.keyboard import Writer  # noqa: PLC0415
    from kerasptb.reading import run_search  # noqa: PLC0415
    from kerasptb.serving.server import load_reader  # noqa: PLC0415

    reader = load_reader(run)
    writer, words = Writer(reader.tokenizer), []
    for text in texts:
        typed = writer.split(reader.text_format.signs.read(text))
        context = reader.read_typed(typed.whole)
        found = run_search(writer.keys(context, typed.prefix, 3, typed.begins), reader.after)
        words.append([word for word, _ in found.words][:3])
    return words


def in_parts(function, texts):
    """Returns what a function returns for parts of texts: a call of a browser may take two minutes."""
    return [answer for i in range(0, len(texts), A_CALL) for answer in function(texts[i : i + A_CALL])]


def open_page(browser, path):
    """Opens the page; returns the milliseconds until it has words."""
    browser.before_each_page(SHOWN)
    browser.get(path.as_uri())
    return browser.call(WAIT)


def measure(open_browser, path, typed, contexts, words):
    """Returns the row of a browser."""
    shown = []
    for _ in range(4):
        with open_browser() as browser:
            shown.append(open_page(browser, path))
    with open_browser() as browser:
        empty = memory_of(browser.pid)
        shown.append(open_page(browser, path))
        times = {
            layout: in_parts(lambda texts: browser.call(TYPE, texts, layout, PAUSE_MS), typed)  # noqa: B023
            for layout in ("", "qwerty")
        }
        found = in_parts(lambda texts: browser.call(FIND, texts), contexts)
        memory = memory_of(browser.pid) - empty
        version = re.search(r"(?:Chrome|Firefox)/[\d.]+", browser.call("() => navigator.userAgent"))[0]
    return {
        "browser": version,
        "bytes": path.stat().st_size,
        "shown_ms": round(float(np.median(shown)), 1),
        "keystroke_ms": round(float(np.median(times[""])), 2),
        "keystroke_99_ms": round(float(np.quantile(times[""], 0.99)), 2),
        "correcting_ms": round(float(np.median(times["qwerty"])), 2),
        "correcting_99_ms": round(float(np.quantile(times["qwerty"], 0.99)), 2),
        "memory_mb": round(memory / 1e6, 1),
        "same_words": sum(one == other for one, other in zip(found, words, strict=True)),
        "contexts": len(contexts),
    }


def main():
    """Runs the measurement from the command line."""
    from kerasptb.export import export_page  # noqa: PLC0415
    from kerasptb.run import load_run  # noqa: PLC0415

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", help="run folder, or english")
    parser.add_argument("--text", type=Path, help="text to type (default: the novel of `benchmarks.texts`)")
    parser.add_argument("--characters", type=int, default=1500)
    parser.add_argument("--contexts", type=int, default=1000)
    parser.add_argument("--csv", help="file to write the rows to")
    options = parser.parse_args()

    if options.text is None:
        from benchmarks.texts import text_of  # noqa: PLC0415

        options.text = text_of("novel")
    text = options.text.read_text(encoding="utf-8")
    start = len(text) // 2
    passage = text[start : start + options.characters].replace("\n", " ")
    typed = [passage[: i + 1] for i in range(len(passage))]
    contexts = contexts_of(text, options.contexts)
    words = expected(options.run, contexts)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        path = export_page(load_run(options.run), Path(folder) / "keyboard.html")
        for is_here, browser in BROWSERS:
            if is_here:
                rows.append(measure(browser, path, typed, contexts, words))
                print(rows[-1], flush=True)
    if options.csv:
        machine.write_csv(options.csv, rows, text=options.text.name)


if __name__ == "__main__":
    main()
