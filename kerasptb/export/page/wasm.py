"""Compiles the runtime of exported pages: `make wasm` writes `runtime.wasm`, which is in the repository."""

import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).parent
# Its library for WASI has exp and log, and calls nothing of the system for them. The release decides the bytes. With
# functions where they are called, as -O3 has them, the runtime is a third larger and no faster.
_COMMAND = (
    "-m ziglang cc -target wasm32-wasi -mexec-model=reactor -std=c99 -O3 -mllvm -inline-threshold=40 -msimd128 -s "
    "-Wall -Werror"
)


def build(path: Path) -> None:
    """Writes the runtime, the same bytes anywhere."""
    subprocess.run([sys.executable, *_COMMAND.split(), "-o", path.absolute(), "wasm.c"], cwd=FOLDER, check=True)


if __name__ == "__main__":
    build(FOLDER / "runtime.wasm")
