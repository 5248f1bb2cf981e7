"""The library that a wheel brings: used where the cache has none, on machines that can load it."""

import json
import platform
import shutil
from pathlib import Path

import pytest

from kerasptb.cli import main
from kerasptb.native import build, prebuild


@pytest.fixture
def prebuilt(native_library, tmp_path, monkeypatch):
    """A folder as in a wheel, and an empty cache; returns a function that writes the record, with changes."""
    folder = tmp_path / "prebuilt"
    folder.mkdir()
    path = Path(shutil.copy(native_library, folder))
    record = json.loads((native_library.parent / "build.json").read_text())
    monkeypatch.setattr(build, "PREBUILT", folder)
    monkeypatch.setenv("KERASPTB_CACHE", str(tmp_path / "cache"))

    def write(**changes):
        own = {"machine": [platform.system(), platform.machine()], "glibc": "2.28"}
        (folder / "build.json").write_text(json.dumps({**record, **own, **changes}))
        return path

    return write


def test_it_is_used_while_the_cache_has_none(prebuilt, tmp_path, native_library):
    with pytest.raises(FileNotFoundError):
        build.find_library()
    path = prebuilt()
    assert build.find_library() == path
    # A failed build does not take it away; one that succeeded is used instead.
    folder = build.library_dir()
    folder.mkdir(parents=True)
    (folder / "failed.json").write_text('{"message": "no compiler"}')
    assert build.find_library() == path
    shutil.copy(native_library, folder)
    shutil.copy(native_library.parent / "build.json", folder)
    assert build.find_library() == folder / native_library.name


@pytest.mark.parametrize("force", [False, True])
def test_one_without_kernels_does_not_hide_it(prebuilt, monkeypatch, force, capsys):
    path = prebuilt()
    monkeypatch.setattr(build, "why_no_kernels", lambda: "Neither TensorFlow nor JAX is installed.")
    assert build.build(force=force) == path
    assert main(["build"]) == 0
    assert "to find words alone" not in capsys.readouterr().err
    prebuilt(ffi_version=[])
    assert main(["build"]) == 0
    assert "Without kernels, to find words alone. Neither" in capsys.readouterr().err


@pytest.mark.parametrize(
    "changes",
    [{"machine": ["Linux", "riscv64"]}, {"machine": ["Darwin", "arm64"]}, {"glibc": "99.1"}, {"sha256": "0"}],
    ids=["another processor", "another system", "a newer C library", "damaged"],
)
def test_it_is_left_alone_where_it_cannot_be_loaded(prebuilt, changes):
    prebuilt(**changes)
    with pytest.raises(FileNotFoundError):
        build.find_library()


def test_versions_of_the_c_library_are_numbers(prebuilt, monkeypatch):
    prebuilt(glibc="2.9")
    monkeypatch.setattr(platform, "libc_ver", lambda: ("glibc", "2.28"))
    assert build.find_library().name.startswith("libkerasptb")
    monkeypatch.setattr(platform, "libc_ver", lambda: ("musl", "1.2"))
    with pytest.raises(FileNotFoundError):
        build.find_library()


def test_one_that_is_there_is_not_taken_for_another_processors(prebuilt, monkeypatch, native_library):
    prebuilt()

    def compile(report):
        with pytest.raises(FileNotFoundError):
            build.find_library()
        return native_library

    monkeypatch.setattr(build, "build", compile)
    monkeypatch.setattr(prebuild, "find_spec", lambda name: name)
    for name in ("CXX", "KERASPTB_NVCC"):
        monkeypatch.setenv(name, "")  # restored at the end
    path = prebuild.prebuild("aarch64")
    record = json.loads((path.parent / "build.json").read_text())
    assert (record["file"], record["machine"]) == (path.name, ["Linux", "aarch64"])
