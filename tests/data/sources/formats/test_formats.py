"""Files of every kind, as they reach a user, and the paragraphs that are read of them."""

import csv
import gzip
import io
import json
import re
import sys
import zipfile

import pytest

from kerasptb.data import DataError, Source, load_corpus
from kerasptb.data.errors import UnreadError
from kerasptb.data.sources.formats import format_of, mbox, plain, table
from kerasptb.data.sources.text_file import TextFile
from kerasptb.utils.extras import install_command

WHATSAPP = """\
30/11/2026, 21:09 - Messages and calls are end-to-end encrypted. No one outside of this chat can read them.
30/11/2026, 21:09 - Ana: Olá! Tudo bem?
30/11/2026, 21:10 - Bruno: Tudo: e você?
Segunda linha.
30/11/2026, 21:11 - Ana: <Media omitted>
30/11/2026, 21:12 - Ana: IMG-20261130-WA0001.jpg (file attached)
30/11/2026, 21:13 - Bruno added Carla
30/11/2026, 21:14 - Ana: Até logo \u200e<This message was edited>
"""
IPHONE = """\
[30.11.26, 21:09:01] Ana: Hallo
\u200e[30.11.26, 21:09:30] Bruno: \u200eBild weggelassen
[30.11.26, 21:10:02] Bruno: Na, wie geht’s?
[30.11.26, 21:10:30] Ana: Gut
"""
AMERICAN = "".join(f"12/31/26, 9:0{i}\u202fPM - Ann B.: message {i}\n" for i in range(4))
SIGNAL = "".join(f"[2026-11-30, 15:3{i}] Me: message {i}\n" for i in range(4))
STAMPS = [  # of as many countries, on telephones of both makes
    "30/11/2026 21:0{} - ", "30/11/26 9:0{} p. m. - ", "30. 11. 2026 21:0{} - ", "30.11.2026 klo 21.0{} - ",
    "[30-11-2026 21:09:0{}] ", "[30/11/2026 à 21:09:0{}] ", "\u200f[30.11.2026 г., 21:09:0{}] ",
    "21:0{}, 30/11/2026 - ", "2026/11/30 下午9:0{} - ",
    "[2026年11月30日 21:0{}] ", "[2026. 11. 30. 오후 9:09:0{}] ", "2026년 11월 30일 오후 9:0{}, ",
    "30/11/26, 9:0{} μ.μ. - ", "30/11/26, 9:0{} अपराह्न - ", "\u200f٣٠\u200f/١١\u200f/٢٠٢٦، ٩:٠{} م - ",
]  # fmt: skip
LOG = "".join(f"2026-11-30 12:00:0{i} - INFO: started {i}\n" for i in range(4))
TELEGRAM = {
    "name": "Bruno", "type": "personal_chat",
    "messages": [
        {"type": "service", "date": "2026-11-30T21:09:00", "actor": "Ana", "action": "phone_call", "text": ""},
        {"type": "message", "from": "Ana", "text": "Olá"},
        {"type": "message", "from": "Ana", "photo": "a.jpg"},
        {"type": "message", "from": "Bruno", "text": ["see ", {"type": "link", "text": "kerasptb"}, "!"]},
    ],
}  # fmt: skip
MBOX = """\
From ana@example.org Mon Nov 30 21:09:00 2026
From: Ana <ana@example.org>
Subject: hello
Content-Type: text/plain; charset=iso-8859-1
Content-Transfer-Encoding: 8bit

Olá, Bruno.
From here on all is well.

--\x20
Ana, Porto

From bruno@example.org Mon Nov 30 22:09:00 2026
From: bruno@example.org
MIME-Version: 1.0
Content-Type: multipart/alternative; boundary=xx

--xx
Content-Type: text/plain; charset=utf-8

Ana wrote:
> Olá, Bruno.

Two things:
one, two.
--xx
Content-Type: text/html

<p>never read</p>
--xx--
"""
PAGE = """\
<!doctype html><html><head><meta charset="iso-8859-1"><title>T</title><style>p{}</style><script>x=1</script></head>
<body><nav><ul><li><a href="/">Home</a></li><li><a href="/b">About</a></li></ul></nav>
<main><article><h1>A day</h1><p>We went to the
sea &amp; the caf\xe9 was shut.</p><p>Then we came home, and it was late, and all was well.</p></article></main>
<footer><a href="/x">Privacy</a></footer></body></html>
"""


