"""Registering the library with Keras' backend, and what is said where that is not possible."""

import os
import subprocess
import sys

import pytest

from kerasptb.native import NativeUnavailableError, build, loader
from kerasptb.ops import hosts
from kerasptb.ops import platform as platforms


@pytest.fixture
def fresh(monkeypatch):
    """Nothing is registered yet."""
    monkeypatch.setattr(hosts, "_register", loader.Once(hosts._register.do))


def test_registered(native_library):
    hosts.register()
    assert hosts.status() == loader.status()
    assert hosts.status().available
    assert hosts.status().path == native_library


def test_a_library_that_is_not_there_is_told_as_by_the_loader(fresh, monkeypatch, tmp_path):
    for name in ("_open", "_load"):
        monkeypatch.setattr(loader, name, loader.Once(getattr(loader, name).do))
    monkeypatch.setenv("KERASPTB_CACHE", str(tmp_path))
    assert hosts.status() == (False, "The native library is not built. Run `kerasptb build`.", None)
    with pytest.raises(NativeUnavailableError, match="not built"):
        hosts.register()
    build.library_dir().mkdir(parents=True)  # the failure is not final
    build.write_json(build.library_dir() / "failed.json", {"message": "It failed."})
    assert "It failed." in hosts.status().reason == loader.status().reason


def test_moved_entry_point_is_told_apart_from_a_failed_build(fresh, native_library, monkeypatch):
    monkeypatch.setattr(hosts, "_ENTRY_POINT", "_ZN3xla3ffi9NoLongerEv")
    for state in hosts.status(), hosts.status():  # the second time without looking for it
        assert not state.available
        assert "has moved the entry point" in state.reason
        assert "The build itself is sound" in state.reason
    assert "has moved the entry point" in platforms.why_not_native()
    assert loader.status().available  # what needs no framework goes on


def test_a_failure_is_not_looked_into_again_before_another_build(fresh, native_library, monkeypatch):
    calls = []

    def refuse():
        calls.append(1)
        raise NativeUnavailableError("It does not take the library.")

    monkeypatch.setitem(hosts._REGISTER, "tensorflow", refuse)
    monkeypatch.setattr(loader, "cache_state", lambda: "before")
    for _ in range(3):
        with pytest.raises(NativeUnavailableError, match="does not take"):
            hosts.register()
    assert len(calls) == 1
    monkeypatch.setattr(loader, "cache_state", lambda: "after")
    assert hosts.status().reason == "It does not take the library."
    assert len(calls) == 2
    monkeypatch.setitem(hosts._REGISTER, "tensorflow", lambda: calls.append(1))
    monkeypatch.setattr(loader, "cache_state", lambda: "later")
    assert hosts.status().available
    assert hosts.status().available
    assert len(calls) == 3


def test_a_host_that_it_does_not_serve(fresh, monkeypatch):
    monkeypatch.setattr(hosts.keras.backend, "backend", lambda: "numpy")
    expected = "The native library is for Keras on TensorFlow, JAX or PyTorch. Received: KERAS_BACKEND=numpy"
    assert hosts.status().reason == expected


@pytest.mark.slow
def test_what_runs_a_model_is_served_with_any_host(native_library):
    """The plain call needs no backend."""
    script = (
        "from kerasptb.engine.network import why_not; from kerasptb.native import status; "
        "print(why_not('float32'), status().available)"
    )
    environment = {**os.environ, "KERAS_BACKEND": "numpy"}
    result = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
    assert result.stdout.split()[:2] == ["None", "True"]
