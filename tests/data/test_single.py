import pytest

import kerasptb
from kerasptb.data import DataError
from kerasptb.data.single import split_file


def parts(path):
    return {split: b"".join(file.chunks()) for split, file in split_file(path).items()}


def test_a_text_is_cut_at_the_ends_of_lines(tmp_path):
    path = tmp_path / "all.txt"
    path.write_bytes(b"".join(b"line %d\n" % i for i in range(100, 300)))  # lines of nine bytes
    cut = parts(path)
    assert b"".join(cut.values()) == path.read_bytes()
    # 0.9 of 1,800 bytes lies at a line's beginning, whose end is the next one.
    assert [len(part) for part in cut.values()] == [1629, 90, 81]
    assert all(part.endswith(b"\n") for part in cut.values())
    assert [file.size for file in split_file(path).values()] == [1629, 90, 81]


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
        split_file(path)


def test_a_single_text_is_a_corpus(tmp_path):
    path = tmp_path / "All.TXT"
    path.write_text("the cat sat\n" * 200)
    corpus = kerasptb.load_corpus(path)
    assert [len(corpus.split(name)) for name in ("train", "valid", "test")] == [4 * 181, 4 * 10, 4 * 9]
    assert list(corpus.vocabulary.words) == ["<eos>", "cat", "sat", "the"]
    assert "last tenth is half validation, half test" in corpus.source
    assert kerasptb.load_corpus(corpus.location).digest == corpus.digest


def test_a_text_of_too_few_lines_is_cut_at_spaces(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text("A title\n" + "one two three four five " * 400)
    cut = parts(path).values()
    assert b"".join(cut) == path.read_bytes()
    assert [len(part.split()) for part in cut] == [1802, 100, 100]