def texts_of(file, source):
    return format_of(file, source).texts(file, source)


def file(content, name="file"):
    return TextFile.of_bytes(content if isinstance(content, bytes) else content.encode(), name)


def paragraphs(content, name="file", **choices):
    """What is read of a file's content."""
    text = "".join(texts_of(file(content, name), Source(name, **choices)))
    return [paragraph for paragraph in text.split("\n\n") if paragraph.strip()]


@pytest.mark.parametrize(
    ("chat", "messages", "author", "authors"),
    [
        (WHATSAPP, ["Olá! Tudo bem?", "Tudo: e você?", "Segunda linha.", "Até logo"], "Ana", [0, 3]),
        (IPHONE, ["Hallo", "Na, wie geht’s?", "Gut"], "Bruno", [1]),
        (AMERICAN, [f"message {i}" for i in range(4)], "Ann B.", [0, 1, 2, 3]),
        (SIGNAL, [f"message {i}" for i in range(4)], "Me", [0, 1, 2, 3]),
    ],
    ids=["whatsapp", "iphone", "american", "signal"],
)
def test_of_a_chat_the_messages_are_read(chat, messages, author, authors):
    assert paragraphs(chat, "chat.txt") == messages
    assert paragraphs(chat, "chat.txt", author=author) == [messages[index] for index in authors]
    for encoding in ("utf-8-sig", "utf-16"):
        assert paragraphs(chat.encode(encoding), "chat.txt") == messages
    with pytest.raises(DataError, match=r"chat\.txt, which is by .*(A|M).*, and not by --author Nobody"):
        paragraphs(chat, "chat.txt", author="Nobody")


def test_an_author_is_asked_of_chats_and_mail_alone():
    with pytest.raises(DataError, match=r"a\.txt, which is no chat and no mail that is known how to read, as --author"):
        paragraphs("Ana said: a text\n", "a.txt", author="Ana")


@pytest.mark.parametrize("stamp", STAMPS)
def test_a_chat_of_any_country_is_read_without_times_and_names(stamp):
    chat = "".join(f"{stamp}Ana: message {{}}\n".format(i, i) for i in range(4))
    assert paragraphs(chat, "chat.txt") == [f"message {i}" for i in range(4)]


def test_chats_of_a_message_or_of_long_ones_are_chats():
    message = "30/11/2026, 21:09 - \u202a+55 11 9123\u202c: one\n" + "line\n" * 8
    for times in (1, 5):
        assert paragraphs(message * times, "chat.txt", author="+55 11 9123") == ["one", *["line"] * 8] * times


@pytest.mark.parametrize("kind", ["whatsapp", "telegram"])
def test_the_lines_of_a_message_are_not_joined_however_long_they_are(kind, tmp_path):
    lines = ["I went there and looked for you, as we had said,", "but nobody was at the door when I came to it so"]
    message = "\n".join([*lines, "late that night."])
    if kind == "telegram":
        export = {**TELEGRAM, "messages": [{"type": "message", "date": "x", "from": "Ana", "text": message}] * 50}
        (path := tmp_path / "result.json").write_text(json.dumps(export))
    else:
        (path := tmp_path / "chat.txt").write_text(f"30/11/2026, 21:09 - Ana: {message}\n" * 50)
    (tmp_path / "novel.txt").write_text(f"{message}\n\n" * 50)  # of which lines are joined
    joined = [
        load_corpus(data, tokens="characters").count("train").joined for data in (path, [path, tmp_path / "novel.txt"])
    ]
    assert joined == [0, 2 * 40]


def test_what_the_program_says_is_left_out_and_nothing_that_the_author_says():
    said = [
        "\u200eIMG-1.jpg (file attached)\nthe caption", "<Media omitted>\nanother", "photo \u200e<attached: 1.jpg>",
        "wrong <This message was edited>", "see a.txt (it is new)", "if a <b> c",
        "\u200ePOLL:\nWhere?\n\u200eOPTION: here",
    ]  # fmt: skip
    chat = "".join(f"30/11/2026, 21:09 - Ana: {each}\n" for each in said)
    assert paragraphs(chat, "chat.txt") == [
        "the caption", "another", "photo", "wrong", "see a.txt (it is new)", "if a <b> c", "Where?"
    ]  # fmt: skip


