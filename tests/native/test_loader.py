"""What the loader says where the library cannot be used."""

import subprocess
import sys

import pytest

from kerasptb.native import NativeUnavailableError, build, load, loader, status


@pytest.fixture
def fresh(monkeypatch, tmp_path):
    """A loader that has loaded nothing, and an empty cache."""
    for name in ("_open", "_load"):
        monkeypatch.setattr(loader, name, loader.Once(getattr(loader, name).do))
    monkeypatch.setenv("KERASPTB_CACHE", str(tmp_path))


def test_loaded(native_library):
    load()
    state = status()
    assert state.available
    assert state.path == native_library
    assert state.reason == f"{loader.cpu_level()}, threads: {loader.thread_count()}"
    assert loader.cpu_level() in loader.CPU_LEVELS


def test_not_built(fresh):
    assert status() == (False, "The native library is not built. Run `kerasptb build`.", None)
    with pytest.raises(NativeUnavailableError, match="not built"):
        load()


def test_failed_build(fresh):
    build.library_dir().mkdir(parents=True)
    build.write_json(build.library_dir() / "failed.json", {"message": "No C++ compiler found."})
    assert status().reason == "No C++ compiler found. Run `kerasptb build`."


def test_failure_is_not_final(fresh):
    assert "not built" in status().reason
    build.library_dir().mkdir(parents=True)
    build.write_json(build.library_dir() / "failed.json", {"message": "It failed."})
    assert "It failed." in status().reason


def test_damaged_library(fresh):
    folder = build.library_dir()
    folder.mkdir(parents=True)
    (folder / "library.so").write_bytes(b"not what was built")
    build.write_json(folder / "build.json", {"file": "library.so", "sha256": "0" * 64})
    assert "damaged" in status().reason


def test_unknown_level(fresh, monkeypatch):
    monkeypatch.setenv("KERASPTB_CPU", "sse9")
    assert "Received: KERASPTB_CPU=sse9" in status().reason


@pytest.mark.parametrize("threads", ["0", "-1", "1e3", "many"])
def test_threads_that_are_no_number(fresh, monkeypatch, threads):
    monkeypatch.setenv("KERASPTB_THREADS", threads)
    assert f"Received: KERASPTB_THREADS={threads}" in status().reason


def test_user_without_a_home(fresh, monkeypatch):
    def no_home():
        raise RuntimeError("Could not determine home directory.")

    for variable in ("KERASPTB_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(build.Path, "home", no_home)
    assert "Could not determine home directory. Set KERASPTB_CACHE" in status().reason


def test_loading_starts_no_compiler(fresh, monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("a process was started")

    monkeypatch.setattr(subprocess, "run", refuse)
    monkeypatch.setattr(subprocess, "Popen", refuse)
    assert not status().available


def test_it_needs_no_framework():
    script = (
        "import sys; from kerasptb.native import build, call, core, count_calls, status; status(); "
        "print(*{'keras', 'tensorflow', 'jax', 'torch'} & set(sys.modules))"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == ""


@pytest.mark.slow
def test_import_neither_loads_nor_compiles():
    script = "import kerasptb.layers, kerasptb.native.loader as l; print(l._load.result is not None)"
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "False"
