import re
import tomllib
from pathlib import Path

import pytest

from kerasptb.utils import extras

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("in_checkout", [True, False])
def test_an_extra_is_installed_for_the_python_that_runs(tmp_path, monkeypatch, in_checkout):
    place = tmp_path / "with spaces" / "kerasptb" / "utils" / "extras.py"
    place.parent.mkdir(parents=True)
    if in_checkout:
        (tmp_path / "with spaces" / "pyproject.toml").touch()
    monkeypatch.setattr(extras, "__file__", str(place))
    monkeypatch.setattr(extras.sys, "executable", ".venv/bin/python")
    named = f"-e '{tmp_path}/with spaces[serve]'" if in_checkout else "'kerasptb[serve]'"
    assert extras.install_command("serve") == f".venv/bin/python -m pip install {named}"


def test_the_extras_that_are_named_are_there():
    there = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    code = "".join(path.read_text() for path in (ROOT / "kerasptb").rglob("*.py"))
    named = set(re.findall(r"install_command\(.(\w+).\)", code))
    assert {"jax", "onnx", "serve", "texts"} <= named <= set(there)
