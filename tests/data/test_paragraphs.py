import textwrap
from pathlib import Path

import pytest

from kerasptb.data import DataError, paragraphs
from kerasptb.data.paragraphs import Paragraphs, is_wrapped, iter_lines, pieces_of
from kerasptb.data.sources.text_file import TextFile

WRAPPED = """\
It was a bright cold day in the novel that nobody had
written, and the lines of it ended where the next word
would have crossed the margin.

A second paragraph went on in the same way, which was no
surprise to those who had read the first one.
"""
VERSE = """\
The lines of a poem
are short, and each of them ends
where the poet wants.
"""
SONNET = """\
Shall I compare thee to a summer's day?
Thou art more lovely and more temperate:
Rough winds do shake the darling buds of May,
And summer's lease hath all too short a date:
"""
SPEECH = (
    "whoever wraps lines by hand or by a machine leaves the last one short, and the others full; what else would they "
    "do, since the page has a margin and the words have lengths? nobody has yet found another way to do it"
)
GERMAN = (
    "Alle glücklichen Familien gleichen einander, jede unglückliche Familie ist auf ihre eigene Weise unglücklich. Im "
    "Hause der Familie herrschte Verwirrung. Die Frau hatte erfahren, dass der Mann ein Verhältnis mit der Französin "
    "hatte, die früher im Hause Erzieherin gewesen war, und hatte dem Mann erklärt, dass sie nicht bleiben könne."
)
JAPANESE = "吾輩は猫である。名前はまだ無い。どこで生れたかとんと見当がつかぬ。何でも薄暗いじめじめした所で泣いていた。"
CHINESE = "道可道非常道名可名非常名無名天地之始有名萬物之母故常無欲以觀其妙常有欲以觀其徼此兩者同出而異名同謂之玄"

THAI = "กาลครั้งหนึ่งนานมาแล้วมีเด็กหญิงคนหนึ่งอาศัยอยู่กับคุณยายในหมู่บ้านเล็ก"
KOREAN = "옛날 옛적에 깊은 산속에 나무꾼이 살고 있었습니다.\n나무꾼은 매일 산에 올라가 나무를 했습니다."


def cut(text, size):
    return "\n".join(text[i : i + size] for i in range(0, len(text), size))


def rows(form, number=60):
    return "\n".join(form.format(i=i, j=i * 7919 % 997, word=SPEECH.split()[i % 30]) for i in range(number)) + "\n"


def read(text, **arguments):
    paragraphs = Paragraphs(**arguments)
    lines = iter_lines(TextFile.of_bytes(text.encode(), "text"))
    return list(paragraphs.read(lines)), paragraphs.joined


def test_lines_of_a_wrapped_text_are_joined():
    paragraphs, joined = read(WRAPPED)
    first, second = WRAPPED.removesuffix("\n").split("\n\n")
    assert paragraphs == [first.replace("\n", " "), second.replace("\n", " ")]
    assert joined == 3


def test_lines_are_kept_where_they_mean_something():
    assert read(VERSE) == (VERSE.splitlines(), 0)
    assert read(WRAPPED, keep_lines=True) == ([line for line in WRAPPED.splitlines() if line], 0)
    code = "def f(x):\n    if x:\n        return 1\n"
    assert read(code) == (code.splitlines(), 0)


@pytest.mark.parametrize(
    ("text", "wrapped"),
    [
        (WRAPPED, True),
        (textwrap.fill(SPEECH * 3, 60).upper(), True),
        (textwrap.fill(GERMAN, 70), True),
        ("\n".join(textwrap.fill(SPEECH, 72, initial_indent="   ") for _ in range(4)), True),
        ("\n".join(textwrap.fill(SPEECH, 72, initial_indent="- ", subsequent_indent="  ") for _ in range(4)), True),
        ("\n".join(textwrap.fill(f"ANNA: {SPEECH}", 72) for _ in range(4)), True),
        (cut(JAPANESE * 4, 40), True),
        (cut(CHINESE * 4, 30), True),
        (f"{WRAPPED}\n```\n{rows('run --with {word} {i}', 3)}```\n\n- one\n- two\n", True),
        (f"{WRAPPED}\n{SONNET}", True),
        (f"{SPEECH}\n\n{SPEECH}\n", False),
        (VERSE, False),
        (SONNET * 3, False),
        ("床前明月光，\n疑是地上霜。\n舉頭望明月，\n低頭思故鄉。\n", False),
        ("\n".join(JAPANESE[: 8 + 13 * i % 40] for i in range(30)), False),
        (Path(paragraphs.__file__).read_text(), False),
        (textwrap.fill(SPEECH * 3, 72, initial_indent="# ", subsequent_indent="# "), False),
        (textwrap.fill(SPEECH * 3, 72, initial_indent="> ", subsequent_indent="> "), False),
        (rows("{i},2026-11-30,0.{j:06}{j:06}{j:06},0.{j:06}{j:06}"), False),
        (rows("a{word},b{word},some,more,cells,without,spaces,in,them,{word}"), False),
        (rows("| {word:<20} | {word:<20} | {i:>6} |"), False),
        (rows("{word:<20}{word:<20}{word:>20}"), False),
        (rows("Nov 30 19:04:{i:02} host sshd[1000]: session opened for user root by {word}"), False),
        (rows('{{"id": {i}, "text": "{word} and a sentence of about the same length"}}'), False),
        (rows("2026-11-30, 19:{i:02} - Anna: {word} and {word} and {word}"), False),
        (rows("{j:064x}"), False),
        (rows("Sentence {i} says as much as the one before it does, and ends."), False),
        ("", False),
    ],
)
def test_a_text_is_judged_as_a_whole(text, wrapped):
    assert is_wrapped([text]) == wrapped


