import codecs

import pytest

from kerasptb.data import DataError, Source
from kerasptb.data.sources.encodings import encoding_of
from kerasptb.data.sources.formats import format_of
from kerasptb.data.sources.text_file import TextFile

GERMAN = "Der alte Mann saß am Fluß. „Schön“, sagte er – größer wird es nicht.\n" * 5
TEXTS = {
    "cp1252": "“I don’t know,” said he. It was a fine day — and the café was open.\n" * 5,
    "latin-1": "Não há nada como a saudade. A coração da avó é grande; ela fez pão.\n" * 5,
    "cp1250": "Zażółć gęślą jaźń. Był piękny dzień, słońce świeciło, a dzieci bawiły się.\n" * 5,
    "cp1251": "Все счастливые семьи похожи друг на друга, каждая несчастливая семья — нет.\n" * 5,
    "koi8_r": "Все счастливые семьи похожи друг на друга, каждая несчастливая семья нет.\n" * 5,
    "cp932": "吾輩は猫である。名前はまだ無い。どこで生れたかとんと見当がつかぬ。\n" * 5,
    "gb18030": "学而时习之，不亦说乎？有朋自远方来，不亦乐乎？\n" * 5,
    "cp949": "모든 인간은 태어날 때부터 자유로우며 그 존엄과 권리에 있어 동등하다.\n" * 5,
}


def texts_of(file, source):
    return format_of(file, source).texts(file, source)


def read(content, **choices):
    return "".join(texts_of(TextFile.of_bytes(content, "letter"), Source("letter", **choices)))


@pytest.mark.parametrize("encoding", TEXTS)
def test_an_encoding_is_found_and_said(encoding, caplog):
    text = "all of this is plain\n" * 3000 + TEXTS[encoding]  # where it is not lies after what is read at a time
    assert read(text.encode(encoding)) == text
    assert "letter is read as " in caplog.text
    assert "--encoding names another" in caplog.text


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32", "ascii"])
def test_a_mark_is_believed_and_utf8_needs_none(encoding, caplog):
    text = "plain\n" if encoding == "ascii" else GERMAN
    assert read(text.encode(encoding)) == text
    assert caplog.text == ""


def test_an_encoding_that_is_named_is_taken(caplog):
    assert read(GERMAN.encode("utf-16-le"), encoding="utf-16-le") == GERMAN
    assert read(codecs.BOM_UTF8 + b"\xe9", encoding="latin-1") == "ï»¿é"
    assert caplog.text == ""
    with pytest.raises(DataError, match=r"Expected a text in ASCII\. letter is not: byte 16 \(line 1\) is 0xc3"):
        read(GERMAN.encode(), encoding="ascii")
    with pytest.raises(DataError, match=r"in UTF-16\. letter is not: UTF-16 stream does not start with BOM\. Convert"):
        read(GERMAN.encode(), encoding="utf-16")
    with pytest.raises(DataError, match=r"that Python knows, such as cp1252\. Received: base64"):
        Source("letter", encoding="base64")


def test_a_damaged_byte_makes_no_other_encoding():
    damaged = GERMAN.encode() + b"\xe9"
    assert encoding_of(TextFile.of_bytes(damaged, "letter")) == "utf-8"
    with pytest.raises(DataError, match=r"in UTF-8\. letter is not: byte \d+ \(line 6\) is 0xe9"):
        read(damaged)


def test_what_is_in_no_encoding_is_told():
    with pytest.raises(DataError, match=r"letter, which is no text, or none that is known how to read"):
        read(bytes(range(1, 256)) * 40)
