import bz2
import gzip
import io
import lzma
import random
import re
import tarfile
import zipfile

import pytest

from kerasptb.data import DataError
from kerasptb.data.corpus import open_text
from kerasptb.data.sources import room, text_file

CONTENTS = {"train": b"train text\n", "valid": b"valid text\n", "test": b"test text\n"}


def published(prefix="", pattern="ptb.{}.txt"):
    return {prefix + pattern.format(split): data for split, data in CONTENTS.items()}


def write_tar(path, members, mode="w:gz"):
    with tarfile.open(path, mode) as archive:
        for member, data in members:
            info = member if isinstance(member, tarfile.TarInfo) else tarfile.TarInfo(member)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))


def write_zip(path, members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members:
            archive.writestr(name, data)


def write_folder(path, members):
    for name, data in members:
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(data)


def link(name, target, kind):
    info = tarfile.TarInfo(name)
    info.type = kind
    info.linkname = target
    return info


def contents(path):
    return {split: b"".join(file.chunks()) for split, file in open_text(path).files.items()}


@pytest.mark.parametrize("pattern", ["ptb.{}.txt", "{}.txt"])
@pytest.mark.parametrize("prefix", ["", "data/", "simple-examples/data/"])
def test_folder(prefix, pattern, tmp_path):
    write_folder(tmp_path, published(prefix, pattern).items())
    assert contents(tmp_path) == CONTENTS
    assert open_text(tmp_path).files["valid"].path == str(tmp_path / prefix / pattern.format("valid"))


@pytest.mark.parametrize("vocabulary", ["vocabulary.txt", "tokenizer.json"])
def test_a_run_among_texts_is_no_text(vocabulary, tmp_path):
    files = [("a.txt", b"one two\n" * 50), ("more/config.json", b'{"text": "three"}\n'), ("more/b.txt", b"four\n")]
    write_folder(tmp_path, files)
    before = contents(tmp_path)
    run = [(f"runs/a/{name}", b"five\n") for name in ("config.json", vocabulary, "words.txt", "logs/c.txt")]
    write_folder(tmp_path, run)
    assert contents(tmp_path) == before
    assert b"four" in b"".join(before.values())


@pytest.mark.parametrize("pattern", ["ptb.{}.txt", "{}.txt"])
@pytest.mark.parametrize("prefix", ["", "./data/", "./simple-examples/data/", "a/b/c/"])
@pytest.mark.parametrize("write", [write_tar, write_zip])
def test_archive(write, prefix, pattern, tmp_path):
    path = tmp_path / "archive"
    write(path, published(prefix, pattern).items())
    assert contents(path) == CONTENTS
    assert open_text(path).files["test"].path == f"{path}/{prefix}{pattern.format('test')}"


@pytest.mark.parametrize("write", [write_tar, write_zip])
def test_compressed_texts_in_an_archive_are_unpacked(write, tmp_path):
    write(tmp_path / "archive", [(f"{name}.gz", gzip.compress(data)) for name, data in published().items()])
    assert contents(tmp_path / "archive") == CONTENTS


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
def test_tar_of_any_compression(mode, tmp_path):
    write_tar(tmp_path / "archive", published().items(), mode)
    assert contents(tmp_path / "archive") == CONTENTS


@pytest.mark.parametrize("write", [write_tar, write_zip, write_folder])
def test_published_names_in_a_data_folder_come_first(write, tmp_path):
    other = dict.fromkeys(("simple-examples/train.txt", "simple-examples/ptb.char.train.txt"), b"other")
    plain = dict.fromkeys(published("simple-examples/data/", "{}.txt"), b"other")
    path = tmp_path / "x"
    if write is write_folder:
        path.mkdir()
    write(path, [*other.items(), *plain.items(), *published("simple-examples/data/").items()])
    assert contents(path) == CONTENTS


@pytest.mark.parametrize(
    "evil", ["../ptb.train.txt", "/tmp/ptb.train.txt", "a/../../ptb.train.txt", "../../etc/cron.d/x"]
)
@pytest.mark.parametrize("write", [write_tar, write_zip])
def test_names_that_leave_the_archive_are_passed_over(write, evil, tmp_path):
    folder = tmp_path / "inner"
    folder.mkdir()
    path = folder / "archive"
    write(path, [(evil, b"evil\n"), *published("data/").items()])
    assert contents(path) == CONTENTS
    # Nor can they stand in for a missing file.
    write(path, [(evil, b"evil\n"), *list(published().items())[1:]])
    with pytest.raises(FileNotFoundError, match=r"ptb\.train\.txt missing in"):
        open_text(path)
    # Nor be a corpus of their own.
    write(
        path,
        [(name.replace("data/", f"{evil.rpartition('/')[0]}/"), data) for name, data in published("data/").items()],
    )
    with pytest.raises(FileNotFoundError, match="which holds none"):
        open_text(path)
    assert [entry.name for entry in tmp_path.rglob("*")] == ["inner", "archive"]


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.DIRTYPE])
def test_links_and_devices_are_no_files(kind, tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("secret\n")
    path = tmp_path / "archive.tgz"
    rest = list(published().items())[1:]
    write_tar(path, [(link("ptb.train.txt", str(secret), kind), b""), *rest])
    with pytest.raises(FileNotFoundError, match=r"ptb\.train\.txt missing"):
        open_text(path)


@pytest.mark.parametrize("write", [write_tar, write_zip])
def test_huge_archives_are_refused(write, tmp_path, monkeypatch):
    path = tmp_path / "archive"
    write(path, published().items())
    monkeypatch.setattr(room, "MAX_UNPACKED_BYTES", 30)
    with pytest.raises(DataError, match=r"to 30 bytes at most, all together\. With .*/archive/.* to 32 bytes or more"):
        open_text(path)
    monkeypatch.setattr(room, "MAX_UNPACKED_BYTES", 32)
    assert contents(path) == CONTENTS


@pytest.mark.parametrize("write", [write_tar, write_zip, write_folder])
def test_what_is_compressed_in_an_archive_or_a_folder_counts_together(write, tmp_path, monkeypatch):
    text = b"one line, and no more\n\n" * 100
    packed = bz2.compress(text)
    path = tmp_path / "x"
    if write is write_folder:
        path.mkdir()
    write(path, [(f"{name}.txt.bz2", packed) for name in "abc"])
    in_archive = 0 if write is write_folder else 3 * len(packed)
    unpacked = 3 * len(text) + in_archive
    monkeypatch.setattr(room, "MAX_UNPACKED_BYTES", unpacked)
    assert sum(map(len, contents(path).values())) > 3 * len(text)
    monkeypatch.setattr(room, "MAX_UNPACKED_BYTES", unpacked - 1)
    with pytest.raises(DataError, match=rf"With .*c\.txt\.bz2 they unpack to {unpacked:,} bytes or more"):
        open_text(path)


def test_several_sources_count_together(tmp_path, monkeypatch):
    for name in ("a.zip", "b.zip"):
        write_zip(tmp_path / name, [("a.txt", b"one line\n\n" * 100)])
    monkeypatch.setattr(room, "MAX_UNPACKED_BYTES", 1_999)
    with pytest.raises(DataError, match=r"With .*b\.zip/a\.txt they unpack to 2,000 bytes"):
        open_text([tmp_path / "a.zip", tmp_path / "b.zip"])


def test_a_compressed_text_of_a_corpus_is_unpacked_within_the_limit(tmp_path, monkeypatch):
    write_folder(tmp_path, [(f"{name}.gz", gzip.compress(data * 100)) for name, data in published().items()])
    monkeypatch.setattr(room, "MAX_UNPACKED_BYTES", 3_199)
    with pytest.raises(DataError, match="unpack to 3,200 bytes or more"):
        open_text(tmp_path)


@pytest.mark.parametrize("name", ["inner.zip", "inner.epub"])
def test_a_zip_that_is_cut_off_is_not_read_as_one_that_is_stored_in_it(name, tmp_path):
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w") as archive:
        archive.writestr("META-INF/container.xml" if name.endswith("epub") else "a.txt", b"a line of it\n" * 50)
    path = tmp_path / "archive.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(name, inner.getvalue())
        archive.writestr("b.txt", b"another line\n" * 500)
    whole = path.read_bytes()
    for size in (len(whole) // 2, 30 + len(name) + len(inner.getvalue())):
        path.write_bytes(whole[:size])
        with pytest.raises(DataError, match=r"readable archive\. .*archive\.zip is not: its end is missing"):
            open_text(path)


def test_a_zip_after_a_program_that_unpacks_it_is_read(tmp_path):
    write_zip(tmp_path / "archive", published().items())
    path = tmp_path / "archive.exe"
    path.write_bytes(b"MZ" + bytes(500) + (tmp_path / "archive").read_bytes())
    assert contents(path) == CONTENTS


def test_huge_member_of_another_name_is_refused(tmp_path, monkeypatch):
    path = tmp_path / "archive.tgz"
    write_tar(path, [("zeros", bytes(10_000)), *published().items()])
    monkeypatch.setattr(room, "MAX_UNPACKED_BYTES", 9_999)
    with pytest.raises(DataError, match="unpack to 10,000 bytes or more"):
        open_text(path)


def test_zip_that_understates_a_size_is_refused(tmp_path):
    path = tmp_path / "archive.zip"
    write_zip(path, {**published(), "ptb.test.txt": b"x" * 5000}.items())
    data = path.read_bytes()
    assert data.count((5000).to_bytes(4, "little")) == 2
    path.write_bytes(data.replace((5000).to_bytes(4, "little"), (10).to_bytes(4, "little")))
    with pytest.raises(DataError, match="Expected a readable archive"):
        open_text(path)


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
def test_damaged_tar(mode, tmp_path):
    path = tmp_path / "archive"
    write_tar(path, [("zeros", bytes(range(256)) * 400), *published().items()], mode)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 2 // 3])
    with pytest.raises((DataError, FileNotFoundError)) as error:
        open_text(path)
    assert str(path) in str(error.value)


def test_damaged_zip(tmp_path):
    path = tmp_path / "archive.zip"
    write_zip(path, published().items())
    data = bytearray(path.read_bytes())
    data[45] ^= 0xFF
    path.write_bytes(data)
    with pytest.raises(DataError, match="Expected a readable archive"):
        open_text(path)


def test_a_zip_whose_places_lie_before_its_beginning_is_told(tmp_path):
    path = tmp_path / "a.zip"
    write_zip(path, published().items())
    content = bytearray(path.read_bytes())
    end = content.rindex(b"PK\x05\x06")
    content[end + 16 : end + 20] = (2**31).to_bytes(4, "little")  # where the directory is said to begin
    path.write_bytes(content)
    with pytest.raises(DataError, match="Expected a readable archive"):
        open_text(path)


def test_a_zip_with_a_password_is_told(tmp_path):
    path = tmp_path / "archive.zip"
    write_zip(path, published().items())
    data = bytearray(path.read_bytes())
    for signature, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        for match in re.finditer(re.escape(signature), bytes(data)):
            data[match.start() + flags] |= 1
    path.write_bytes(data)
    with pytest.raises(DataError, match=r"Expected a readable archive.*encrypted"):
        open_text(path)


def test_a_tar_with_a_changed_byte_is_told(tmp_path):
    path = tmp_path / "archive"
    write_tar(path, [*published().items(), ("noise", random.Random(0).randbytes(100_000))], "w:xz")
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)
    with pytest.raises(DataError, match="Expected a readable archive"):
        open_text(path)


@pytest.mark.parametrize("data", [b"", b"plain text\n", bz2.compress(b"not a tar"), b"PK\x05\x06" + bytes(18)])
def test_not_an_archive(data, tmp_path):
    path = tmp_path / "file"
    path.write_bytes(data)
    with pytest.raises((DataError, FileNotFoundError), match=r"Expected .*file"):
        open_text(path)


@pytest.mark.parametrize("write", [write_tar, write_zip, write_folder])
@pytest.mark.parametrize("missing", ["train", "valid", "test"])
def test_missing_file_is_named(write, missing, tmp_path):
    path = tmp_path / "x"
    if write is write_folder:
        path.mkdir()
    write(path, [(name, data) for name, data in published("data/").items() if missing not in name])
    with pytest.raises(FileNotFoundError, match=rf"Received: ptb\.{missing}\.txt missing in .*x/data\."):
        open_text(path)


def test_nothing_there(tmp_path):
    with pytest.raises(FileNotFoundError, match="which holds none"):
        open_text(tmp_path)
    with pytest.raises(FileNotFoundError, match="nowhere', which does not exist"):
        open_text(tmp_path / "nowhere")


@pytest.mark.parametrize("write", [write_tar, write_zip])
def test_the_folder_nearest_the_top_comes_first(write, tmp_path):
    deeper = dict.fromkeys(published("a/b/"), b"other")
    write(tmp_path / "x", [*deeper.items(), *published("c/").items()])
    assert contents(tmp_path / "x") == CONTENTS


def test_the_line_ends_of_all_systems_are_one():
    content = "one\rtwo\r\nthree\n\r\n\rfour\r"
    for size in (1, 2, 3, 100):
        pieces = [content[i : i + size] for i in range(0, len(content), size)]
        assert "".join(text_file.with_newlines(pieces)) == "one\ntwo\nthree\n\n\nfour\n"


def test_what_does_not_begin_as_a_compressed_file_is_not_unpacked(tmp_path, monkeypatch):
    """Python's reader of xz takes all of what begins with `[` for an older kind."""
    path = tmp_path / "a.txt"
    path.write_bytes(b"[" + bytes(10_000))
    opened, decompressor = [], lzma.LZMADecompressor
    monkeypatch.setattr(lzma, "LZMADecompressor", lambda **how: opened.append(how) or decompressor(**how))
    with pytest.raises(DataError, match="which is no text"):
        open_text(path)
    assert not opened


def test_zeros_are_no_archive(tmp_path):
    (tmp_path / "zeros").write_bytes(bytes(20_000))
    with pytest.raises(DataError, match=r"zeros, which is no text, or none that is known how to read"):
        open_text(tmp_path / "zeros")


@pytest.mark.parametrize("write", [write_tar, write_zip])
@pytest.mark.parametrize(
    ("name", "content"),
    [("a.txt", b"a\n" + b"x" * 70_000 + b"\0"), ("a.png", b"\0"), ("a.txt.gz", b"no"), ("train.txt", b"")],
)
def test_long_names_are_shortened_in_messages(write, name, content, tmp_path, caplog):
    long = "long" * 15_000
    for others in ([], [("b.txt", b"a text\n" * 99)]):
        write(tmp_path / "archive", [(f"{long}/{name}", content), *others])
        caplog.clear()
        try:
            open_text(tmp_path / "archive")
            told = caplog.text
        except (FileNotFoundError, DataError) as error:
            told = str(error)
        assert len(told) < 1_200
        assert name in told or "valid.txt" in told