def test_prose_and_sources_are_told_by_all_of_a_text_or_pieces_from_all_over_it(monkeypatch):
    code = "    if x:\n        return 1\n    # a comment\n" * 40
    parts = [TextFile.of_bytes(text.encode(), "x") for text in (WRAPPED * 3, code * 10, "A word.\n")]
    assert not is_wrapped(pieces_of(parts))
    assert is_wrapped(pieces_of(parts[:1]))
    monkeypatch.setattr(paragraphs, "_JUDGED", 2_000)
    monkeypatch.setattr(paragraphs, "_PIECE", 100)
    pieces = list(pieces_of(parts))
    assert len(pieces) == 21  # of 202 of 100 characters
    assert WRAPPED.startswith(pieces[0])
    assert not is_wrapped(pieces)


def test_what_is_plainly_no_prose_is_left_within_wrapped_prose():
    words = f"alpha  |  beta\n{rows('{word:<20}{word:>30}', 3)}"
    commands = "```\nrun a command that is as long as a line of wrapped text\nrun it\n```\n"
    for block in (SONNET, words, "one\n%\ntwo\n%\n", commands, "- one\n- two\n", "ANNA: Yes?\nBOB: No.\n"):
        assert read(f"{WRAPPED}\n{block}\n{WRAPPED}")[0] == [*read(WRAPPED)[0], *block.splitlines(), *read(WRAPPED)[0]]


def test_items_and_turns_are_paragraphs():
    for first in ("- ", "12. ", "ANNA: ", "\u2014 "):
        turn = f"{first}{SPEECH}"
        for indent in ("", "    "):
            text = "\n".join(textwrap.fill(turn, 72, subsequent_indent=indent) for _ in range(3))
            assert read(text)[0] == [turn] * 3
    title = "3. A title\n      with a text under it, which goes on for so long that it is\n      wrapped, too.\n"
    assert read(title)[0][0] == "3. A title"


@pytest.mark.parametrize(
    ("text", "joined"),
    [
        (cut(JAPANESE, 25), JAPANESE),
        (cut(CHINESE, 25), CHINESE),
        (cut(f"{CHINESE[:24]}\u201c{CHINESE}\u201d", 25), f"{CHINESE[:24]}\u201c{CHINESE}\u201d"),
        (cut(f"{CHINESE[:21]}2026年{CHINESE}", 23), f"{CHINESE[:21]}2026年{CHINESE}"),
        (f"{CHINESE[:20]}Keras\n{CHINESE[20:45]}", f"{CHINESE[:20]}Keras {CHINESE[20:45]}"),
        (cut(THAI, 45), THAI),
        (KOREAN, KOREAN.replace("\n", " ")),
    ],
    ids=["japanese", "chinese", "quotation", "digits", "latin", "thai", "korean"],
)
def test_scripts_without_spaces_are_joined_without_one(text, joined):
    assert read(text)[0] == [joined]


def test_an_indented_line_begins_a_paragraph():
    first = (
        "The lines of this old book have no empty line in between,\nbut each paragraph begins with spaces, as in print."
    )
    assert read(f"{first}\n  {first}")[0] == [first.replace("\n", " ")] * 2


def test_line_ends_of_other_systems_and_empty_lines_with_spaces():
    for end in ("\r\n", "\r"):
        assert read(WRAPPED.replace("\n", end))[0] == read(WRAPPED)[0]
    assert read("a\n \t\nb  \n\n\nc")[0] == ["a", "b", "c"]


@pytest.mark.parametrize("size", [(1 << 22) - 1, 1 << 22, (1 << 22) + 1])
def test_lines_are_the_same_wherever_a_piece_ends(size):
    text = "é" * ((size - 1) // 2) + "x" * ((size - 1) % 2) + "\nb\n"
    assert list(iter_lines(TextFile.of_bytes(text.encode(), "text"))) == text.splitlines()


def test_what_to_do_about_a_line_of_megabytes_is_said(monkeypatch):
    monkeypatch.setattr("kerasptb.data.paragraphs._LONGEST_LINE", 20)
    with pytest.raises(DataError, match=r"text has one of more than 20 characters\. Break it into lines, as `fold -s`"):
        list(iter_lines(TextFile.of_bytes(b"word " * 10, "text")))