@pytest.mark.parametrize("log", [LOG, LOG.replace("INFO", "root - INFO"), LOG.replace("INFO", "local.ERROR")])
def test_a_log_is_no_chat(log):
    assert paragraphs(log) == [log]


def test_of_telegrams_export_the_messages_are_read():
    everything = {"about": "x", "personal_information": {}, "contacts": ["a contact"] * 10_000}
    everything["chats"] = {"about": "y", "list": [TELEGRAM, TELEGRAM]}
    for export, times in ((TELEGRAM, 1), (everything, 2)):
        assert paragraphs(json.dumps(export), "result.json") == ["Olá", "see kerasptb!"] * times
        assert paragraphs(json.dumps(export), "result.json", author="Bruno") == ["see kerasptb!"] * times
    of_all = [{"type": "service", "from": None, "text": "x"}, {"type": "message", "from": None, "text": "deleted"}]
    export = json.dumps({**TELEGRAM, "messages": [*TELEGRAM["messages"], *of_all]})
    assert paragraphs(export, "result.json") == ["Olá", "see kerasptb!", "deleted"]
    with pytest.raises(DataError, match=r"which is by Ana, Bruno, and not by --author Eva"):
        paragraphs(export, "result.json", author="Eva")
    with pytest.raises(DataError, match=r"a chat as Telegram exports it\. result\.json is damaged"):
        paragraphs(json.dumps(TELEGRAM)[:-2], "result.json")
    with pytest.raises(DataError, match=r"a chat as Telegram exports it\. result\.json is damaged"):
        paragraphs('{"messages": [{"date": ' + "[" * 99_999, "result.json")


@pytest.mark.parametrize("ends", ["\n", "\r\n"])
def test_of_mail_what_its_authors_wrote_is_read(ends):
    mailbox = MBOX.replace("\n", ends).encode("iso-8859-1").replace(b"> Ol\xe1", "> Olá".encode())
    assert paragraphs(mailbox) == ["Olá, Bruno.\nFrom here on all is well.", "Two things:\none, two."]
    assert paragraphs(mailbox, author="Ana") == ["Olá, Bruno.\nFrom here on all is well."]
    with pytest.raises(DataError, match=r"file, which is by Ana, bruno@example\.org, and not by --author Eva"):
        paragraphs(mailbox, author="Eva")


@pytest.mark.parametrize(
    ("body", "written"),
    [
        ("one\n>From here on\n>>From there\ntwo", "one\nFrom here on\ntwo"),
        ("yes\n\nOn 30 November 2026 Bruno wrote:\n\n> one\n> two\n\nno", "yes\n\n\nno"),
        ("yes.\nOn Mon, Nov 30, 2026 Bruno <b@example.org>\nwrote:\n> one", "yes."),
        ("yes\n\n-----Original Message-----\nFrom: Bruno\n\nread", "yes"),
        ("yes\n\n" + "_" * 32 + "\nDe: Bruno\nEnviado: x\n\nread", "yes"),
        ("yes\n----- Agenda -----\none", "yes\n----- Agenda -----\none"),
        ("an item\n\u200eof a text to the right", "an item\n\u200eof a text to the right"),
    ],
)
def test_of_a_mail_all_is_read_that_is_no_quotation(body, written):
    mail = f"From x 2026\nFrom: Ana\nContent-Type: text/plain; charset=utf-8\n\n{body}\n"
    assert "".join(texts_of(file(mail), Source("file"))).strip() == written


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("text/html; charset=iso-8859-2", "<p>ąćę</p>".encode("iso-8859-2")),
        (
            "text/html",
            "<p>ąćę</p><div class=gmail_quote>On 30<blockquote>a<blockquote>b</blockquote></blockquote></div>".encode(),
        ),
        ("text/html", "<meta charset=iso-8859-2><p>ąćę</p>".encode("iso-8859-2")),
        ("text/html; charset=utf-8", "<blockquote>a<blockquote>b</blockquote></blockquote>ąćę".encode()),
        ("text/plain; charset=undefined", "ąćę".encode()),
        ("text/plain; charset=idna", "ąćę".encode()),
    ],
)
def test_a_mail_is_read_without_quotations_in_the_encoding_that_its_header_names_or_else_in_utf8(kind, body):
    assert paragraphs(f"From x 2026\nFrom: Ana\nContent-Type: {kind}\n\n".encode() + body) == ["ąćę"]


