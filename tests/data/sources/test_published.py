import gzip
import hashlib
import logging
from pathlib import Path

import pytest

from kerasptb.data import DataError
from kerasptb.data.corpus import open_text
from kerasptb.data.sources import opening, published
from kerasptb.data.sources.download import DownloadError
from kerasptb.data.sources.published import find_local_ptb, ptb_cache


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """An empty home, no variables, no network."""
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.delenv("KERASPTB_DATA", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)

    def unreachable(folder, **timeouts):
        raise DownloadError("no network")

    monkeypatch.setattr(published, "download_ptb", unreachable)
    return home


def write(folder, pattern="ptb.{}.txt", **texts):
    folder.mkdir(parents=True, exist_ok=True)
    texts = {"train": b"train text\n", "valid": b"text\n", "test": b"train\n", **texts}
    for split, data in texts.items():
        (folder / pattern.format(split)).write_bytes(data)
    return folder


def test_folder(tmp_path):
    folder = write(tmp_path / "novels", "{}.txt")
    for data in (folder, str(folder)):
        raw = open_text(data)
        assert {split: b"".join(file.chunks()) for split, file in raw.files.items()} == {
            "train": b"train text\n", "valid": b"text\n", "test": b"train\n"
        }  # fmt: skip
        assert (raw.name, raw.source, raw.is_sample) == ("novels", str(folder), False)


@pytest.mark.parametrize("packed", [False, True])
def test_three_texts_are_read_in_the_encoding_that_they_have(tmp_path, packed):
    texts = {split: f"Café à la carte, {split}\n" * 30 for split in ("train", "valid", "test")}
    for split, encoding in (("train", "cp1252"), ("valid", "utf-16"), ("test", "utf-8")):
        content = texts[split].encode(encoding)
        (tmp_path / f"{split}.txt{'.gz' if packed else ''}").write_bytes(gzip.compress(content) if packed else content)
    files = open_text(tmp_path).files
    assert {split: "".join(file.text()) for split, file in files.items()} == texts


def test_a_text_that_is_there_twice_is_read_once(tmp_path):
    (write(tmp_path / "a", "{}.txt") / "test.txt.gz").write_bytes(gzip.compress(b"another"))
    assert b"".join(open_text(tmp_path / "a").files["test"].chunks()) == b"train\n"


def test_the_place_of_a_text_is_the_one_that_was_read(tmp_path, monkeypatch):
    (tmp_path / "real" / "deep").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "real" / "deep")
    for folder, text in ((tmp_path, "one"), (tmp_path / "real", "two")):
        (folder / "a.txt").write_text(f"{text}\n\n" * 50)
    monkeypatch.chdir(tmp_path)
    place = open_text("link/../a.txt").location
    monkeypatch.chdir(tmp_path.parent)
    assert set(b"".join(open_text(place).files["train"].chunks()).split()) == {b"two"}


def test_a_tilde_may_be_of_a_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "~of nobody.txt").write_text("one\n\n" * 50)
    assert open_text("~of nobody.txt").location == str(tmp_path / "~of nobody.txt")


def test_home_is_expanded(home):
    write(home / "novels")
    assert open_text("~/novels").name == "novels"


def test_no_name_is_not_the_working_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(write(tmp_path / "novels"))
    assert open_text(".").is_sample is False
    with pytest.raises(FileNotFoundError, match=r"Received: '', which does not exist"):
        open_text("")


def test_nothing_of_that_name():
    with pytest.raises(FileNotFoundError, match=r"Expected 'auto', 'ptb', 'sample'.*'ptp', which does not exist"):
        open_text("ptp")


@pytest.mark.parametrize("data", ["auto", "ptb"])
def test_variable_comes_first(data, tmp_path, monkeypatch):
    monkeypatch.setenv("KERASPTB_DATA", str(write(tmp_path / "novels")))
    assert find_local_ptb() == tmp_path / "novels"
    assert open_text(data).name == "novels"


@pytest.mark.parametrize("data", ["auto", "ptb"])
def test_variable_that_names_nothing_is_an_error(data, tmp_path, monkeypatch):
    monkeypatch.setenv("KERASPTB_DATA", str(tmp_path / "nowhere"))
    with pytest.raises(FileNotFoundError, match=r"variable KERASPTB_DATA names .*nowhere\. .*does not exist"):
        open_text(data)
    (tmp_path / "nowhere").write_text("no archive")
    with pytest.raises(DataError, match=r"variable KERASPTB_DATA names .*nowhere\. .*a text long enough"):
        open_text(data)


