"""Takes the pictures of the keyboard page in docs/images/, in Chromium.

python docs/screenshots.py RUN
"""

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from selenium import webdriver
from selenium.webdriver.common.by import By

IMAGES = Path(__file__).parent / "images"
# Name, width, height, pixels a point, colour scheme, what is typed.
PICTURES = (
    ("serving-desktop.png", 900, 740, 1, "light", "My neighbour said the new bakery would not open before next mo"),
    ("serving-phone.png", 390, 740, 2, "dark", "The trains were late, but the people on the "),
)
FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--disable-background-networking")


def main():
    """Starts a server, takes the pictures and stops it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", help="run folder or SavedModel")
    run = parser.parse_args().run
    IMAGES.mkdir(exist_ok=True)
    command = [sys.executable, "-u", "-m", "kerasptb", "serve", run, "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            url = re.search(r"http://\S+", server.stdout.readline()).group()
            for picture in PICTURES:
                take(url, *picture)
        finally:
            server.terminate()


def take(url, name, width, height, ratio, scheme, text):
    """Opens the page as a screen of some size shows it, types, and takes its picture."""
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or ""
    with tempfile.TemporaryDirectory() as profile:
        # A desktop has a mouse, which Chromium without a screen does not see.
        mouse = ["--blink-settings=primaryHoverType=2,availableHoverTypes=2"] if ratio == 1 else []
        for flag in (*FLAGS, *mouse, f"--user-data-dir={profile}"):
            options.add_argument(flag)
        browser = webdriver.Chrome(options=options, service=webdriver.ChromeService(shutil.which("chromedriver")))
        try:
            screen = {"width": width, "height": height, "deviceScaleFactor": ratio, "mobile": ratio > 1}
            browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
            features = [{"name": "prefers-color-scheme", "value": scheme}]
            browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
            browser.get(url)
            browser.find_element(By.ID, "text").send_keys(text)
            time.sleep(2)  # until the last answer and the bars' movement are over
            browser.save_screenshot(str(IMAGES / name))
        finally:
            browser.quit()


if __name__ == "__main__":
    main()
