import gzip
import io
import tarfile

import pytest

from kerasptb.data import DataError
from kerasptb.data.corpus import open_text
from kerasptb.data.sources import tar
from kerasptb.data.sources.tar import TarMember, tar_members

TEXTS = {"train.txt": b"a b\n" * 300, "valid.txt": b"c\n", "test.txt": b""}


def header(name, kind=tarfile.REGTYPE, size=0, tar_format=tarfile.USTAR_FORMAT):
    info = tarfile.TarInfo(name)
    info.type, info.size = kind, size
    return info.tobuf(tar_format)


def padded(content):
    return content + bytes(-len(content) % 512)


def pax(content):
    """An extended header, of a member that does not follow."""
    return header("pax", tarfile.XHDTYPE, len(content)) + padded(content)


def archived(texts, tar_format, **attributes):
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=tar_format) as archive:
        for name, content in texts.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            for key, value in attributes.items():
                setattr(info, key, value)
            archive.addfile(info, io.BytesIO(content))
    return file.getvalue()


@pytest.mark.parametrize("tar_format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
@pytest.mark.parametrize("folder", ["", f"{'long' * 20}/{'er' * 20}/", f"{'日' * 40}/", "\udcff/"])
def test_members_are_those_that_pythons_reader_finds(tar_format, folder):
    data = archived({folder + name: text for name, text in TEXTS.items()}, tar_format, mtime=0.5)
    with tarfile.open(fileobj=io.BytesIO(data), encoding="utf-8", errors="surrogateescape") as archive:
        expected = [TarMember(each.name, each.offset_data, each.size, each.isfile()) for each in archive]
    assert list(tar_members(io.BytesIO(data))) == expected
    assert [each.name for each in expected] == [folder + name for name in TEXTS]


def test_a_size_may_stand_in_an_extended_header():
    texts = {name: header(name) + padded(text) for name, text in TEXTS.items()}
    texts["train.txt"] = pax(b"13 size=1200\n") + texts["train.txt"]
    members = list(tar_members(io.BytesIO(b"".join(texts.values()))))
    assert [(each.name, each.size) for each in members] == [("train.txt", 1200), ("valid.txt", 0)]


def test_what_has_no_content_is_not_skipped():
    folder = header("data", tarfile.DIRTYPE, 5_000)
    members = list(tar_members(io.BytesIO(folder + header("data/train.txt", size=3) + padded(b"abc"))))
    assert [(each.name, each.is_file) for each in members] == [("data", False), ("data/train.txt", True)]


@pytest.mark.parametrize(
    "content",
    [
        b"1" * 128_000,  # Python's reader would take 13 seconds
        b"2 " * 64_000 + b"=",  # and here gigabytes
        b"0 path=a\n",
        b"8 path=a\n",
        b"99 path=train.txt\n",
        b"9 path:ab\n",
        b" path=a\n",
        b"-9 path=a\n",
        b"9 path=a\n0 path=a\n",
        b"9 path=a\n" + b"x" * 30,
    ],
)
def test_a_malformed_header_is_refused(content, tmp_path):
    path = tmp_path / "a.tgz"
    path.write_bytes(gzip.compress(pax(content) + header("train.txt")))
    with pytest.raises(DataError, match=r"readable archive\. .*a\.tgz is not: a malformed header"):
        open_text(path)


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME])
def test_a_huge_header_is_refused_unread(kind, tmp_path):
    path = tmp_path / "a.tgz"
    path.write_bytes(gzip.compress(header("train.txt") + header("x", kind, 80_000_000)))
    with pytest.raises(DataError, match=r"headers of 80,001,024 bytes or more, above the limit of 67,108,864\. Unpack"):
        open_text(path)


def test_many_headers_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(tar, "MAX_HEADER_BYTES", 20 * 512)
    path = tmp_path / "a.tgz"
    path.write_bytes(gzip.compress(header("other") * 20))
    with pytest.raises(DataError, match=r"other, of 0 bytes"):
        open_text(path)
    path.write_bytes(gzip.compress(header("other") * 21))
    with pytest.raises(DataError, match="headers of 10,752 bytes or more"):
        open_text(path)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (header("train.txt", tarfile.GNUTYPE_SPARSE), "a sparse file"),
        (pax(b"22 GNU.sparse.major=1\n") + header("train.txt"), "a sparse file"),
        (pax(b"11 size=-2\n") + header("train.txt"), "negative size"),
        (header("x", tarfile.XHDTYPE, -1, tarfile.GNU_FORMAT), "negative size"),
        (pax(b"10 size=a\n") + header("train.txt"), "invalid literal"),
        (header("x", tarfile.XHDTYPE, 5_000), "its end is missing"),
    ],
)
def test_what_cannot_be_read_is_told(data, reason, tmp_path):
    path = tmp_path / "a.tar"
    path.write_bytes(data)
    with pytest.raises(DataError, match=reason):
        open_text(path)


def test_a_text_that_ends_early_is_told(tmp_path):
    path = tmp_path / "a.tar"
    data = header("valid.txt") + header("test.txt") + header("train.txt", size=5_000) + bytes(1_000)
    path.write_bytes(data)
    with pytest.raises(DataError, match=r"train\.txt ends after 1,000 of 5,000 bytes"):
        open_text(path)