@pytest.mark.parametrize(
    ("header", "author"),
    [
        ("Ana <", "Ana"),
        ("Ana[ <ana@\xe7xample.org>", "Ana"),
        ("=?utf-8?q?Ant=C3=B3nio?= <a@b.c>", "António"),
        ("", ""),
    ],
)
def test_damaged_headers_do_no_harm(header, author):
    mail = f"From x 2026\nFrom: {header}\n\nHello\n".encode("latin-1")
    assert paragraphs(mail) == ["Hello"]
    with pytest.raises(DataError, match=rf"file, which is by {re.escape(author)}.*, and not by --author Eva"):
        paragraphs(mail, author="Eva")


@pytest.mark.parametrize(
    "headers",
    [
        'Content-Type: multipart/mixed; boundary="a"\n\n--a\nContent-Type: multipart/related\n\nx\n--a--',
        "Content-Type: text/plain; x*\n\nx",
    ],
    ids=["parts", "charset"],
)
def test_a_damaged_mail_takes_no_other_with_it(headers):
    mail = "From x 2026\nFrom: Ana\n{}\n\n"
    read = paragraphs("".join(mail.format(each) for each in ("\nHello", headers, "\nBye")))
    assert (read[0], read[-1]) == ("Hello", "Bye")


PARTS = "".join(f"Content-Type: multipart/mixed; boundary=b{i}\n\n--b{i}\n" for i in range(1500))


@pytest.mark.parametrize(
    "mail",
    [
        f"From: a\n{PARTS}\n\nx",
        "From: a\n" + "Content-Type: message/rfc822\n\n" * 5_000,
        f"From: {'(' * 100_000}\n\nx",
        f"From: {'(' * 3_000}\n\nx",
        f"From: {'=?utf-8?q?a?= ' * 100_000}\n\nx",
        f"From: a\nContent-Type: text/plain; {'a=b; ' * 100_000}\n\nx",
        "From: a\n\na\0b",
        "From: a\nContent-Transfer-Encoding: base64\n\nYQBi",
        "From: a\nContent-Type: text/plain; charset=utf-7\n\na+AAA-b",
        f"From: a\nContent-Type: text/html\n\n{'<div>' * 20_000}x",
    ],
    ids=[
        "parts", "messages", "comments", "some comments", "words", "parameters", "NUL", "base64", "UTF-7", "page"
    ],
)  # fmt: skip
def test_an_odd_mail_is_left_out_and_counted(mail, caplog):
    good = "From x 2026\nFrom: Ana\n\nHello\n\n"
    assert paragraphs(f"{good}From x 2026\n{mail}\n\n{good}") == ["Hello", "Hello"]
    assert "Left out: 1 of 3 mails in file (damaged, or too long to be read)." in caplog.text


def test_a_mail_that_is_too_long_is_left_out_whatever_it_holds(monkeypatch, caplog):
    monkeypatch.setattr(mbox, "_LONGEST_MAIL", 1_000)
    monkeypatch.setattr(mbox, "_PIECE", 100)
    good = "From x 2026\nFrom: Ana\n\nHello\n\n"
    sizes = [len(mail) for mail in mbox._mails(file(good + "From x 2026\nA: b\n\n" + "\0" * 9_999 + "\n\n" + good))]
    assert sizes == [len(good) - 12, 1_006, len(good) - 12]
    assert paragraphs(good + "From x 2026\nA: b\n\n" + "x" * 9_999 + "\n\n" + good) == ["Hello", "Hello"]
    assert "Left out: 1 of 3 mails" in caplog.text


def test_a_header_of_letters_is_searched_once():
    assert mbox._BEGIN.pattern.count(b"*") + mbox._BEGIN.pattern.count(b"+") == 1
    assert not mbox.recognises(file("From " + "a" * 200_000 + "\nA: b\n"))


def test_a_page_with_too_many_tags_in_one_another_is_told():
    deep = "<!doctype html><body>" + "<div>" * 500 + "<p>Hello, all</p>"
    assert paragraphs(deep, "a.html") == ["Hello, all"]
    with pytest.raises(UnreadError, match=r"a\.html, which is a page of HTML with more than 512 tags in one another"):
        paragraphs(deep.replace("<p>", "<div>" * 20_000), "a.html")


