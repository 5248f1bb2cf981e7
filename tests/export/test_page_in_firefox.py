"""An exported page in Firefox."""

import pytest

from benchmarks.firefox import FIREFOX, firefox
from kerasptb.export import export_page
from kerasptb.reading import suggest

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not FIREFOX, reason="Firefox is not installed")]

# What is on the keys once all is read of a text that is typed behind what there is.
TYPE = """async (text) => {
  const field = document.getElementById("text");
  field.focus();
  document.getElementById("typos").value = "";
  document.execCommand("insertText", false, text);
  await new Promise((resolve) => setTimeout(resolve, 300));
  return [...document.querySelectorAll("#keys :enabled")].map((key) => key.textContent);
}"""
IS_SHOWN = """async () => {
  while (document.querySelector("main").hidden) {
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  return document.title;
}"""


def test_the_page_in_firefox(subword_model, tmp_path):
    pytest.importorskip("websocket", reason="websocket-client is not installed")
    path = export_page(subword_model, tmp_path / "keyboard.html")
    with firefox() as browser:
        browser.get(path.as_uri())
        assert browser.call(IS_SHOWN) == "kerasptb – keyboard"
        words = browser.call(TYPE, "Once upon a ti")
        found = suggest(subword_model, "Once upon a ti", 3, complete=True)
        assert words == [suggestion.word for suggestion in found]
        assert browser.call("() => performance.getEntriesByType('resource').length") == 0
        for width in (390, 1280):
            browser.resize(width, 800)
            assert browser.call("() => document.documentElement.scrollWidth") <= width
        path.write_text(path.read_text(encoding="utf-8")[:-2000], encoding="utf-8")
        browser.get(path.as_uri())
        sentence = browser.call("() => document.getElementById('opening').textContent.trim().slice(0, 22)")
        assert sentence == "This page is not whole"
