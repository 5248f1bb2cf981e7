"""Chromium, and what a person sees and does on a page in it."""

import contextlib
import os
import shutil
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.support.select import Select
from selenium.webdriver.support.wait import WebDriverWait

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
CHROMEDRIVER = shutil.which("chromedriver")
MARKS = [
    pytest.mark.slow,
    pytest.mark.skipif(not (CHROMIUM and CHROMEDRIVER), reason="chromium and chromedriver are not installed"),
]

# It asks for nothing but the page: no updates, no services of its maker.
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=1000,800",
)


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('chromium')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(CHROMEDRIVER))
    yield driver
    driver.quit()


class Page:
    """What a person sees and does on the page."""

    def __init__(self, browser, url):
        self.browser = browser
        browser.get(url)
        self.text = browser.find_element(By.ID, "text")
        self.wait(lambda: self.bars)

    @property
    def keys(self):
        return self.browser.find_elements(By.CSS_SELECTOR, "#keys button")

    @property
    def words(self):
        # In one call, as what else changes by itself: an element that was found may be gone when it is asked.
        enabled = "[...document.querySelectorAll('#keys button')].filter((key) => !key.disabled)"
        return self.browser.execute_script(f"return {enabled}.map((key) => key.innerText.trim())")

    @property
    def bars(self):
        bars = "[...document.querySelectorAll('#bars .word')]"
        return self.browser.execute_script(f"return {bars}.map((bar) => bar.innerText.trim())")

    @property
    def notice(self):
        return self.browser.find_element(By.ID, "notice").text

    @property
    def coloured(self):
        script = """return [...document.querySelectorAll("#surprise span")].map((span) =>
            [span.textContent, Number(span.style.getPropertyValue("--strength"))])"""
        return self.browser.execute_script(script)

    @property
    def value(self):
        return self.text.get_property("value")

    @property
    def typos(self):
        return Select(self.browser.find_element(By.ID, "typos"))

    def type(self, *keys):
        self.text.send_keys(*keys)

    def wait(self, condition, seconds=15):
        return WebDriverWait(self.browser, seconds, 0.02, ignored_exceptions=(Exception,)).until(lambda _: condition())

    def accepted(self, module, word, prefix, before):
        """Returns what `accepted` of a module gives."""
        script = """
            const [module, word, prefix, before, done] = arguments;
            import(`./static/${module}.js`).then(({ accepted }) => done(accepted(word, prefix, before)));
        """
        return self.browser.execute_async_script(script, module, word, prefix, before)

    def complaints(self, expected=None):
        """Returns what was logged and not expected: what a policy forbids, what fails to load, what a script throws."""
        complaints = [entry for entry in self.browser.get_log("browser") if entry["level"] in ("SEVERE", "WARNING")]
        return [entry for entry in complaints if not expected or expected not in entry["message"]]

    @contextlib.contextmanager
    def screen(self, width, height=760, scheme="light"):
        """Has the page shown on such a screen."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
        self.browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
        try:
            yield
        finally:
            self.browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
            self.browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})

    def check_by_axe(self):
        """Fails for what a screen reader cannot read, by axe-core."""
        axe = os.environ.get("KERASPTB_AXE")
        if not axe:
            pytest.skip("KERASPTB_AXE does not name the file axe.min.js (of the npm package axe-core)")
        self.browser.execute_script(Path(axe).read_text(encoding="utf-8"))
        script = (
            "const done = arguments[0]; axe.run().then(({ violations, passes }) => done([violations, passes.length]))"
        )
        violations, passes = self.browser.execute_async_script(script)
        assert [(each["id"], [node["html"] for node in each["nodes"]]) for each in violations] == []
        assert passes > 10
