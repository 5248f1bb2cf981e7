from importlib.machinery import ModuleSpec
from pathlib import Path

import pytest

from kerasptb.native import compilers


@pytest.fixture(scope="session")
def emulated_amx():
    """The compiler's flag that puts functions of the tests in the place of AMX's instructions."""
    return f"-DKERASPTB_AMX_INSTRUCTIONS='\"{Path(__file__).parent / 'amx_emulated.h'}\"'"


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