def test_of_a_row_one_cell_is_taken(monkeypatch):
    content = "a," * 1_000 + "text\n" + "x\n" * 9 + "," * 1_000 + "one\n"
    rows = list(table._table(file(content, "a.csv"), Source("a.csv")))
    assert rows[1:] == [{"text": "one"}]
    assert paragraphs(content, "a.csv") == ["one"]


def test_a_line_without_an_end_is_told(monkeypatch):
    monkeypatch.setattr(plain, "_LONGEST_LINE", 10)
    with pytest.raises(DataError, match=r"lines of 10 characters at most\. a\.csv has a longer one"):
        paragraphs("text\n" + "x" * 99, "a.csv")


@pytest.mark.parametrize(
    ("content", "name"),
    [
        ('id,review\n1,"Good, and\ncheap"\n2,\n3,Bad\n', "a.csv"),
        ('id;review\n1;"Good, and\ncheap"\n2;\n3;Bad\n', "a.csv"),
        ('\ufeffid\treview\r\n1\t"Good, and\ncheap"\r\n2\t\r\n3\tBad\r\n', "a.tsv"),
        ('id,review\r1,"Good, and\rcheap"\r2,\r3,Bad\r', "a.csv"),
        ('{"id": 1, "review": "Good, and\\ncheap"}\n\n{"id": 2, "review": null}\n{"review": "Bad"}\n', "a.jsonl"),
        ('[{"id": 1, "review": "Good, and\\ncheap"}, {"id": 2}, 5, {"review": "Bad"}]', "a.json"),
    ],
)
def test_of_a_table_a_column_is_read(content, name):
    assert paragraphs(content, name, column="review") == ["Good, and\ncheap", "Bad"]
    assert paragraphs(content.replace("review", "text"), name) == ["Good, and\ncheap", "Bad"]
    for column in (None, "title"):
        with pytest.raises(DataError, match=rf"{name}, which is a table: --column names .*one of: id, review"):
            paragraphs(content, name, column=column)


@pytest.mark.parametrize("num_rows", [1, 999, 1000, 1500])
def test_quotation_marks_of_sentences_between_tabs_are_words(num_rows):
    sentences = ['"Yes," he said.', '"And then they left.', 'She "stayed".', '"No."']
    rows = [*sentences, *["Good."] * num_rows]
    assert paragraphs("id\ttext\n" + "".join(f"1\t{row}\n" for row in rows), "a.tsv") == rows
    quoted = [f'"Good ""news"" {i}\nand cheap"' for i in range(num_rows)]  # one stands where the first lines end
    expected = [f'Good "news" {i}\nand cheap' for i in range(num_rows)]
    assert paragraphs("id\ttext\n" + "".join(f"1\t{row}\n" for row in quoted), "a.tsv") == expected


def test_the_first_records_may_lack_what_others_have():
    assert paragraphs('{"n": 1}\n{}\n{"n": 2, "text": "a"}\n{"n": 3}\n', "a.jsonl") == ["a"]


@pytest.mark.parametrize(
    ("content", "name"),
    [('{"text": "a"}\n{"text\n', "a.jsonl"), ("[{]", "a.json"), ("[" * 99_999, "a.json"), ("5", "a.json")],
)
def test_damaged_json_is_told(content, name):
    with pytest.raises(
        DataError, match=r"no JSON of an object a line, or of a list of objects|a table: --column.*one of: none"
    ):
        paragraphs(content, name)


def test_a_cell_is_text_or_nothing():
    cells = [["list"], {"of": "objects"}, 5, "a\0b", "c"]
    assert paragraphs("".join(json.dumps({"text": each}) + "\n" for each in cells), "a.jsonl") == ["5", "ab", "c"]


def test_a_table_may_begin_with_empty_lines():
    assert paragraphs("\n \nid,text\n1,one\n", "a.csv") == ["one"]


@pytest.mark.parametrize("name", ["a.tsv", "a.csv"])
def test_a_table_of_one_column_is_read_whole(name):
    assert paragraphs('text\nOne, two; and "three"\n"Four, ""five"""\n', name) == [
        'One, two; and "three"',
        'Four, "five"',
    ]


