import fcntl
import functools
import hashlib
import shutil
from importlib.machinery import ModuleSpec
from pathlib import Path

import pytest

from kerasptb.ops.native import build, compilers


@pytest.fixture(scope="session")
def emulated_amx():
    """The compiler's flag that puts functions of the tests in the place of AMX's instructions."""
    return f"-DKERASPTB_AMX_INSTRUCTIONS='\"{Path(__file__).parent / 'amx_emulated.h'}\"'"


@pytest.fixture
def compile_once(tmp_path_factory, monkeypatch):
    """A function after which the build takes an object file from whichever test has compiled the same before."""
    shared = tmp_path_factory.getbasetemp()
    shared = (shared.parent if shared.name.startswith("popen-") else shared) / "objects"
    shared.mkdir(exist_ok=True)

    def take(compile_it, sources, command, **options):
        if command[-2] != "-o" or "-c" not in command:
            return compile_it(command, **options)
        *words, output = command
        kept = shared / f"{hashlib.sha256(repr((sources, words)).encode()).hexdigest()}.o"
        with kept.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not kept.exists():
                compile_it([*words, str(kept)], **options)
        shutil.copy(kept, output)
        return ""

    def start():
        sources = [(str(path), path.read_bytes()) for path in sorted(build.SOURCES.rglob("*")) if path.is_file()]
        monkeypatch.setattr(
            build, "run", functools.partial(take, build.run, hashlib.sha256(repr(sources).encode()).digest())
        )

    return start


@pytest.fixture
def headers(tmp_path, monkeypatch):
    """Gives packages FFI headers of a version, or None for none, in place of those installed."""

    def install(**versions):
        specs = {}
        for package, version in versions.items():
            api = tmp_path / package / "include" / "xla" / "ffi" / "api"
            api.mkdir(parents=True, exist_ok=True)
            specs[package] = ModuleSpec(package, None, origin=str(tmp_path / package / "__init__.py"))
            if version is not None:
                (api / "ffi.h").write_text("")
                lines = [f"#define XLA_FFI_API_{part} {n}" for part, n in zip(("MAJOR", "MINOR"), version, strict=True)]
                (api / "c_api.h").write_text("\n".join(lines))
        monkeypatch.setattr(compilers.importlib.util, "find_spec", specs.get)
        compilers._ffi_headers.cache_clear()

    yield install
    monkeypatch.undo()
    compilers._ffi_headers.cache_clear()
