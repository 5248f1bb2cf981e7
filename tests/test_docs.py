"""The pages and the site of them: links lead somewhere, the first page is short, and its script runs."""

import dataclasses
import importlib
import importlib.util
import inspect
import json
import re
import tomllib
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

import kerasptb
from benchmarks import pages
from kerasptb.presets import sample

ROOT = Path(__file__).parents[1]
PAGES = sorted(
    page
    for where in ("*.md", "docs/**/*.md", "examples/*.md", "tests/*/*.md", "kerasptb/*/*/*.md")
    for page in ROOT.glob(where)
)
FIRST = ("README.md", "README.pt-BR.md")


def without_code(page):
    return re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)


def anchors(page):
    headings = re.findall(r"^#+ (.*)$", without_code(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", without_code(page)):
        if target.startswith(("https://", "http://")):
            continue
        path, _, anchor = target.partition("#")
        there = page.parent / path if path else page
        assert there.exists(), target
        assert not anchor or anchor in anchors(there), target


@pytest.mark.parametrize("page", sorted(pages.PAGES.glob("[a-z]*.md")), ids=lambda page: page.name)
def test_the_tables_of_results_are_what_the_files_have(page):
    text = page.read_text(encoding="utf-8")
    assert text.count("\nFrom [") == text.count("<!--")
    assert pages.with_tables(text) == text, "python -m benchmarks.pages writes them anew"


def test_a_table_of_results_shows_the_rows_that_were_asked_for():
    """Two files side by side, a column for each value of another, and a figure rounded as a page has it."""
    table = pages.table("serving.csv", "offered_per_second=25.0/300.0", "offered_per_second;p99_ms:.1f as 99 %")
    assert table.splitlines()[2:4] == ["| 25.0 | 8.6 |", "| 300.0 | 7.1 |"]
    files = "training-amx-2-cores.csv+training-zen5-2-cores.csv"
    head, _, row, _, origin = pages.table(files, "contender=Keras, jit", "step_ms_median:.0f by processor").splitlines()
    assert (head, row) == ("| AMX | Zen 5 |", "| 149 | 69 |")
    assert origin.endswith("AMX, 2026-11-27; Zen 5, 2026-11-26.")


def test_guides_are_short():
    words = {page: len(page.read_text(encoding="utf-8").split()) for page in ROOT.glob("docs/**/*.md")}
    assert {page: count for page, count in words.items() if count > 1200} == {}


@pytest.mark.parametrize("name", FIRST)
def test_the_first_page_is_short_and_honest(name):
    words = (ROOT / name).read_text(encoding="utf-8").split()
    text = " ".join(words)
    assert len(words) <= 700
    assert "GPU yet.**" in text or "GPU ainda.**" in text
    speed = (pages.PAGES / "speed.md").read_text(encoding="utf-8")
    assert "| tensorflow | LSTM | 2.14 (1.11 to 6.6) |" in speed
    assert re.search(r"2[.,]1 (times as fast|vezes mais rápido)", text)


def test_every_page_is_reached_from_the_first():
    reached, left = set(), [ROOT / "README.md"]
    while left:
        page = left.pop()
        reached.add(page)
        links = [page.parent / target for target in re.findall(r"\]\(([^)#\s]+\.md)", page.read_text(encoding="utf-8"))]
        left += [link.resolve() for link in links if link.resolve() not in reached]
    assert set(ROOT.glob("docs/**/*.md")) <= reached


def test_the_pages_name_the_extras_that_there_are():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    texts = {page.name: page.read_text(encoding="utf-8") for page in PAGES}
    install = re.compile(r"pip install (?:-e )?'(?:\.|kerasptb\S*)\[([\w,]+)\]")
    named = [each for text in texts.values() for each in install.findall(text)]
    assert {"serve", "onnx"} <= {extra for each in named for extra in each.split(",")} <= set(extras)
    # Those that a user needs; the others are for work on the package itself.
    table = re.findall(r"^\| (`\[.+?) \|", texts["training.md"], flags=re.MULTILINE)
    assert set(re.findall(r"`\[(\w+)\]`", " ".join(table))) == set(extras) - {"bench", "docs", "dev"}


@pytest.mark.parametrize("name", FIRST)
def test_the_script_of_the_first_page_runs(name, capsys):
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / name).read_text(encoding="utf-8"), re.DOTALL)
    (code,) = [block for block in blocks if "model.fit(" in block]
    assert len(code.strip().splitlines()) <= 12
    code = (
        code.replace('"auto"', '"sample"')
        .replace("epochs=15", "epochs=1")
        .replace("corpus.train,", "corpus.train[:6000],")
    )
    exec(compile(code, name, "exec"), {})
    assert capsys.readouterr().out.count("Suggestion(") == 3


