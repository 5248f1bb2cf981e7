"""The CUDA code in the library, with a program in nvcc's place that writes what it is told to."""

import ctypes
import json
import shutil

import pytest

from kerasptb.native import build, nvcc

try:
    build.find_compiler()
except build.NativeBuildError as error:
    pytest.skip(str(error), allow_module_level=True)

PROBE = """
extern "C" const int kerasptb_fatbin_nvcc;
extern "C" const unsigned char kerasptb_fatbin[];
extern "C" const unsigned long long kerasptb_fatbin_size;
#define EXPORT extern "C" __attribute__((visibility("default")))
EXPORT unsigned long long size() { return kerasptb_fatbin_size; }
EXPORT int made_by() { return kerasptb_fatbin_nvcc; }
EXPORT const void* content() { return kerasptb_fatbin; }
"""


@pytest.fixture(autouse=True)
def sources(tmp_path, monkeypatch):
    folder = tmp_path / "src"
    (folder / "cuda").mkdir(parents=True)
    (folder / "cuda" / "kernels.cu").write_text("__global__ void nothing() {}\n")
    (folder / "probe.cc").write_text(PROBE)
    shutil.copy(build.SOURCES / build.FATBIN_SOURCE, folder / "cuda")
    monkeypatch.setattr(build, "SOURCES", folder)
    monkeypatch.setenv("KERASPTB_CACHE", str(tmp_path / "cache"))
    # Nowhere is an nvcc but where `install` puts it.
    monkeypatch.setenv("CXX", shutil.which(build.find_compiler()[0]))
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    monkeypatch.delenv("CUDA_HOME", raising=False)
    monkeypatch.delenv("KERASPTB_NVCC", raising=False)
    monkeypatch.setattr(nvcc, "TOOLKIT", tmp_path / "toolkit")
    monkeypatch.setattr(nvcc, "_folders_of_packages", list)
    if nvcc.find() is not None:
        pytest.skip("nvcc is in /usr/bin")
    return folder


@pytest.fixture
def install(tmp_path):
    """Puts an nvcc in place that calls itself by a version, and writes a content or fails with a message."""

    def put(version="13.0", content="device code", error=None, architectures=()):
        script = tmp_path / "toolkit" / "bin" / "nvcc"
        script.parent.mkdir(parents=True, exist_ok=True)
        work = f'echo "kernels.cu(1): error: {error}" >&2; exit 2' if error else f'printf "%s" "{content}" > "$out"'
        script.write_text(
            f'#!/bin/sh\n[ "$1" = --version ] && echo "release {version}, V1\nBuild {version}" && exit\n'
            f'[ "$1" = --list-gpu-arch ] && echo "{" ".join(architectures)}" && exit\n'
            f'while [ $# -gt 0 ]; do [ "$1" = -o ] && out=$2; shift; done\n{work}\n'
        )
        script.chmod(0o755)
        return script

    return put


def code_in(path):
    library = ctypes.CDLL(str(path))
    library.size.restype, library.content.restype = ctypes.c_ulonglong, ctypes.c_void_p
    return ctypes.string_at(library.content(), library.size())


def test_library_carries_the_code(install):
    install(content="device code of seventeen")
    path = build.build()
    assert code_in(path) == b"device code of seventeen"
    assert build.cuda_problem(path) is None
    assert json.loads((path.parent / "build.json").read_text())["cuda"] == {"nvcc": "Build 13.0", "problem": None}


@pytest.mark.parametrize(("version", "major"), [("13.0", 13), ("12.4", 12)])
def test_library_knows_which_cuda_made_its_code(install, version, major):
    install(version)
    assert ctypes.CDLL(str(build.build())).made_by() == major


def test_nvcc_that_does_not_tell_its_version(install):
    script = install()
    script.write_text(script.read_text().replace("release", "edition"))
    assert ctypes.CDLL(str(build.build())).made_by() == 0


