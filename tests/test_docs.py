"""The pages: links lead somewhere, the first page is short, and its script runs."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("examples/*.md"), *ROOT.glob("tests/*/*.md")])
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


@pytest.mark.parametrize("name", FIRST)
def test_the_first_page_is_short_and_honest(name):
    text = (ROOT / name).read_text(encoding="utf-8")
    assert len(text.split()) <= 900
    assert "GPU yet.**" in text or "GPU ainda.**" in text


def test_every_page_is_reached_from_the_first():
    reached, pages = set(), [ROOT / "README.md"]
    while pages:
        page = pages.pop()
        reached.add(page)
        links = [page.parent / target for target in re.findall(r"\]\(([^)#\s]+\.md)", page.read_text(encoding="utf-8"))]
        pages += [link.resolve() for link in links if link.resolve() not in reached]
    assert set(ROOT.glob("docs/*.md")) <= reached


@pytest.mark.parametrize("name", FIRST)
def test_the_script_of_the_first_page_runs(name, capsys):
    code = re.search(r"```python\n(.*?)```", (ROOT / name).read_text(encoding="utf-8"), re.DOTALL).group(1)
    assert len(code.strip().splitlines()) <= 12
    code = (
        code.replace('"auto"', '"sample"')
        .replace("epochs=15", "epochs=1")
        .replace("corpus.train,", "corpus.train[:6000],")
    )
    exec(compile(code, name, "exec"), {})
    assert capsys.readouterr().out.count("Suggestion(") == 3