def test_the_loop_of_the_models_page_trains_as_the_recipe_says(monkeypatch):
    """`sample` in the place of `small`, for a batch, with what `awd-lstm` asks of its batches."""
    page = (ROOT / "docs" / "models.md").read_text(encoding="utf-8")
    (code,) = [block for block in re.findall(r"```python\n(.*?)```", page, re.DOTALL) if "model.fit(" in block]
    code = code.replace('"small", precision="bfloat16"', '"sample"').replace('"small"', '"sample"')
    code = code.replace('"ptb"', '"sample"').replace("epochs=preset.epochs", "steps_per_epoch=1, validation_steps=1")
    code = code.replace("steps_per_execution=16", "run_eagerly=True")  # to compile takes most of the time
    jittered = dataclasses.replace(sample.RECIPE, batches=kerasptb.presets.get_preset("awd-lstm").batches)
    monkeypatch.setattr(sample, "RECIPE", jittered)
    names = {}
    exec(compile(code, "docs/models.md", "exec"), names)
    assert names["model"].history.history["val_perplexity"]
    assert len({x.shape[1] for x, _ in names["batches"].take(9).as_numpy_iterator()}) > 1


class Page(HTMLParser):
    """A page of the site: its ids, where it leads, and what it loads."""

    def __init__(self, path):
        super().__init__()
        self.path, self.ids, self.links, self.loads = path, set(), set(), set()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        found = dict(attrs)
        self.ids.add(found.get("id"))
        (self.links if tag == "a" else self.loads).update({found.get("href"), found.get("src")} - {None})

    def target(self, link):
        """The file and the anchor that a link names, or None if it leads away."""
        parts = urlsplit(link)
        if parts.scheme or parts.netloc:
            return None
        return (self.path.parent / unquote(parts.path)).resolve() if parts.path else self.path, unquote(parts.fragment)


@pytest.fixture(scope="module")
def build_site():
    pytest.importorskip("zensical", reason="the extra `docs` is not installed")
    spec = importlib.util.spec_from_file_location("build_site", ROOT / "docs" / "build_site.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def site(build_site, tmp_path_factory):
    """The pages of the site, by their path in it. The build fails where Markdown or a docstring has a broken link."""
    folder = tmp_path_factory.mktemp("site").resolve()
    build_site.build(folder)
    paths = [path for path in (folder / "site").rglob("*.html") if path.name not in ("404.html", "try.html")]
    return {str(path.relative_to(folder / "site")): Page(path) for path in paths}


@pytest.mark.slow
def test_links_of_the_site_lead_somewhere_and_nothing_is_loaded_from_elsewhere(site):
    ids = {page.path: page.ids for page in site.values()}
    for page in site.values():
        assert all(page.target(link) for link in page.loads)
        for link in page.links | page.loads:
            if target := page.target(link):
                assert target[0].is_file(), f"{page.path}: {link}"
                assert not target[1] or target[1] in ids[target[0]], f"{page.path}: {link}"


@pytest.mark.slow
def test_the_first_page_has_a_keyboard_before_its_text(site):
    assert "try.html" in site["index.html"].loads
    text = site["index.html"].path.read_text(encoding="utf-8")
    assert text.index('src="try.html"') < text.rindex("Recurrent language models in Keras, from")
    keyboard = (site["index.html"].path.parent / "try.html").read_text(encoding="utf-8")
    assert "<title>english – keyboard</title>" in keyboard


@pytest.mark.slow
def test_every_page_is_in_the_menu(site):
    there = [page.relative_to(ROOT) for page in PAGES if ROOT / "tests" not in page.parents]
    there += [Path("examples/walkthrough.md")]
    names = {str(page.with_suffix(".html")).replace("README.html", "index.html") for page in there}
    assert names <= set(site)
    menu = {site["index.html"].target(link) for link in site["index.html"].links}
    assert {(page.path, "") for page in site.values()} <= menu


@pytest.mark.slow
def test_a_search_finds_every_page_but_the_changelog(site):
    index = json.loads((site["index.html"].path.parent / "search.json").read_text(encoding="utf-8"))
    assert {item["location"].partition("#")[0] for item in index["items"]} == set(site) - {"CHANGELOG.html"}


@pytest.mark.slow
def test_every_public_name_is_in_the_reference(build_site, site):
    modules = [getattr(kerasptb, name) for name in kerasptb.__all__ if inspect.ismodule(getattr(kerasptb, name))]
    for module in [kerasptb, *modules]:
        page = site[f"reference/{module.__name__}.html"]
        there = page.ids | {link.rpartition("#")[2] for link in page.links}
        for name in getattr(module, "__all__", ()):
            path = f"{module.__name__}.{name}"
            assert inspect.ismodule(getattr(module, name)) or there & {path, f"{path}.{name}", f"kerasptb.{name}"}, path
        assert not [each for each in page.ids if re.search(r"\._[a-z]", each or "")]


@pytest.mark.slow
def test_what_the_pages_import_is_in_the_reference(site):
    described = set().union(*(page.ids for page in site.values()))
    for page in PAGES:
        for module, names in re.findall(r"from (kerasptb[\w.]*) import ([\w, ]+)", page.read_text(encoding="utf-8")):
            for name in names.split(", "):
                assert described & {f"{module}.{name}", f"kerasptb.{name}"}, f"{page}: {module}.{name}"
