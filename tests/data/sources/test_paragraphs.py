import pytest

from kerasptb.data.sources.files import SplitFile
from kerasptb.data.sources.paragraphs import Paragraphs, iter_lines

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


def read(text, **arguments):
    paragraphs = Paragraphs(**arguments)
    lines = iter_lines(SplitFile.of_bytes(text.encode(), "text"))
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


def test_an_indented_line_begins_a_paragraph():
    first = (
        "The lines of this old book have no empty line in between,\nbut each paragraph begins with spaces, as in print."
    )
    assert read(f"{first}\n  {first}")[0] == [first.replace("\n", " ")] * 2


def test_line_ends_of_other_systems_and_empty_lines_with_spaces():
    assert read(WRAPPED.replace("\n", "\r\n"))[0] == read(WRAPPED)[0]
    assert read("a\n \t\nb  \n\n\nc")[0] == ["a", "b", "c"]


@pytest.mark.parametrize("size", [(1 << 22) - 1, 1 << 22, (1 << 22) + 1])
def test_lines_are_the_same_wherever_a_piece_ends(size):
    text = "é" * ((size - 1) // 2) + "x" * ((size - 1) % 2) + "\nb\n"
    assert list(iter_lines(SplitFile.of_bytes(text.encode(), "text"))) == text.splitlines()
