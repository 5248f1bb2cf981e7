"""Documents of programs, notebooks, subtitles and Markdown, made here as those programs write them."""

import gzip
import io
import json
import re
import zipfile

import pytest

from kerasptb.data import DataError, Source
from kerasptb.data.corpus import open_text
from kerasptb.data.sources import formats, room
from kerasptb.utils.extras import install_command

WORDS = "A text of some words that is long enough to be cut into three parts. " * 40


def read(tmp_path, name, content, **others):
    """The whole text of a file, beside a plain one that is long enough to be cut."""
    (tmp_path / "texts").mkdir(exist_ok=True)
    (tmp_path / "texts" / name).write_bytes(content)
    (tmp_path / "texts" / "zz.txt").write_text(f"{WORDS}\n\n" * 3)
    files = open_text(str(tmp_path / "texts")).files
    whole = "".join("".join(file.text()) for file in files.values())
    return whole.partition(WORDS.strip())[0].strip()


def zipped(members):
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in members.items():
            archive.writestr(name, text)
    return content.getvalue()


W = 'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"'


def docx(body):
    return zipped({"[Content_Types].xml": "<Types/>", "word/document.xml": f"<w:document {W}>{body}</w:document>"})


def odt(body):
    names = 'xmlns:text="urn:oasis:names:tc:opendocument:xmlns:text:1.0" xmlns:office="urn:o"'
    content = f"<office:document-content {names}>{body}</office:document-content>"
    return zipped({"mimetype": "application/vnd.oasis.opendocument.text", "content.xml": content})


def test_paragraphs_of_word_processors(tmp_path):
    body = (
        "<w:p><w:pPr><w:t>no</w:t></w:pPr><w:r><w:t>One </w:t></w:r><w:r><w:t>paragraph.</w:t></w:r></w:p>"
        "<w:p><w:del><w:r><w:delText>gone</w:delText><w:t>gone</w:t></w:r></w:del><w:r><w:t>Two</w:t><w:tab/>"
        "<w:t>columns &amp; a line</w:t><w:br/><w:t>end.</w:t></w:r></w:p>"
    )
    assert read(tmp_path, "a.docx", docx(body)) == "One paragraph.\n\nTwo columns & a line\n\nend."
    box = "<w:p><w:r><w:t>In a box.</w:t></w:r></w:p>"
    body = (
        f"<w:p><w:r><w:t>Round a box,</w:t></w:r><w:Choice>{box}</w:Choice><w:Fallback>{box}</w:Fallback><w:r>"
        "<w:t> and on.</w:t></w:r></w:p><w:sdt><w:sdtPr><w:docPartGallery w:val='Table of Contents'/></w:sdtPr>"
        "<w:sdtContent><w:p><w:t>One 3</w:t></w:p></w:sdtContent></w:sdt>"
        "<w:sdt><w:sdtContent><w:p><w:t>kept</w:t></w:p></w:sdtContent></w:sdt>"
    )
    assert read(tmp_path, "a.docx", docx(body)) == "In a box.\n\nRound a box, and on.\n\nkept"
    body = (
        "<text:h>A head</text:h><text:p>One<text:s/><text:span>paragraph</text:span>.</text:p>"
        "<text:tracked-changes><text:p>gone</text:p></text:tracked-changes><text:p>Two.</text:p>"
    )
    assert read(tmp_path, "a.docx", odt(body)) == "A head\n\nOne paragraph.\n\nTwo."
    note = "<text:note-citation>1</text:note-citation><text:note-body><text:p>A note.</text:p></text:note-body>"
    body = f"<text:p>It goes{note}\n   on.<office:annotation><text:p>no</text:p></office:annotation></text:p>"
    assert read(tmp_path, "a.docx", odt(body)) == "A note.\n\nIt goes on."


def test_what_is_no_document_of_a_word_processor_is_told(tmp_path):
    with pytest.raises(DataError, match=r"sheet\.xlsx, which is a document of an office program: save it as a text"):
        open_text(_written(tmp_path, "sheet.xlsx", zipped({"[Content_Types].xml": "<T/>", "xl/a.xml": "<x/>"})))
    bomb = '<!DOCTYPE x [<!ENTITY a "aaaa">]><x>&a;</x>'
    content = zipped({"[Content_Types].xml": "<T/>", "word/document.xml": bomb})
    with pytest.raises(DataError, match=r"bomb\.docx, which is a damaged document \(it declares a DOCTYPE\)"):
        open_text(_written(tmp_path, "bomb.docx", content))


