import platform
import sys

import pytest

from kerasptb.native import build, compilers


def test_no_compiler(monkeypatch):
    monkeypatch.setenv("CXX", "/nonexistent/c++")
    with pytest.raises(compilers.NativeBuildError, match="Received: CXX=/nonexistent/c\\+\\+"):
        compilers.find_compiler()
    monkeypatch.delenv("CXX")
    monkeypatch.setenv("PATH", "/nonexistent")
    monkeypatch.setattr(compilers.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(compilers.NativeBuildError, match=r"No C\+\+ compiler found.*pip install ziglang"):
        compilers.find_compiler()


def test_the_compiler_of_a_package_takes_the_place_of_none(monkeypatch):
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setenv("PATH", "/nonexistent")
    monkeypatch.setattr(compilers.importlib.util, "find_spec", lambda name: name == "ziglang")
    assert compilers.find_compiler() == [sys.executable, "-m", "ziglang", "c++"]


@pytest.mark.parametrize(
    ("versions", "expected"),
    [
        ({"tensorflow": (0, 2), "jaxlib": (0, 3)}, "tensorflow"),
        ({"tensorflow": (0, 3), "jaxlib": (0, 2)}, "jaxlib"),
        ({"tensorflow": (0, 2), "jaxlib": (0, 2)}, "tensorflow"),
        ({"jaxlib": (1, 0)}, "jaxlib"),
        ({"tensorflow": None, "jaxlib": (0, 3)}, "jaxlib"),
    ],
    ids=str,
)
def test_headers_are_of_the_lower_ffi_version(headers, tmp_path, versions, expected):
    headers(**versions)
    assert compilers.ffi_include_dir() == tmp_path / expected / "include"
    assert compilers.ffi_version() == versions[expected]


def test_no_headers(headers):
    headers()
    with pytest.raises(compilers.NativeBuildError, match="Neither TensorFlow nor JAX is installed"):
        compilers.ffi_include_dir()
    headers(jaxlib=None)
    with pytest.raises(compilers.NativeBuildError, match=r"not found.*jaxlib/include"):
        compilers.ffi_include_dir()


def test_a_target_in_the_command_is_what_is_compiled_for(monkeypatch):
    monkeypatch.setenv("CXX", "python -m ziglang c++ -target aarch64-linux-gnu.2.28")
    assert compilers.target_machine() == "aarch64"
    names = [name for name, _, _ in build.translation_units()]
    assert "lstm_float32-baseline" in " ".join(names)
    assert not any("avx" in name or "amx" in name for name in names)
    monkeypatch.setenv("CXX", "g++ -O1")
    assert compilers.target_machine() == platform.machine()
