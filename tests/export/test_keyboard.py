"""The pack for a keyboard: what is in it, and what its card says."""

import errno
import os
import re

import pytest
from arpa_file import ArpaFile
from counted_runs import make_counted

from kerasptb.conversion import export_litert
from kerasptb.data import Subwords, Vocabulary
from kerasptb.export import export_arpa, export_keyboard
from kerasptb.export.arpa import CountedWords
from kerasptb.export.c import export_c
from kerasptb.export.keyboard import _ENGLISH, _read
from kerasptb.runs.files import COUNTS, IN_THE_PACKAGE, METRICS, WORDS
from kerasptb.utils.errors import ExportError
from kerasptb.utils.files import write_json

TEXT = "The cat , the dog and the cats sat .\nDon't say the cat sat : the dog sat , 12 times .\n" * 2
RECORD = {"name": "my `odd`\nletters.txt", "location": "/home/me/letters.txt", "digest": "1"}
METRICS_OF_RUN = {"test_perplexity_every_word": 65.7328, "test_word_perplexity": 331.34, "test_unknown_share": 0.0}

pytestmark = pytest.mark.fast_cases(1)  # a pack takes seconds


def files_of(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


@pytest.fixture(scope="module", params=["subwords", "words"])
def run(request, make_run, tmp_path_factory):
    words = ["the", "cat", "dog", "sat", "'s", "N", ",", "unseen", "<unk>", "<eos>"]
    tokenizer = Vocabulary(words) if request.param == "words" else Subwords.train([TEXT], 300)
    folder = tmp_path_factory.mktemp("runs") / "run"
    run = make_counted(make_run, folder, tokenizer, TEXT, **RECORD)
    write_json(run.folder / METRICS, METRICS_OF_RUN)
    return run


@pytest.fixture(scope="module")
def pack(run):
    return export_keyboard(run.folder, run.folder.parent / "packs" / "pack")


def test_what_is_in_it(run, pack):
    tokenizer = f"model.{run.vocabulary.FILE}"
    files = [
        "CARD.md",
        "c/core.c",
        "c/core.h",
        "c/main.c",
        "c/model.c",
        "c/model.h",
        "model.tflite",
        tokenizer,
        "ngrams.arpa",
        "words.txt",
    ]
    assert files_of(pack) == sorted(files)
    assert type(run.vocabulary).load(pack / tokenizer) == run.vocabulary


def test_its_parts_are_what_each_export_writes(run, pack, tmp_path):
    export_litert(run, tmp_path / "model.tflite", quantize=True)
    export_c(run, tmp_path / "c", name=pack.name)
    export_arpa(run, tmp_path / "ngrams.arpa")
    for name in ("model.tflite", "c/model.c", "c/model.h", "ngrams.arpa"):
        assert (tmp_path / name).read_bytes() == (pack / name).read_bytes(), name


def test_words_are_listed_with_how_often_they_come(run, pack):
    lines = [line.split("\t") for line in (pack / "words.txt").read_text(encoding="utf-8").split("\n")[:-1]]
    found = {word: int(number) for word, number in lines}
    assert list(found.values()) == sorted(found.values(), reverse=True)
    if run.vocabulary.spells:
        twice = ["The", "Don't", "and", "cats", "say", "times"]
        assert found == {"the": 8, "sat": 6, "cat": 4, "dog": 4, **dict.fromkeys(twice, 2)}
    else:
        assert found == {"the": 8, "sat": 6, "cat": 4, "dog": 4, "'s": 0, "unseen": 0}
    assert set(found) <= set(ArpaFile(pack / "ngrams.arpa").words)


def test_the_card_tells_what_was_read_and_names_each_file(run, pack):
    card = (pack / "CARD.md").read_text(encoding="utf-8")
    assert card.startswith("# my 'odd' letters.txt\n")
    assert "`my 'odd' letters.txt`: 50 words, signs and ends of sentences. The texts that it was trained on" in card
    assert "perplexity of a token 65.73, of a word 331.3, share of unknown words 0." in card
    assert set(re.findall(r"^- `([^`]+)`: ", card, re.MULTILINE)) - {"my 'odd' letters.txt"} == {
        name.partition("/")[0] for name in files_of(pack) if name != "CARD.md"
    }
    assert "/home/me" not in card
    assert "Not here" not in card


def test_without_counts_there_are_no_n_grams_and_the_card_says_so(run, tmp_path):
    counts = (run.folder / COUNTS).read_bytes()
    (run.folder / COUNTS).unlink()
    pack = export_keyboard(run, tmp_path / "pack")
    (run.folder / COUNTS).write_bytes(counts)
    assert {"CARD.md", "c/model.c", "model.tflite", "words.txt"} < set(files_of(pack))
    assert not (pack / "ngrams.arpa").exists()
    words = (pack / "words.txt").read_text().split("\n")[:-1]
    assert words[:2] == (["the", "sat"] if run.vocabulary.spells else ["the", "cat"])
    assert "\t" not in "".join(words)
    card = (pack / "CARD.md").read_text()
    assert (
        "## Not here\n\n- `ngrams.arpa`: Expected a run with the counts of its training text. `kerasptb count" in card
    )
    assert str(run.folder) not in card


def test_without_words_there_is_no_list_of_them(make_run, tmp_path):
    run = make_counted(make_run, tmp_path / "run", Subwords.characters(), TEXT)
    for name in (COUNTS, WORDS):
        (run.folder / name).unlink()
    pack = export_keyboard(run, tmp_path / "pack")
    assert files_of(pack) == [
        "CARD.md",
        "c/core.c",
        "c/core.h",
        "c/main.c",
        "c/model.c",
        "c/model.h",
        "model.tflite",
        "model.tokenizer.json",
    ]
    assert re.findall(
        r"^- `([\w.]+)`: Expected a run with the counts", (pack / "CARD.md").read_text(), re.MULTILINE
    ) == [
        "ngrams.arpa",
        "words.txt",
    ]


def test_english_names_the_licences_of_its_texts(small_english, tmp_path):
    pack = export_keyboard("english", tmp_path / "pack")
    assert "`english`: 11 million words of books" in (pack / "CARD.md").read_text()
    page = (IN_THE_PACKAGE / "CARD.md").read_text(encoding="utf-8")
    column = re.findall(r"^\| .* \| ([^|]*) \|$", page, re.MULTILINE)
    licences = [licence for licence in column if licence != "licence" and "public domain" not in licence]
    assert len(licences) == 9
    for licence in licences:
        assert licence in _ENGLISH


def test_what_began_with_english_tells_its_texts_too(make_run, tmp_path, small_english):
    text, training = {"digest": "1"}, {"preset": "auto", "epochs": 1, "start_from": "english"}
    settings = {"vocabulary_size": 2, "embedding_size": 4, "units": [5], "batch_size": 2, "num_steps": 3}
    run = make_run(tmp_path / "run", Vocabulary(["a", "<unk>"]), settings, data=text, training=training)
    assert list(_read(run, None)) == [
        f"`english`: {_ENGLISH}",
        "`text`. The texts that it was trained on keep their licences.",
    ]


def test_nothing_is_overwritten_or_half_written(run, pack, tmp_path, room_for, monkeypatch):
    before = (pack / "CARD.md").read_bytes()
    with pytest.raises(ExportError, match="which is taken"):
        export_keyboard(run, pack)
    with room_for(2000), pytest.raises(OSError, match=re.escape(os.strerror(errno.EFBIG))):
        export_keyboard(run, tmp_path / "full")

    def write(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(CountedWords, "write", write)
    with pytest.raises(OSError, match=re.escape(os.strerror(errno.ENOSPC))):
        export_keyboard(run, tmp_path / "full")
    assert (pack / "CARD.md").read_bytes() == before
    assert not list(tmp_path.iterdir())


def test_a_model_alone_has_no_words(model, tmp_path):
    with pytest.raises(ExportError, match=r"Expected a run, .*Received: LanguageModel"):
        export_keyboard(model, tmp_path / "pack")
