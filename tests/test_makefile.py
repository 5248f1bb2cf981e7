import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
def test_building_shows_progress_and_faults_but_no_path(tmp_path):
    programs = tmp_path / ".venv" / "bin"
    programs.mkdir(parents=True)
    (programs / "python").symlink_to(sys.executable)
    program = programs / "kerasptb"
    program.write_text("#!/bin/sh\necho /a/library.so; echo progress >&2; exit $STATUS\n")
    program.chmod(0o755)
    for name in ("pyproject.toml", "constraints.txt", "Makefile"):
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / ".venv" / ".installed").write_text(f"{tmp_path.resolve()}\n")  # nothing to install
    ready = "Ready: .venv/bin/kerasptb --help. Commands and options at the tab key: docs/training.md#at-the-tab-key\n"
    without = "Going on without the native library: training is slower, and no words are found.\n"
    for status, said in ((0, ready), (1, f"{without}{ready}")):
        command = ["make", "--no-print-directory", "-C", tmp_path, "setup", f"STATUS={status}"]
        result = subprocess.run(command, capture_output=True, text=True, check=True)
        assert (result.stdout, result.stderr) == (said, "progress\n")
