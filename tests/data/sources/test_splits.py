import pytest

from kerasptb.data import DataError
from kerasptb.data.sources.splits import cut_text
from kerasptb.data.sources.text_file import TextFile


def parts(path):
    return {split: b"".join(file.chunks()) for split, file in cut_text(TextFile.on_disk(path))[0].items()}


def test_a_text_is_cut_at_the_ends_of_lines(tmp_path):
    path = tmp_path / "all.txt"
    path.write_bytes(b"".join(b"line %d\n" % i for i in range(100, 300)))  # lines of nine bytes
    cut = parts(path)
    assert b"".join(cut.values()) == path.read_bytes()
    # 0.9 of 1,800 bytes lies at a line's beginning, whose end is the next one.
    assert [len(part) for part in cut.values()] == [1629, 90, 81]
    assert all(part.endswith(b"\n") for part in cut.values())
    assert [file.size for file in cut_text(TextFile.on_disk(path))[0].values()] == [1629, 90, 81]


def test_a_text_of_one_line_is_cut_at_spaces(tmp_path):
    path = tmp_path / "text8.txt"
    path.write_text(" ".join(["word"] * 1000))
    cut = parts(path)
    assert [len(part.split()) for part in cut.values()] == [900, 50, 50]
    assert b"".join(cut.values()) == path.read_bytes()


@pytest.mark.parametrize("content", ["", "one\n", "one two three"])
def test_a_text_that_is_too_short_is_told(tmp_path, content):
    path = tmp_path / "all.txt"
    path.write_text(content)
    with pytest.raises(DataError, match="long enough"):
        cut_text(TextFile.on_disk(path))


def test_a_text_of_too_few_lines_is_cut_at_spaces(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text("A title\n" + "one two three four five " * 400)
    cut = parts(path).values()
    assert b"".join(cut) == path.read_bytes()
    assert [len(part.split()) for part in cut] == [1802, 100, 100]


def test_a_text_is_cut_at_the_ends_of_paragraphs(tmp_path):
    path = tmp_path / "all.md"
    path.write_text("one two\nthree\n\n" * 100)
    cut = parts(path).values()
    assert [len(part.split()) for part in cut] == [273, 15, 12]
    assert all(part.endswith(b"\n\n") for part in cut)


def test_a_text_with_the_line_ends_of_windows_is_cut_at_the_ends_of_paragraphs(tmp_path):
    path = tmp_path / "all.txt"
    path.write_bytes(b"one two\r\nthree\r\n\r\n" * 100)
    cut = parts(path).values()
    assert [len(part.split()) for part in cut] == [273, 15, 12]
    assert all(part.endswith(b"\r\n\r\n") for part in cut)


def test_no_part_is_blank(tmp_path):
    path = tmp_path / "all.txt"
    # The last empty lines: between the cuts, and at the end.
    path.write_text("one\n" * 220 + "\n" + "two\n" * 3 + "\n" + "three four\n" * 5 + "\n\n")
    assert [part.split()[-1] for part in parts(path).values()] == [b"one", b"four", b"four"]
    # The last line's end, and a line without anything.
    path.write_text("one\n" * 200 + "two three four five six seven eight nine ten eleven twelve\n\n")
    assert [len(part.split()) for part in parts(path).values()] == [201, 3, 7]


def test_parts_are_about_as_long_as_was_asked(tmp_path, caplog):
    """Where empty lines are too far apart, a text is cut at the ends of lines."""
    path = tmp_path / "items.txt"
    path.write_text("an item\n%\n" * 950 + "\n" + "an item\n%\n" * 48 + "\nan item\n%\n")
    sizes = [len(part) for part in parts(path).values()]
    assert sizes == [8998, 500, 494]
    assert not caplog.records


def test_uneven_parts_are_told(tmp_path, caplog):
    path = tmp_path / "words.txt"
    path.write_text("one " * 880 + "x" * 250 + " one" * 50)
    assert [len(part) for part in parts(path).values()] == [3771, 4, 195]
    assert "words.txt is cut into uneven parts, of 3,771, 4, 195 bytes" in caplog.text
    assert "name a folder with train.txt, valid.txt and test.txt" in caplog.text


def test_a_text_without_spaces_is_cut_at_full_stops(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text("道可道非常道。" * 1000)
    assert [len(part.decode()) for part in parts(path).values()] == [6307, 350, 343]