def test_a_cell_may_be_a_text_and_other_tables_have_the_cells_of_before():
    before = csv.field_size_limit()
    long = "word " * before
    assert paragraphs(f"id,text\n1,{long}\n", "a.csv") == [long.strip()]
    assert csv.field_size_limit() == before


def test_tabs_part_the_columns_of_a_table_that_is_named_so():
    assert paragraphs("id, which counts, from 1\ttext\n1\tOne, two\n", "a.tsv") == ["One, two"]


def test_a_chat_of_telegram_in_html_is_told():
    page = '<html><body><div class="from_name">Ana</div><div class="text">Olá</div></body></html>'
    with pytest.raises(DataError, match=r"a chat of Telegram with names and times: export it as JSON"):
        paragraphs(page, "messages.html")


def test_of_a_page_its_text_is_read_without_navigation():
    read = paragraphs(PAGE.encode("iso-8859-1"), "day.html")
    assert read == [
        "A day",
        "We went to the sea & the café was shut.",
        "Then we came home, and it was late, and all was well.",
    ]
    assert paragraphs(PAGE.encode("iso-8859-1"), "without-a-name") == read
    assert paragraphs("<p>Short</p>", "a.htm") == ["Short"]


def book():
    """An EPUB of two chapters, which are not in the order of their names."""
    package = (
        '<package xmlns="http://www.idpf.org/2007/opf"><manifest>'
        '<item id="nav" href="nav.xhtml" media-type="application/xhtml+xml" properties="nav"/>'
        '<item id="b" href="text/chapter%20b.xhtml#one" media-type="application/xhtml+xml"/>'
        '<item id="a" href="text/a.xhtml" media-type="application/xhtml+xml"/>'
        '<item id="s" href="style.css" media-type="text/css"/><item media-type="text/html"/></manifest>'
        '<spine><itemref idref="nav"/><itemref idref="b"/><itemref idref="a"/><itemref idref="b"/></spine></package>'
    )
    chapter = '<html xmlns="http://www.w3.org/1999/xhtml"><body><p>Chapter {}.</p><p>It was — late.</p></body></html>'
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("mimetype", "application/epub+zip")
        archive.writestr("META-INF/container.xml", '<c><r><rootfile full-path="OPS/book.opf"/></r></c>')
        archive.writestr("OPS/book.opf", package)
        archive.writestr("OPS/nav.xhtml", "<html><body><p>Contents</p></body></html>")
        archive.writestr("OPS/text/a.xhtml", chapter.format("two"))
        archive.writestr("OPS/text/chapter b.xhtml", chapter.format("one"))
    return content.getvalue()


def test_of_a_book_the_chapters_are_read_in_order():
    late = "It was — late."
    assert paragraphs(book(), "novel.epub") == ["Chapter one.", late, "Chapter two.", late]
    with pytest.raises(DataError, match=r"novel\.epub is damaged|a readable archive\. novel\.epub is not"):
        paragraphs(book().replace(b"rootfile", b"rootfilf"), "novel.epub")
    with pytest.raises(DataError, match=r"which is no text"):
        paragraphs(b"PK\0", "novel.epub")


@pytest.mark.parametrize("name", ["notes", "app.log", "code.py", "a.txt", "README"])
def test_plain_text_of_any_name_is_read_as_it_is(name):
    text = "def f(x):\n    return x\n\n\nlast"
    assert "".join(texts_of(file(text, name), Source(name))) == text


def test_compressed_files_are_told_by_the_name_within(tmp_path):
    path = tmp_path / "a.csv.gz"
    path.write_bytes(gzip.compress(b"text\none\ntwo\n"))
    assert list(texts_of(TextFile.on_disk(path), Source(path))) == ["one\n\n", "two\n\n"]


def test_what_is_no_text_is_told():
    with pytest.raises(DataError, match=r"Received: a\.png, which is no text, but an image"):
        format_of(file(b"\x89PNG\0\0", "a.png"), Source("a.png"))


@pytest.mark.parametrize(
    ("module", "name"), [("resiliparse.extract.html2text", "a.html"), ("resiliparse.parse.encoding", "a")]
)
def test_without_the_library_it_is_named(monkeypatch, module, name):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(DataError, match=re.escape(install_command("texts"))):
        paragraphs("<p>caf\xe9</p>".encode("latin-1"), name)