def _written(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    return str(tmp_path / name)


RTF = rb"""{\rtf1\ansi\ansicpg1252{\fonttbl\f0 Arial;}
\f0 Ein Dom\'e4nenname, \b fett\b0 .\par
Ein \u8222?Satz\u8220?.\par
{\field{\*\fldinst{HYPERLINK "https://example.org"}}{\fldrslt a link}}.\par}"""


def test_rtf_is_read_and_no_codes_of_it(tmp_path):
    pytest.importorskip("striprtf", reason="striprtf is not installed")
    assert read(tmp_path, "a.rtf", RTF) == "Ein Domänenname, fett.\n\nEin „Satz“.\n\na link."
    assert read(tmp_path, "a.rtf", RTF).count("example.org") == 0
    fonts = rb"{\fonttbl{\f0\fnil\fcharset0 Arial;}{\f1\fnil\fcharset204{\*\falt A} Arial Cyr;}}"
    letters = rb"\f1 \'cf\'f0\'e8\f0  C:\\f1\\new \{\u-10179?\u-8704?\}"
    assert read(tmp_path, "a.rtf", rb"{\rtf1\ansi" + fonts + letters + rb"\par}") == "При C:\\f1\\new {😀}"
    with pytest.raises(DataError, match=r"b\.rtf, which is a damaged document in RTF"):
        open_text(_written(tmp_path, "b.rtf", rb"{\rtf1 \u99999999}"))


@pytest.mark.parametrize("part", [rb"\f1 ", rb"\\f1 ", rb"\f1\fcharset1 x", rb"{\field{\*\fldinst{"])
def test_nothing_in_rtf_is_looked_for_in_all_that_follows(tmp_path, monkeypatch, part):
    striprtf = pytest.importorskip("striprtf.striprtf", reason="striprtf is not installed")
    given = []
    monkeypatch.setattr(striprtf, "rtf_to_text", lambda content, *_, **__: given.append(content) or WORDS)
    read(tmp_path, "a.rtf", rb"{\rtf1{\fonttbl" + part * 1_000)
    assert len(given[0]) > 3_000
    assert all(len(found[0]) < 40 for found in re.finditer(r"\\f\d[^\n]*", given[0]))  # where an end is looked for
    assert all(font.endswith(";") for font in re.findall(r"\\fcharset\d*.{3}", given[0]))
    assert "fldinst" not in given[0]


def pdf(*pages, font="/BaseFont /Courier"):
    """A PDF of pages with lines at places: triples of x, y and a text."""
    kids = [4 + 2 * number for number in range(len(pages))]
    objects = [
        "<< /Type /Catalog /Pages 2 0 R >>",
        f"<< /Type /Pages /Kids [{' '.join(f'{kid} 0 R' for kid in kids)}] /Count {len(pages)} >>",
        f"<< /Type /Font /Subtype /Type1 {font} >>",
    ]
    for kid, lines in zip(kids, pages, strict=True):
        drawn = "".join(f"BT /F 10 Tf {x} {y} Td ({text}) Tj ET\n" for x, y, text in lines)
        box = "/MediaBox [0 0 400 400] /Resources << /Font << /F 3 0 R >> >>"
        objects.append(f"<< /Type /Page /Parent 2 0 R /Contents {kid + 1} 0 R {box} >>")
        objects.append(f"<< /Length {len(drawn)} >>\nstream\n{drawn}endstream")
    content, places = "%PDF-1.4\n", []
    for number, each in enumerate(objects, 1):
        places.append(len(content))
        content += f"{number} 0 obj\n{each}\nendobj\n"
    table = "".join(f"{place:010} 00000 n \n" for place in places)
    size = len(objects) + 1
    end = f"trailer << /Size {size} /Root 1 0 R >>\nstartxref\n{len(content)}\n%%EOF\n"
    return f"{content}xref\n0 {size}\n0000000000 65535 f \n{table}{end}".encode()


def test_a_pdf_has_paragraphs_of_its_lines(tmp_path):
    pytest.importorskip("pypdfium2", reason="pypdfium2 is not installed")
    lines = [
        (40, 300, "The first line of a paragraph that is full"),
        (40, 288, "and the second one of it, and a third of a"),
        (40, 276, "few words."),
        (40, 240, "Another paragraph stands further below it,"),
        (40, 228, "of two lines."),
        (200, 20, "17"),
    ]
    assert read(tmp_path, "a.pdf", pdf(lines)) == (
        "The first line of a paragraph that is full and the second one of it, and a third of a few words.\n\n"
        "Another paragraph stands further below it, of two lines."
    )
    with pytest.raises(DataError, match=r"empty\.pdf, which is a PDF of pictures, without a text"):
        open_text(_written(tmp_path, "empty.pdf", pdf([])))
    with pytest.raises(DataError, match=r"cut\.pdf, which is a damaged PDF"):
        open_text(_written(tmp_path, "cut.pdf", pdf(lines)[:60]))


def below(top, *lines, left=40):
    """Lines one below the other; two spaces before one indent it."""
    return [(left + 12 * line.startswith("  "), top - 12 * row, line.strip()) for row, line in enumerate(lines)]


def paragraphs(tmp_path, *pages, **choices):
    pytest.importorskip("pypdfium2", reason="pypdfium2 is not installed")
    return read(tmp_path, "a.pdf", pdf(*pages, **choices)).split("\n\n")


def test_words_that_a_pdf_parts_are_whole(tmp_path):
    lines = ["The book of a paragraph that was parted be-", "fore its end, and the law of the Anglo-", "Saxon times,"]
    lines += ["and a ruler of England in the years of 899-", "924, and of that no more than this."]
    assert paragraphs(tmp_path, below(300, *lines)) == [
        "The book of a paragraph that was parted before its end, and the law of the Anglo-Saxon times,",
        "and a ruler of England in the years of 899-924, and of that no more than this.",
    ]
    font = "/BaseFont /Helvetica /Encoding << /BaseEncoding /WinAnsiEncoding /Differences [1 /fi] >>"
    assert paragraphs(tmp_path, below(300, "a \\001sh"), font=font) == ["a fish"]


def test_paragraphs_of_a_pdf_are_told_by_their_first_lines_and_by_their_last_ones(tmp_path):
    lines = ["  One begins further to the right than all", "of its others, and ends where there is none"]
    lines += ["  Two does so too, and it ends in the middle", "of a line.", "Three is not indented, but one of two had"]
    lines += ["room for its first word."]
    assert paragraphs(tmp_path, below(300, *lines)) == [
        "One begins further to the right than all of its others, and ends where there is none",
        "Two does so too, and it ends in the middle of a line.",
        "Three is not indented, but one of two had room for its first word.",
    ]
    items = [
        "\\267 an item of a list whose lines are full,",
        "  and whose second one is indented as are",
        "  others",
    ]
    items += ["\\267 another of them"]
    font = "/BaseFont /Courier /Encoding /WinAnsiEncoding"
    items = [each.replace("267", "225") for each in items]
    assert paragraphs(tmp_path, below(300, *items), font=font) == [
        "• an item of a list whose lines are full, and whose second one is indented as are others",
        "• another of them",
    ]


def test_a_paragraph_goes_on_in_the_next_page_or_column_and_heads_are_no_text(tmp_path):
    def page(number, *lines):
        return [*below(380, f"{number} My book"), *below(30, f"- {number} -", left=200), *below(340, *lines)]

    pages = [
        page(8, "This page has two lines, which are full and", "the second one is so too, since there comes"),
        page(
            9,
            "more of it here.",
            "And a new one that ends a page in a full line.",
            "The end of it is full as much as it can be.",
        ),
        page(10, "Of the page before nothing is left to say.", "It is the last page and this its last line."),
        [
            *below(300, "The first column of a", "page is full up to its"),
            *below(300, "end.", "Then a new one", left=220),
        ],
    ]
    assert paragraphs(tmp_path, *pages) == [
        "8 My book",
        "This page has two lines, which are full and the second one is so too, since there comes more of it here.",
        "And a new one that ends a page in a full line. The end of it is full as much as it can be.",
        "Of the page before nothing is left to say. It is the last page and this its last line.",
        "The first column of a page is full up to its end.",
        "Then a new one",
    ]


def test_a_page_that_is_in_a_pdf_many_times_counts_each_time(tmp_path, monkeypatch):
    pytest.importorskip("pypdfium2", reason="pypdfium2 is not installed")
    kids = b" ".join([b"4 0 R"] * 50)
    content = pdf(below(300, "a", "b" * 60, "c")).replace(b"[4 0 R] /Count 1", b"[%s] /Count 50" % kids)
    monkeypatch.setattr(room, "MAX_UNPACKED_BYTES", 1_000)
    with pytest.raises(
        DataError, match=r"unpack to 1,000 bytes at most, all together\. With .*many\.pdf they unpack to"
    ):
        open_text(_written(tmp_path, "many.pdf", content))


def test_a_page_of_a_pdf_has_a_limit(tmp_path, monkeypatch):
    pytest.importorskip("pypdfium2", reason="pypdfium2 is not installed")
    monkeypatch.setattr(formats.pdf, "_LONGEST_PAGE", 10)
    assert read(tmp_path, "a.pdf", pdf(below(300, "a"), below(300, "x" * 10))).split() == ["a", "x" * 10]
    with pytest.raises(DataError, match=r"long\.pdf, which is a PDF with a page of more than 10 characters"):
        open_text(_written(tmp_path, "long.pdf", pdf(below(300, "a"), below(300, "x" * 11))))


@pytest.mark.parametrize(
    ("name", "content", "module"),
    [("a.pdf", pdf([(9, 9, "a")]), "pypdfium2"), ("a.rtf", RTF, "striprtf.striprtf")],
)
def test_without_its_library_a_document_is_refused_by_what_it_is(tmp_path, monkeypatch, caplog, name, content, module):
    monkeypatch.setitem(__import__("sys").modules, module, None)
    with pytest.raises(
        DataError, match=rf"{name}, which is .*: `{re.escape(install_command('texts'))}` lets it be read"
    ):
        open_text(_written(tmp_path, name, content))
    assert read(tmp_path, name, content) == ""  # beside others it is left out, with a line
    assert install_command("texts") in caplog.text


def test_a_notebook_gives_its_markdown(tmp_path):
    cells = [
        {"cell_type": "markdown", "source": ["# Head\n", "A [link](https://example.org)."]},
        {"cell_type": "code", "source": ["print(1)"], "outputs": [{"text": ["1"]}]},
    ]
    found = read(tmp_path, "a.ipynb", json.dumps({"cells": cells, "nbformat": 4}).encode())
    assert found == "# Head\nA link."
    with pytest.raises(DataError, match=r"b\.ipynb, which is a damaged notebook"):
        open_text(_written(tmp_path, "b.ipynb", b'{"cells": 5}'))


def test_subtitles_give_what_is_spoken(tmp_path):
    srt = b"1\n00:00:01,000 --> 00:00:02,500\n<i>A line,</i>\nand its end.\n\n"
    srt += b"2\n00:00:03,000 --> 00:00:04,000\n- Yes.\n- No.\n"
    assert read(tmp_path, "a.srt", srt) == "A line, and its end.\n\n- Yes.\n\n- No."
    vtt = b"WEBVTT\n\nNOTE no\n\n00:01.000 --> 00:02.000 align:start\n<v Ann>Tom &amp; I.\n\n"
    vtt += (
        b"00:02.000 --> 00:03.000\nTom &amp; I.\nand so<00:02.500><c> on</c>\n\n00:03.000 --> 00:03.010\nand so on\n\n"
    )
    vtt += b"00:03.010 --> 00:04.000\nand so on\n1984\n"
    assert read(tmp_path, "a.srt", vtt) == "Tom & I.\n\nand so on\n\n1984"


def test_markdown_is_read_without_front_matter_and_addresses(tmp_path):
    text = (
        '---\ntitle: No\n---\n# Head\n\nA [link](https://a.example/x_(y) "t") and ![a picture](p.png), `[code](x)`.\n\n'
        "```\n[in](code)\n```\n\n[1]: https://b.example\nSee [there][1].\n"
    )
    assert read(tmp_path, "a.md", text.encode()) == (
        "# Head\n\nA link and a picture, `[code](x)`.\n\n```\n[in](code)\n```\n\nSee there."
    )


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 9, "no text, but an image"),
        (b"\x7fELF" + bytes(range(256)) * 9, "no text, but a program"),
        (gzip.compress(WORDS.encode()), r"no text, but compressed: let its name end in \.gz"),
        (bytes(range(1, 256)) * 9, "no text, or none that is known how to read"),
    ],
)
@pytest.mark.parametrize("encoding", [None, "latin-1", "utf-16-le"])
def test_what_is_no_text_is_refused_by_what_it_is_whichever_encoding_is_named(tmp_path, content, what, encoding):
    path = _written(tmp_path, "a.zip", zipped({"b/a.dat": content}))
    if encoding != "utf-16-le" or what.startswith("no text, but"):  # as which any bytes may be letters
        with pytest.raises(DataError, match=rf"a\.zip/b/a\.dat, which is {what}"):
            open_text(Source(path, encoding=encoding))