def test_empty_variable_is_none_at_all(monkeypatch):
    monkeypatch.setenv("KERASPTB_DATA", "")
    assert find_local_ptb() is None


def test_cache_follows_xdg(home, tmp_path, monkeypatch):
    assert ptb_cache() == home / ".cache" / "kerasptb" / "ptb"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert ptb_cache() == home / ".cache" / "kerasptb" / "ptb"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert ptb_cache() == tmp_path / "xdg" / "kerasptb" / "ptb"
    assert ptb_cache(Path("/x")) == Path("/x/ptb")


@pytest.mark.parametrize("data", ["auto", "ptb"])
def test_download_fills_the_cache(data, home, monkeypatch):
    asked = []

    def download(folder, **timeouts):
        asked.append(timeouts)
        write(folder)

    monkeypatch.setattr(published, "download_ptb", download)
    assert open_text(data).source == str(home / ".cache/kerasptb/ptb")
    assert asked == [{"auto": published.AUTO_TIMEOUTS, "ptb": published.PTB_TIMEOUTS}[data]]
    # The files are not the published ones: a cache that holds anything else is damaged, and not believed.
    assert find_local_ptb() is None
    monkeypatch.setattr(published, "has_digests", lambda folder: folder.is_dir())
    open_text(data)
    assert len(asked) == 1


def test_auto_falls_back_on_the_sample_loudly(caplog):
    with caplog.at_level(logging.WARNING, "kerasptb"):
        raw = open_text("auto")
    assert raw.is_sample
    assert "no network" in caplog.text
    assert "compares with no published number" in caplog.text


def test_ptb_never_falls_back():
    with pytest.raises(DownloadError, match="no network"):
        open_text("ptb")


def test_unwritable_cache(tmp_path, monkeypatch):
    monkeypatch.undo()
    monkeypatch.delenv("KERASPTB_DATA", raising=False)
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match=r"Expected to write the downloaded files beside .*file/ptb.*XDG_CACHE_HOME"):
        open_text("ptb", cache_dir=tmp_path / "file")
    assert open_text("auto", cache_dir=tmp_path / "file").is_sample


@pytest.mark.parametrize("word", ["ptb", "sample", "auto"])
def test_a_folder_of_a_name_that_stands_for_another_text_is_told_apart(tmp_path, word):
    (tmp_path / word).mkdir()
    for split in ("train", "valid", "test"):
        (tmp_path / word / f"{split}.txt").write_text("one two <unk>\n")
    assert open_text(tmp_path / word).name == f"own-{word}"
    for split in ("train", "valid", "test"):
        (tmp_path / word / f"{split}.txt").unlink()
    for name in ("a.md", "b.txt"):
        (tmp_path / word / name).write_text("one two <unk>\n" * 50)
    assert open_text(tmp_path / word).name == f"own-{word}"


def test_a_user_without_a_home_has_a_cache(monkeypatch):
    def no_home(self):
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "expanduser", no_home)
    assert ptb_cache().is_absolute()
    assert find_local_ptb() is None


def test_a_cache_that_cannot_be_entered_holds_nothing(monkeypatch):
    def refuse(folder):
        raise PermissionError(13, "Permission denied", str(folder))

    monkeypatch.setattr(published, "has_digests", refuse)
    assert find_local_ptb() is None
    assert open_text("auto").is_sample


def test_ptb_that_is_another_text_is_warned_of(tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("KERASPTB_DATA", str(write(tmp_path / "novels")))
    with caplog.at_level(logging.WARNING, "kerasptb"):
        open_text("auto")
        assert caplog.text == ""
        open_text("ptb")
    assert f"The files in {tmp_path / 'novels'} are not the published Penn Treebank files." in caplog.text


def test_ptb_is_all_three_published_files(tmp_path, monkeypatch):
    folder = write(tmp_path / "novels")
    digests = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}
    monkeypatch.setattr(opening, "PTB_SHA256", digests)
    assert open_text(folder).name == "ptb"
    for split in ("train", "valid", "test"):
        assert open_text(write(tmp_path / f"other {split}", **{split: b"text of another\n"})).name == f"other {split}"
