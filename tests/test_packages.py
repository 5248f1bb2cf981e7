"""Packages made of this checkout, installed where nothing else is. They need pip's network, and skip without it."""

import os
import re
import shutil
import subprocess
import tarfile
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest

import kerasptb

ROOT = Path(__file__).parents[1]
NOT_OURS = shutil.ignore_patterns(
    ".*_cache", ".git", ".hypothesis", ".venv", "__pycache__", "build", "dist", "*.egg-info"
)
# What docs/training.md names for those who only run a model.
TO_RUN = ("lazy-loader", "numpy", "tokenizers<0.24")


def run(*command, **options):
    """Runs a program that sees this checkout nowhere."""
    apart = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.run([*map(str, command)], env=apart, capture_output=True, text=True, check=False, **options)


def environment(folder, *packages):
    """Makes a virtual environment; returns its Python."""
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    result = run(python, "-m", "pip", "install", "--disable-pip-version-check", "--retries=1", *packages)
    if result.returncode:
        pytest.skip(f"pip installs nothing here: {result.stderr.strip().splitlines()[-1]}")
    return python


def test_versions_and_requirements_are_said_alike():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    recipe = (ROOT / "conda" / "meta.yaml").read_text(encoding="utf-8")
    for text in (recipe, (ROOT / "CITATION.cff").read_text(encoding="utf-8")):
        assert re.findall(r"^ *version: (\S+)$", text, re.MULTILINE) == [kerasptb.__version__]
    assert f"## [{kerasptb.__version__}]" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    run = dict(
        re.findall(r"^    - ([\w-]+) ?([<>=.,\d]*)", recipe.partition("  run:")[2].partition("test:")[0], re.MULTILINE)
    )
    for requirement in project["dependencies"]:
        name, bounds = re.match(r"([\w-]+)[^<>=]*([<>=.,\d]*)", requirement).groups()
        if name != "jax":  # only where TensorFlow has no release
            assert run[{"matplotlib": "matplotlib-base"}.get(name, name)] == bounds
    assert run["python"] == project["requires-python"]


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    """A copy of the checkout on a system without links, where git writes a file with the link's target."""
    folder = tmp_path_factory.mktemp("checkout") / "kerasptb"
    shutil.copytree(ROOT, folder, symlinks=True, ignore=NOT_OURS)
    (folder / "tuning").unlink(missing_ok=True)
    (folder / "tuning").write_text("kerasptb/tuning")
    return folder


@pytest.fixture(scope="module")
def packages(checkout, tmp_path_factory):
    """A source distribution, and a wheel that was built of it."""
    python = environment(tmp_path_factory.mktemp("builder"), "build")
    result = run(python, "-m", "build", checkout)
    assert result.returncode == 0, result.stderr
    return {path.suffix: path for path in (checkout / "dist").iterdir()}


@pytest.mark.slow
def test_they_hold_what_the_checkout_holds(checkout, packages):
    ours = {path.relative_to(checkout).as_posix() for path in (checkout / "kerasptb").rglob("*") if path.is_file()}
    ours = {path for path in ours if "__pycache__" not in path}
    with zipfile.ZipFile(packages[".whl"]) as wheel:
        assert {name for name in wheel.namelist() if ".dist-info/" not in name} == ours
    with tarfile.open(packages[".gz"]) as source:
        held = {name.partition("/")[2] for name in source.getnames()}
    assert held >= ours | {"Makefile", "constraints.txt", "tests/conftest.py", "docs/english.md", "CITATION.cff"}
    assert packages[".whl"].stat().st_size < 8e6


@pytest.mark.slow
@pytest.mark.parametrize("kind", [".whl", ".gz"], ids=["wheel", "source"])
def test_it_runs_where_nothing_else_is(packages, kind, tmp_path):
    python = environment(tmp_path / "environment", *TO_RUN)
    result = run(python, "-m", "pip", "install", "--no-deps", packages[kind])
    assert result.returncode == 0, result.stderr
    (tmp_path / "sentences.txt").write_text("She has never been there.\nShe have never been there.\n")
    result = run(python.with_name("kerasptb"), "score", "english", "sentences.txt", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    right, wrong = (float(line.split("\t")[0]) for line in result.stdout.splitlines()[:2])
    assert -15 < wrong < right < -5
