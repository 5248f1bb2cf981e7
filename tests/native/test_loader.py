"""What the loader says where the library cannot be used."""

import subprocess
import sys

import pytest

from kerasptb.native import NativeUnavailableError, build, load, loader, status
from kerasptb.ops import calls


@pytest.fixture
def fresh(monkeypatch, tmp_path):
    """A loader that has loaded nothing, and an empty cache."""
    monkeypatch.setattr(loader, "_library", None)
    monkeypatch.setattr(loader, "_failure", None)
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


def test_moved_entry_point_is_told_apart_from_a_failed_build(native_library, monkeypatch):
    monkeypatch.setattr(loader, "_library", None)
    monkeypatch.setattr(loader, "_failure", None)
    monkeypatch.setattr(build, "find_library", lambda: native_library)
    monkeypatch.setattr(loader, "_ENTRY_POINT", "_ZN3xla3ffi9NoLongerEv")
    reason = status().reason
    assert "has moved the entry point" in reason
    assert "The build itself is sound" in reason


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


def test_a_host_that_it_does_not_serve(fresh, monkeypatch):
    monkeypatch.setattr(loader.keras.backend, "backend", lambda: "numpy")
    expected = "The native library is for Keras on TensorFlow, JAX or PyTorch. Received: KERAS_BACKEND=numpy"
    assert status().reason == expected


def test_build_imports_no_framework():
    script = "import sys; from kerasptb.native import build; print(*{'keras', 'tensorflow', 'jax'} & set(sys.modules))"
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == ""


@pytest.mark.slow
def test_import_neither_loads_nor_compiles():
    script = "import kerasptb.layers, kerasptb.native.loader as l; print(l._library is not None)"
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "False"


def test_call_needs_static_shapes(native_library):
    import tensorflow as tf

    @tf.function(input_signature=[tf.TensorSpec((3, None))])
    def function(x):
        return calls.call("kerasptb_softmax_cross_entropy_loss_float32", [x, x[0], x], [(3,)])

    with pytest.raises(ValueError, match=r"needs static shapes. Received: shape=\(3, None\)"):
        function.get_concrete_function()
