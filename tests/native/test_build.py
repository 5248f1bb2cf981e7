"""The build, on a library of one small source: what it keeps, what it notices, what it says."""

import ctypes
import json
import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from kerasptb.native import build

try:
    build.find_compiler()
except build.NativeBuildError as error:
    pytest.skip(str(error), allow_module_level=True)

# As `build.build()` in a process of its own, of the sources in the first argument.
BUILD_IN_A_PROCESS = """
import sys
from pathlib import Path
from kerasptb.native import build
build.SOURCES = Path(sys.argv[1])
print(build.build())
"""


@pytest.fixture(autouse=True)
def sources(tmp_path, monkeypatch):
    folder = tmp_path / "src"
    folder.mkdir()
    (folder / "answer.cc").write_text('extern "C" __attribute__((visibility("default"))) int answer() { return 42; }\n')
    monkeypatch.setattr(build, "SOURCES", folder)
    monkeypatch.setenv("KERASPTB_CACHE", str(tmp_path / "cache"))
    return folder


@pytest.fixture
def before_compiling(tmp_path, monkeypatch):
    """Has the build's compiler run a line of shell first, which may end it."""

    def run(line):
        script = tmp_path / "compiler"
        script.write_text(f'#!/bin/sh\n{line}\nexec {build.find_compiler()[0]} "$@"\n')
        script.chmod(0o755)
        monkeypatch.setenv("CXX", str(script))

    return run


@pytest.fixture
def compilations(tmp_path, before_compiling):
    """The number of compiler runs so far, without those that ask for its version."""
    log = tmp_path / "compilations"
    log.write_text("")
    before_compiling(f'[ "$1" = --version ] || echo run >> {log}')
    return lambda: len(log.read_text().splitlines())


def test_builds_once(compilations):
    path = build.build()
    assert ctypes.CDLL(str(path)).answer() == 42
    assert compilations() == 2  # one object, one link
    assert build.build() == path == build.find_library()
    assert compilations() == 2
    assert build.build(force=True) == path
    assert compilations() == 4


def test_tells_how_far_it_is(sources):
    (sources / "question.cc").write_text("int question() { return 6 * 9; }\n")
    reports = []
    build.build(report=lambda *report: reports.append(report))
    assert reports == [(0, 2), (1, 2), (2, 2)]


def test_working_directory_with_a_module_of_pythons_own_names(tmp_path, monkeypatch):
    (tmp_path / "struct.py").write_text("raise RuntimeError('not for you')\n")
    monkeypatch.chdir(tmp_path)
    assert ctypes.CDLL(str(build.build())).answer() == 42


