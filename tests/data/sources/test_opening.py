import errno
import gzip
import io
import itertools
import lzma
import os
import tarfile
import zipfile

import numpy as np
import pytest

import kerasptb
from kerasptb.data import DataError, Source
from kerasptb.data.corpus import open_text
from kerasptb.data.errors import UnreadError
from kerasptb.data.sources import room, text_file


def _zip(members):
    """The bytes of an archive."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return content.getvalue()


def test_a_single_text_is_a_corpus(tmp_path):
    path = tmp_path / "All.TXT"
    path.write_text("the cat sat\n" * 200)
    corpus = kerasptb.load_corpus(path, tokens="words")
    assert [len(corpus.split(name)) for name in ("train", "valid", "test")] == [4 * 181, 4 * 10, 4 * 9]
    assert list(corpus.vocabulary.words) == ["<eos>", "cat", "sat", "the"]
    assert "last tenth is half validation, half test" in corpus.source
    assert kerasptb.load_corpus(corpus.location, tokens="words").digest == corpus.digest


def test_texts_are_read_one_after_the_other_compressed_or_not(tmp_path):
    book = "".join(f"Chapter {number} of a book.\n\n" for number in range(100))
    folder = tmp_path / "books"
    (folder / "more").mkdir(parents=True)
    (folder / "a.txt").write_text("\ufeff" + book)
    with gzip.open(folder / "b.md.gz", "wt") as file:
        file.write(book)
    with lzma.open(folder / "more" / "c.txt.xz", "wt") as file:
        file.write(book)
    (folder / ".hidden.txt").write_text("hidden")
    (folder / "__pycache__").mkdir()
    (folder / "__pycache__/a.pyc").write_text("compiled")
    (folder / "picture.png").write_bytes(b"\0")
    corpus = kerasptb.load_corpus(folder)
    text = corpus.vocabulary.decode(np.concatenate([corpus.train, corpus.valid, corpus.test]))
    assert text == book.replace("\n\n", "\n") * 3
    named = kerasptb.load_corpus([folder / "a.txt", folder / "b.md.gz", folder / "more" / "c.txt.xz"])
    assert named.digest == corpus.digest == kerasptb.load_corpus(named.location).digest


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("a.txt.gz", b"no gzip", "readable archive"),
        ("a.txt", b"text\0binary\n" * 200, r"a\.txt, which is no text, or none that is known how to read"),
        ("a.txt", b"caf\xe9\n" + "café\n".encode() * 200, r"byte 3 \(line 1\) is 0xe9.*--encoding"),
        ("a.docx", _zip({"[Content_Types].xml": b"<Types/>"}), r"office program: save it as a text, or HTML"),
    ],
    ids=["compressed", "binary", "damaged", "office"],
)
def test_what_is_no_text_is_told(tmp_path, name, content, reason):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=reason):
        kerasptb.load_corpus(tmp_path / name)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"one" + b"x" * 70_000 + b"\0binary\n", "is binary"),
        (b"one\n" + "café\n".encode() * 9 + b"caf\xe9\n", r"is not: byte 61 \(line 11\) is 0xe9"),
    ],
    ids=["binary", "damaged"],
)
def test_of_several_texts_the_one_that_is_damaged_is_named(tmp_path, content, reason):
    for name in ("a.txt", "b.txt", "c.txt"):
        (tmp_path / name).write_text("a line of a text\n" * 20)
    (tmp_path / "b.txt").write_bytes(content)
    with pytest.raises(DataError, match=rf"/b\.txt {reason}"):
        kerasptb.load_corpus(tmp_path)


def test_what_has_no_text_in_a_folder_or_an_archive_is_left_out_and_said(tmp_path, caplog):
    members = {f"{number:02}.png": b"\0" for number in range(11)} | {
        "a.txt": b"one\n\n" * 50, "b.csv": b"id,words\n1,two\n", "c": b"three\n\n" * 50, ".d": b"four\n"
    }  # fmt: skip
    folder = tmp_path / "folder"
    folder.mkdir()
    for name, content in members.items():
        (folder / name).write_bytes(content)
    (tmp_path / "archive.zip").write_bytes(_zip(members))
    for path in (folder, tmp_path / "archive.zip"):
        caplog.clear()
        found = b"".join(b"".join(file.chunks()) for file in open_text(path).files.values())
        assert found.split() == [b"one"] * 50 + [b"three"] * 50
        assert "Left out: 00.png, 01.png, 02.png" in caplog.text
        assert "09.png (no text, or none that is known how to read)" in caplog.text
        assert "10.png" not in caplog.text
        assert "; and 2 more." in caplog.text
        assert open_text(path).source.startswith(f"2 texts from {path}/a.txt to {path}/c (12 left out), of which")
    with pytest.raises(UnreadError, match=r"a table: --column names what to read of it, one of: id, words"):
        open_text([folder / "a.txt", folder / "b.csv"])
    (folder / "more").mkdir()
    (folder / "c").rename(folder / "more" / "a.pyc")
    (folder / "more" / "a.pyc").write_bytes(b"\xa7\r\r\n\0\0")
    assert open_text(folder).source.startswith(f"{folder}/a.txt (13 left out), of which")
    (folder / "a.txt").unlink()
    with pytest.raises(DataError, match=r"Received: 13 files without one: .*09\.png \(no text, .* and 3 more\.$"):
        open_text(folder)


@pytest.mark.parametrize("kind", ["zip", "tar.gz"])
def test_an_archive_of_one_text_is_read_as_the_text(tmp_path, kind):
    text = b"".join(b"line %d\n" % i for i in range(100, 300))
    (tmp_path / "a.txt").write_bytes(text)
    if kind == "zip":
        (tmp_path / "a.zip").write_bytes(_zip({"a.txt": text}))
    else:
        with tarfile.open(tmp_path / "a.tar.gz", "w:gz") as archive:
            archive.add(tmp_path / "a.txt", "a.txt")
    plain, packed = (kerasptb.load_corpus(tmp_path / name, vocabulary_size=300) for name in ("a.txt", f"a.{kind}"))
    assert packed.digest == plain.digest


def test_a_book_in_an_archive_is_read_and_counts_with_it(tmp_path, caplog, monkeypatch):
    package = (
        '<package xmlns="http://www.idpf.org/2007/opf"><manifest><item id="a" href="a.xhtml" '
        'media-type="application/xhtml+xml"/></manifest><spine><itemref idref="a"/></spine></package>'
    )
    container = '<container><rootfiles><rootfile full-path="b.opf"/></rootfiles></container>'
    page = "<html><body>" + "".join(f"<p>Line {i} of it.</p>" for i in range(50)) + "</body></html>"
    book = _zip({"META-INF/container.xml": container, "b.opf": package, "a.xhtml": page})
    archive = {"a.txt": "one\n\n" * 9, "b.epub": book}
    (tmp_path / "a.zip").write_bytes(_zip(archive))
    read = b"".join(b"".join(file.chunks()) for file in open_text(tmp_path / "a.zip").files.values())
    assert read.count(b"one") == 9
    assert read.endswith(b"Line 49 of it.\n\n")
    assert "Left out" not in caplog.text
    size = sum(map(len, [*archive.values(), container, package, page]))
    monkeypatch.setattr(room, "MAX_UNPACKED_BYTES", size - 1)
    with pytest.raises(DataError, match=rf"With .*b\.epub/a\.xhtml they unpack to {size:,} bytes"):
        open_text(tmp_path / "a.zip")


def test_a_folder_is_read_where_links_lead_and_once(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "a.txt").write_text("one\n\n" * 50)
    folder = tmp_path / "folder"
    (folder / "below").mkdir(parents=True)
    (folder / "below" / "b.txt").write_text("two\n\n" * 50)
    for name in ("x", "y"):
        (folder / name).symlink_to(tmp_path / "elsewhere")
    (folder / "below" / "up").symlink_to(folder)
    read = b"".join(b"".join(file.chunks()) for file in open_text(folder).files.values())
    assert read.split() == [b"two"] * 50 + [b"one"] * 50


def test_a_folder_that_cannot_be_read_is_named(tmp_path, monkeypatch):
    (tmp_path / "closed").mkdir()
    (tmp_path / "a.txt").write_text("one\n\n" * 50)
    scan = os.scandir

    def refuse(path):
        if str(path).endswith("closed"):
            raise PermissionError(errno.EACCES, "Permission denied", path)
        return scan(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(PermissionError, match="closed"):
        open_text(tmp_path)


def test_a_column_is_asked_of_tables_alone(tmp_path):
    (tmp_path / "a.txt").write_text("one\n\n" * 50)
    with pytest.raises(DataError, match=r"--column is of a table or of records\. Received: .*a\.txt, which is none"):
        open_text(Source(tmp_path / "a.txt", column="text"))
    (tmp_path / "b.csv").write_text("words\n" + "two\n" * 50)
    read = b"".join(b"".join(file.chunks()) for file in open_text(Source(tmp_path, column="words")).files.values())
    assert read.split() == [b"one"] * 50 + [b"two"] * 50


def test_a_closed_standard_input_is_told(monkeypatch):
    monkeypatch.setattr("sys.stdin", None)
    with pytest.raises(OSError, match="Standard input is closed"):
        open_text("-")


def test_what_is_unpacked_has_a_limit_and_what_is_not_has_none(tmp_path, monkeypatch):
    monkeypatch.setattr(room, "MAX_UNPACKED_BYTES", 1_000)
    for name in ("a.txt", "b.txt"):
        (tmp_path / name).write_text("a line of a text\n" * 100)
    assert kerasptb.load_corpus(tmp_path, tokens="words").count("test").words > 50
    with gzip.open(tmp_path / "c.txt.gz", "wt") as file:
        file.write("a line of a text\n" * 100)
    with pytest.raises(DataError, match=r"With .*c\.txt\.gz they unpack to 1,700 bytes or more"):
        kerasptb.load_corpus(tmp_path, tokens="words")


def test_parts_of_a_copy_are_read_side_by_side(tmp_path, monkeypatch):
    monkeypatch.setattr(text_file, "_CHUNK_BYTES", 7)
    path = tmp_path / "a.txt.gz"
    path.write_bytes(gzip.compress(b"".join(b"line %d\n" % i for i in range(100, 300))))
    parts = open_text(path).files.values()
    pieces = itertools.zip_longest(*(file.chunks() for file in parts), fillvalue=b"")
    found = [b"".join(each) for each in zip(*pieces, strict=True)]
    assert found == [b"".join(file.chunks()) for file in parts]
    assert [len(text) for text in found] == [1629, 90, 81]
