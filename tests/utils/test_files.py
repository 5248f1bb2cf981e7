import concurrent.futures
import contextlib
import errno
import os
import sys
import threading
from pathlib import Path

import pytest

from kerasptb.utils.files import atomic_write, lock_folder, make_folder, new_folder, read_json, read_small, write_json


def test_a_file_is_written_whole_or_not_at_all(tmp_path):
    path = tmp_path / "file.txt"
    path.write_text("old")

    def fail():
        with atomic_write(path) as temporary:
            temporary.write_text("half of the new")
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        fail()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_errors_of_the_file_system_name_the_file(tmp_path):
    def fail(number, name):
        with atomic_write(tmp_path / "file.txt") as temporary:
            raise OSError(number, os.strerror(number), name and (temporary if name == "temporary" else name))

    for name in (None, "temporary"):
        with pytest.raises(OSError, match="No space left on device") as raised:
            fail(errno.ENOSPC, name)
        assert raised.value.filename == str(tmp_path / "file.txt")
    with pytest.raises(FileNotFoundError) as raised:
        fail(errno.ENOENT, "another")
    assert raised.value.filename == "another"


def test_files_are_as_readable_as_any_of_the_users_even_those_of_other_threads(tmp_path):
    umask = os.umask(0o027)
    try:
        done = threading.Event()

        def write():
            while not done.is_set():
                write_json(tmp_path / "ours", 1)

        thread = threading.Thread(target=write)
        thread.start()
        try:
            for i in range(2000):
                (tmp_path / f"other{i % 10}").write_text("")
                assert (tmp_path / f"other{i % 10}").stat().st_mode & 0o777 == 0o640
                (tmp_path / f"other{i % 10}").unlink()
        finally:
            done.set()
            thread.join()
        assert (tmp_path / "ours").stat().st_mode & 0o777 == 0o640
    finally:
        os.umask(umask)


def test_json_is_whole_or_as_it_was(tmp_path):
    write_json(tmp_path / "a.json", [1, 2])
    with pytest.raises(TypeError):
        write_json(tmp_path / "a.json", [object()])
    assert read_json(tmp_path / "a.json") == [1, 2]
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]
    assert read_json(tmp_path / "b.json") is None
    (tmp_path / "c.json").write_bytes(b"\xff\xfe{}")
    assert read_json(tmp_path / "c.json") is None


def test_a_small_file_is_read_up_to_a_limit(tmp_path):
    path = tmp_path / "file"
    path.write_text("é" * 10)
    assert read_small(path, 20) == "é" * 10
    with pytest.raises(ValueError, match="more than 19 bytes"):
        read_small(path, 19)
    with pytest.raises(ValueError, match="no regular file"):
        read_small("/dev/zero")
    with pytest.raises(FileNotFoundError):
        read_small(tmp_path / "missing")


def test_a_file_is_on_the_disk_before_it_has_its_name_and_its_name_before_it_counts(tmp_path, monkeypatch):
    fsync, replace, done = os.fsync, Path.replace, []
    path = tmp_path / "new" / "folder" / "file"

    def sync(handle):
        name = {folder.stat().st_ino: folder.name for folder in (tmp_path, path.parent, path.parent.parent)}
        done.append(("sync", name.get(os.fstat(handle).st_ino, os.fstat(handle).st_size)))
        fsync(handle)

    def rename(temporary, target):
        done.append(("rename", target.name))
        return replace(temporary, target)

    monkeypatch.setattr(os, "fsync", sync)
    monkeypatch.setattr(Path, "replace", rename)
    make_folder(path.parent)
    assert done == [("sync", "new"), ("sync", tmp_path.name)]
    done.clear()
    make_folder(path.parent)
    with atomic_write(path) as temporary:
        temporary.write_bytes(b"content")
    assert done == [("sync", 7), ("rename", "file"), ("sync", "folder")]


@pytest.mark.parametrize(
    ("number", "told"), [(errno.EINVAL, False), (errno.ENOTSUP, False), (errno.EIO, True), (errno.ENOSPC, True)]
)
def test_a_disk_that_fails_is_told_and_one_that_cannot_wait_is_not(tmp_path, monkeypatch, number, told):
    def refuse(_):
        raise OSError(number, os.strerror(number))

    path = tmp_path / "file"
    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(OSError, match=f"{os.strerror(number)}: '{path}'") if told else contextlib.nullcontext():
        write_json(path, 1)
    assert list(tmp_path.iterdir()) == ([] if told else [path])


def test_a_folder_is_free_again_whatever_happened_in_it(tmp_path):
    with pytest.raises(KeyError), lock_folder(tmp_path, RuntimeError("busy")):
        raise KeyError
    with (
        lock_folder(tmp_path, RuntimeError("busy")),
        pytest.raises(RuntimeError),
        lock_folder(tmp_path, RuntimeError("busy")),
    ):
        pass


def test_a_folder_that_is_held_is_found_under_another_name(tmp_path):
    folder, link = tmp_path / "folder", tmp_path / "link"
    folder.mkdir()
    link.symlink_to(folder)
    with lock_folder(folder, RuntimeError("busy")) as held:
        assert held.place() == folder
        folder.rename(tmp_path / "moved")
        folder.mkdir()
        assert held.place() == (tmp_path / "moved" if sys.platform == "linux" else None)
        (tmp_path / "moved").rmdir()
        assert held.place() is None
    with lock_folder(link, RuntimeError("busy")) as held:
        assert held.place() == link


def test_a_file_system_without_locks_has_none(tmp_path, monkeypatch):
    fcntl = pytest.importorskip("fcntl", reason="this system has no such locks")

    def refuse(*_):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with lock_folder(tmp_path, RuntimeError("busy")), lock_folder(tmp_path, RuntimeError("busy")):
        pass


def test_a_new_folder_is_nobody_elses(tmp_path):
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: new_folder(tmp_path / "runs" / "one"), range(8)))
    assert sorted(path.name for path in made) == ["one", *(f"one-{i}" for i in range(1, 8))]
    assert all(path.is_dir() for path in made)