def test_full_disk_is_told_with_the_folder_to_set(monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(build.tempfile, "TemporaryDirectory", full)
    monkeypatch.setattr(build, "write_json", full)
    with pytest.raises(build.NativeBuildError, match=r"cannot be written: .*No space left.* Set KERASPTB_CACHE"):
        build.build()


def test_changed_source_is_another_library(sources):
    first = build.build()
    (sources / "answer.cc").write_text('extern "C" __attribute__((visibility("default"))) int answer() { return 7; }\n')
    with pytest.raises(FileNotFoundError):
        build.find_library()
    second = build.build()
    assert ctypes.CDLL(str(second)).answer() == 7
    assert first.parent != second.parent


def test_two_processes_at_once_compile_once(sources, compilations):
    command = [sys.executable, "-c", BUILD_IN_A_PROCESS, str(sources)]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    paths = {process.communicate(timeout=100)[0].strip() for process in processes}
    assert [process.returncode for process in processes] == [0, 0]
    assert paths == {str(build.find_library())}
    assert compilations() == 2


@pytest.mark.parametrize("damage", ["truncated", "missing", "other bytes"])
def test_damaged_library_is_noticed_and_built_again(compilations, damage):
    path = build.build()
    content = path.read_bytes()
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes(content[:100] if damage == "truncated" else content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(build.NativeBuildError, match="damaged"):
        build.find_library()
    assert ctypes.CDLL(str(build.build())).answer() == 42
    assert compilations() == 4


def test_damaged_record_is_built_again(compilations):
    path = build.build()
    (path.parent / "build.json").write_text("{")
    with pytest.raises(FileNotFoundError):
        build.find_library()
    assert build.build() == path


def test_another_compiler_builds_again_but_its_absence_does_not(compilations, monkeypatch):
    path = build.build()
    record = path.parent / "build.json"
    record.write_text(json.dumps({**json.loads(record.read_text()), "compiler": "another 1.0"}))
    with monkeypatch.context() as without_compiler:
        without_compiler.setenv("CXX", "/nonexistent")
        assert build.build() == path
    assert compilations() == 2
    build.build()
    assert compilations() == 4
    assert json.loads(record.read_text())["compiler"] != "another 1.0"


BFLOAT16 = "AVX512-BF16: g++ from version 10 on with an assembler of its time, or clang"
AMX = "AMX: g++ from version 11 on with an assembler of its time, or clang"


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the levels are those of x86-64")
@pytest.mark.parametrize(
    ("unknown", "left_out", "macros"),
    [
        ("-mamx*", [AMX], "-DKERASPTB_WITHOUT_AMX"),
        (
            "-mamx*|-mavx512bf16",
            [BFLOAT16, AMX],
            "-DKERASPTB_WITHOUT_BFLOAT16 -DKERASPTB_WITHOUT_AMX",
        ),
        ("-nothing", [], ""),
    ],
    ids=["amx", "both", "none"],
)
def test_levels_that_the_compiler_does_not_know_are_left_out(
    tmp_path, sources, before_compiling, unknown, left_out, macros
):
    (sources / "more_bfloat16.cc").write_text("")
    log = tmp_path / "log"
    refusal = f'case $word in {unknown}) echo "error: unrecognized $word" >&2; exit 1;; esac'
    before_compiling(f'for word; do {refusal}; done; echo "$@" >> {log}')
    path = build.build()
    assert ctypes.CDLL(str(path)).answer() == 42
    assert build.levels_left_out(path) == left_out
    commands = log.read_text().splitlines()
    assert sum("more_bfloat16.cc" in command for command in commands) == 2 - len(left_out)
    assert all(macros in command for command in commands if f"-c {sources}" in command)


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the levels are those of x86-64")
def test_levels_that_the_assembler_does_not_know_are_left_out(sources, before_compiling):
    (sources / "more_bfloat16.cc").write_text("")
    before_compiling('grep -q -e tdpbf16ps -- "$@" 2>/dev/null && echo "Error: no such instruction" >&2 && exit 1')
    path = build.build()
    assert ctypes.CDLL(str(path)).answer() == 42
    assert build.levels_left_out(path) == [AMX]


def test_flags_of_the_compilers_variable_are_part_of_it(compilations, monkeypatch):
    build.build()
    monkeypatch.setenv("CXX", os.environ["CXX"] + " -DANSWER=42")
    build.build()
    again = compilations()
    assert again >= 4
    build.build()
    assert compilations() == again


def test_a_library_replaced_while_it_is_looked_for_is_found(monkeypatch):
    path = build.build()
    record = json.loads((path.parent / "build.json").read_text())
    read_json, reads = build._read_json, []

    def read(place):
        reads.append(place)
        # The record of the previous library, whose file is gone.
        return {**record, "file": "libkerasptb-old.so"} if len(reads) == 1 else read_json(place)

    monkeypatch.setattr(build, "_read_json", read)
    assert build.find_library() == path
    assert len(reads) == 2


def test_what_a_killed_build_left_is_removed():
    (build.library_dir() / "build-killed").mkdir(parents=True)
    path = build.build()
    assert [entry.name for entry in path.parent.glob("build-*")] == []


def test_failed_build_is_remembered_until_one_succeeds(sources):
    good = (sources / "answer.cc").read_text()
    (sources / "answer.cc").write_text("int answer() { return 42 }\n")
    with pytest.raises(build.NativeBuildError, match="error: expected") as raised:
        build.build()
    assert "\n" not in str(raised.value)  # the compiler's command and all its words are for the traceback
    assert "answer.cc" in raised.value.__notes__[0]
    with pytest.raises(build.NativeBuildError, match=r"The compiler failed: .*error: expected"):
        build.find_library()
    (sources / "answer.cc").write_text(good)
    assert build.build() == build.find_library()


def test_cache_that_cannot_be_written(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("KERASPTB_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(build.NativeBuildError, match=r"cannot be written.*Set KERASPTB_CACHE"):
        build.build()


@pytest.mark.skipif(os.geteuid() == 0, reason="permissions do not bind the superuser")
def test_library_in_a_read_only_cache_is_used(tmp_path):
    path = build.build()
    folders = [path.parent, tmp_path / "cache"]
    for folder in folders:
        folder.chmod(0o555)
    try:
        assert build.build() == path
        with pytest.raises(build.NativeBuildError, match="cannot be written"):
            build.build(force=True)
    finally:
        for folder in folders:
            folder.chmod(0o755)


def test_cache_folder_follows_the_environment(monkeypatch):
    monkeypatch.delenv("KERASPTB_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert build.cache_dir() == Path("/somewhere/kerasptb/native")
    for nothing in ("relative", ""):  # invalid by the XDG specification
        monkeypatch.setenv("XDG_CACHE_HOME", nothing)
        assert build.cache_dir() == Path.home() / ".cache/kerasptb/native"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert build.cache_dir() == Path.home() / ".cache/kerasptb/native"


def test_library_of_a_newer_ffi_than_a_host_has_is_built_again(headers, compilations):
    headers(jaxlib=(0, 3))
    build.build()
    headers(jaxlib=(0, 4))
    build.build()
    assert compilations() == 2
    headers(jaxlib=(0, 4), tensorflow=(0, 2))
    build.build()
    assert compilations() == 4
    headers()
    assert build.build() == build.find_library()  # nothing to build with


def test_library_of_other_flags_is_kept_apart(sources, monkeypatch):
    (sources / "answer.cc").write_text(
        'extern "C" __attribute__((visibility("default"))) int answer() { return ANSWER; }\n'
    )
    paths = {}
    for answer in (6, 7):
        monkeypatch.setenv("KERASPTB_CXXFLAGS", f"-DANSWER={answer} -O1")
        paths[answer] = build.build()
        assert ctypes.CDLL(str(paths[answer])).answer() == answer
    monkeypatch.setenv("KERASPTB_CXXFLAGS", "-DANSWER=6 -O1")
    assert build.find_library() == paths[6]
    monkeypatch.delenv("KERASPTB_CXXFLAGS")
    with pytest.raises(FileNotFoundError):
        build.find_library()


def test_flags_of_unmatched_quotes(monkeypatch):
    monkeypatch.setenv("KERASPTB_CXXFLAGS", "-O1 '-g")
    with pytest.raises(build.NativeBuildError, match="Received: KERASPTB_CXXFLAGS=-O1 '-g"):
        build.build()


def test_without_headers_the_library_is_the_core_alone(monkeypatch):
    monkeypatch.setattr(build, "why_no_kernels", lambda: "Neither TensorFlow nor JAX is installed.")
    assert [name for name, _, _ in build.translation_units()] == ["core"]
    assert build._compile_cuda(build.SOURCES, verbose=False) is None
