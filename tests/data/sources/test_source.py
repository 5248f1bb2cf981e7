import io
import os
import sys
import zipfile

import pytest

import kerasptb
from kerasptb.data import DataError, Source
from kerasptb.data.corpus import STORED_BYTES, open_text

CHAT = "".join(f"30/11/26, 21:{i:02} - {'Ana' if i % 2 else 'Bruno'}: message {i} of {i}\n" for i in range(60))


def test_a_source_is_read_again_by_its_location(tmp_path, monkeypatch):
    (tmp_path / "chat.txt").write_text(CHAT)
    (tmp_path / "more.csv").write_text("said\n" + "one more message\n" * 40)
    monkeypatch.chdir(tmp_path)
    corpus = kerasptb.load_corpus(Source(["chat.txt", "more.csv"], author="Ana", column="said"))
    monkeypatch.chdir("/")
    again = kerasptb.load_corpus(corpus.location)
    assert again.digest == corpus.digest
    assert again.name == "messages"  # the file's may say whose they are
    text = again.vocabulary.decode(again.split("all"))
    assert text.count("message") == 30 + 40
    assert "Ana" not in text
    assert kerasptb.load_corpus(Source(str(tmp_path / "chat.txt"))).location == str(tmp_path / "chat.txt")


def test_of_many_chats_those_without_the_author_are_left_out(tmp_path, caplog):
    (tmp_path / "a.txt").write_text(CHAT)
    (tmp_path / "b.txt").write_text(CHAT.replace("Ana", "Carla"))
    (tmp_path / "c.txt").write_text("a note\n" * 9)
    text = b"".join(b"".join(each.chunks()) for each in open_text(Source(tmp_path, author="Ana")).files.values())
    assert text.count(b"message") == 30
    assert b"note" not in text
    assert "Left out: b.txt (by Bruno, Carla, and not by --author Ana); c.txt (no chat and no mail" in caplog.text


def test_a_location_is_one_string():
    source = Source(["a", "b"])
    assert Source.of(source.location) == source == Source.of(["a", "b"])
    source = Source("ä.csv", column="text", encoding="latin-1")
    assert Source.of(source.location) == source
    assert source.choices == {"column": "text", "encoding": "latin-1"}
    with pytest.raises(DataError, match="no path"):
        Source([])


@pytest.mark.parametrize("data", [5, b"novel.txt", None, ["novel.txt", 5]])
def test_what_is_no_path_is_told(data):
    with pytest.raises(DataError, match=r"Expected a path, or a sequence of them\. Received: (5|None|b'novel\.txt')$"):
        kerasptb.load_corpus(data)


def test_texts_whose_paths_have_a_colon_are_read_again(tmp_path):
    for name in ("a:b.txt", "c.txt"):
        (tmp_path / name).write_text("one two three.\n\n" * 50)
    corpus = kerasptb.load_corpus([tmp_path / "a:b.txt", tmp_path / "c.txt"])
    assert kerasptb.load_corpus(corpus.location).digest == corpus.digest


@pytest.mark.parametrize("location", ['{"paths": [}', '{"paths": ["a"], "colour": "red"}', '{"paths": 5}'])
def test_a_location_that_is_none_is_told(location):
    with pytest.raises(DataError, match="Expected a path, or the location of a Source"):
        kerasptb.load_corpus(location)


def test_a_folder_or_an_archive_of_nothing_is_told(tmp_path):
    (tmp_path / "empty").mkdir()
    zipfile.ZipFile(tmp_path / "empty.zip", "w").close()
    for name in ("empty", "empty.zip"):
        with pytest.raises(FileNotFoundError, match=rf"{name}, which holds none"):
            kerasptb.load_corpus(tmp_path / name)


@pytest.mark.parametrize("name", ["-", "pipe"])
def test_a_pipe_is_read_once_and_kept_nowhere(name, tmp_path, monkeypatch):
    text = "".join(f"line {i} of a text\n\n" for i in range(100)).encode()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text)))
    monkeypatch.chdir(tmp_path)
    reading, writing = os.pipe()
    with os.fdopen(writing, "wb") as pipe:
        pipe.write(text)
    monkeypatch.setattr("kerasptb.data.corpus.STORED_BYTES", 1)
    assert STORED_BYTES > 1
    corpus = kerasptb.load_corpus("-" if name == "-" else f"/dev/fd/{reading}", cache_dir=tmp_path / "cache")
    os.close(reading)
    assert corpus.location is None
    assert corpus.vocabulary.decode(corpus.test) == "".join(f"line {i} of a text\n" for i in range(96, 100))
    assert not (tmp_path / "cache").exists()


def test_three_texts_in_another_encoding(tmp_path):
    for split in ("train", "valid", "test"):
        (tmp_path / f"{split}.txt").write_bytes("a café\n".encode("latin-1") * 20)
    files = open_text(Source(tmp_path, encoding="latin-1")).files
    assert b"".join(files["valid"].chunks()) == "a café\n".encode() * 20
    (tmp_path / "train.txt").write_bytes("café ".encode() * 200 + b"caf\xe9\n")
    with pytest.raises(DataError, match=r"train\.txt is not: byte 1203 \(line 1\) is 0xe9.* or name its --encoding"):
        kerasptb.load_corpus(tmp_path)
