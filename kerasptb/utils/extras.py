"""How what is optional is installed."""

import shlex
import sys
from pathlib import Path


def install_command(extra: str) -> str:
    """Returns the command that installs an extra of this package for the Python that runs."""
    sources = Path(__file__).parents[2]
    of_checkout = (sources / "pyproject.toml").exists()
    named = ("-e", f"{sources}[{extra}]") if of_checkout else (f"kerasptb[{extra}]",)
    return shlex.join([sys.executable, "-m", "pip", "install", *named])