@pytest.mark.parametrize(
    ("known", "expected"),
    [
        (("compute_80", "compute_90"), ["sm_90", "compute_90"]),
        (("compute_90", "compute_100", "compute_120"), ["sm_90", "sm_100", "sm_120", "compute_90", "compute_120"]),
        ((), ["sm_90", "sm_100", "sm_120", "compute_90", "compute_120"]),
    ],
)
def test_nvcc_is_asked_for_no_architecture_that_it_does_not_know(install, sources, known, expected):
    command = nvcc.command(str(install(architectures=known)), sources, "code.fatbin", ["g++"])
    codes = [word.partition("code=")[2] for word in command if "code=" in word]
    assert codes == expected


def test_library_without_nvcc_says_so_and_is_built_again_once_there_is_one(install):
    first = build.build()
    assert code_in(first) == b""
    assert "No nvcc was found" in build.cuda_problem(first)
    script = install()
    assert build.find_library() == first  # loading the library does not build it again
    second = build.build()
    assert code_in(second) == b"device code"
    script.unlink()
    assert build.build() == second  # a library with CUDA code is kept when nvcc is gone
    install(version="13.1", content="newer code")
    assert code_in(build.build()) == b"newer code"


def test_library_without_cuda_code_by_wish(install, monkeypatch):
    install()
    monkeypatch.setenv("KERASPTB_NVCC", "")
    assert build.cuda_problem(build.build()) == "KERASPTB_NVCC was empty when it was built, which asks for none."


def test_failing_nvcc_leaves_the_library_without_code(install):
    install(error="no such thing")
    path = build.build()
    assert code_in(path) == b""
    assert "nvcc could not compile" in build.cuda_problem(path)
    assert "error: no such thing" in build.cuda_problem(path)
    assert build.build() == path  # it would fail again
    install(version="13.1")
    assert code_in(build.build()) == b"device code"


def test_nvcc_that_does_not_run(install):
    install().write_text("not a program")
    path = build.build()
    assert code_in(path) == b""
    assert build.build() == path


@pytest.mark.parametrize("name", ["kernels.cu", "part.cuh"])
def test_changed_kernels_are_another_library(sources, install, name):
    install()
    first = build.build()
    (sources / "cuda" / name).write_text("// other\n")
    with pytest.raises(FileNotFoundError):
        build.find_library()
    assert build.build().parent != first.parent


def test_nvcc_is_looked_for_in_order(tmp_path, install, monkeypatch):
    monkeypatch.undo()

    def put(folder):
        folder.mkdir(parents=True)
        shutil.copy(install(), folder / "nvcc")
        return str(folder / "nvcc")

    of_packages = put(tmp_path / "site" / "nvidia" / "cu13" / "bin")
    monkeypatch.setattr(nvcc, "TOOLKIT", tmp_path / "nowhere")
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CUDA_HOME", raising=False)
    monkeypatch.delenv("KERASPTB_NVCC", raising=False)
    monkeypatch.setattr(nvcc, "_folders_of_packages", lambda: [tmp_path / "site" / "nvidia" / "cu13" / "bin"])
    assert nvcc.find() == of_packages
    monkeypatch.setattr(nvcc, "TOOLKIT", tmp_path / "toolkit")
    assert nvcc.find() == str(tmp_path / "toolkit" / "bin" / "nvcc")
    on_path = put(tmp_path / "path")
    monkeypatch.setenv("PATH", str(tmp_path / "path"))
    assert nvcc.find() == on_path
    at_home = put(tmp_path / "home" / "bin")
    monkeypatch.setenv("CUDA_HOME", str(tmp_path / "home"))
    assert nvcc.find() == at_home
    monkeypatch.setenv("KERASPTB_NVCC", on_path)
    assert nvcc.find() == on_path
    monkeypatch.setenv("KERASPTB_NVCC", "")
    assert nvcc.find() is None


def test_packages_of_cuda_are_found_beside_each_other(tmp_path, monkeypatch):
    monkeypatch.undo()
    (tmp_path / "nvidia" / "cu13").mkdir(parents=True)
    monkeypatch.syspath_prepend(str(tmp_path))
    assert tmp_path / "nvidia" / "cu13" / "bin" in nvcc._folders_of_packages()
