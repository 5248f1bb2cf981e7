import gzip
import tarfile
import time

import pytest

from kerasptb.data import Subwords
from kerasptb.data.sources.text_file import TextFile
from kerasptb.data.text_format import TextFormat
from kerasptb.runs.request import Request
from kerasptb.training.budget import Speed
from kerasptb.training.planning import plan_training

TEXT = "".join(f"It was the {word} of times.\n\n" for word in ("best", "worst", "age", "end") * 100)
SIZE = {"units": (8,), "embedding_size": 8, "batch_size": 2, "num_steps": 5, "seed": 1}


@pytest.fixture
def text(tmp_path):
    path = tmp_path / "novel.txt.gz"
    path.write_bytes(gzip.compress(TEXT.encode()))
    return path


def test_several_processes_are_not_timed(text, monkeypatch):
    monkeypatch.setattr("kerasptb.training.budget.time_training", lambda *_: Speed(100.0, 0.1, 3.0))
    request = Request(text, TextFormat(vocabulary_size=280), {**SIZE, "batch_size": 4}, training={"preset": "auto"})
    begin = time.monotonic()
    alone, together = (plan_training(request, workers, begin) for workers in (1, 2))
    assert (alone.settings.training.minutes, alone.deadline) == (30, begin + 1800)
    assert (together.settings.training.minutes, together.settings.training.epochs, together.deadline) == (
        None,
        60,
        None,
    )


def test_minutes_choose_a_recipe_that_fills_them(tmp_path, monkeypatch):
    monkeypatch.setattr("kerasptb.training.budget.time_training", lambda *_: Speed(1.0, 0.1, 3.0))
    (tmp_path / "words.txt").write_text(TEXT)
    request = Request(tmp_path / "words.txt", TextFormat("words"), SIZE, training={"minutes": 2.0})
    settings = plan_training(request, workers=1, begin=time.monotonic()).settings
    assert (settings.data.tokens, settings.training.preset) == ("words", "auto")
    assert settings.reasons["preset"] == "it fills the minutes"


def test_what_is_chosen_has_its_reason_and_what_is_named_none(text):
    request = Request(text, model={**SIZE, "seed": 1, "word_dropout": 0.5, "keep_prob": 0.8}, training={"epochs": 10})
    settings = plan_training(request, workers=1, begin=0.0).settings
    expected = {
        "tokens": "<unk> is seldom or never in the text",
        "preset": "the text is read in subwords",
        "recurrent_kernel_dropout": "the text is read 10 times",
    }
    if settings.model.precision == "bfloat16":
        expected["precision"] = "this processor multiplies it"
    assert settings.reasons == expected
    assert settings.choices[0] == "tokens subwords, since <unk> is seldom or never in the text"
    assert settings.model.recurrent_kernel_dropout == pytest.approx(3 / 33 * 0.2, abs=1e-3)
    assert settings.to_config()["reasons"] == expected


@pytest.mark.parametrize("kind", ["compressed", "archive"])
def test_a_text_is_unpacked_once_and_read_twice_for_subwords_of_its_own(text, tmp_path, monkeypatch, kind):
    if kind == "archive":
        (tmp_path / "texts").mkdir()
        for split in ("train", "valid", "test"):
            (tmp_path / "texts" / f"{split}.txt").write_text(TEXT)
        text = tmp_path / "texts.tgz"
        with tarfile.open(text, "w:gz") as tar:
            tar.add(tmp_path / "texts", "texts")
    unpacked, read, opened = [], [], gzip.GzipFile.read

    def unpack(file, *arguments):
        unpacked.append(len(piece := opened(file, *arguments)))
        return piece

    lines = TextFile.text

    def count(file, *arguments):
        read.append(file.path)
        return lines(file, *arguments)

    monkeypatch.setattr(gzip.GzipFile, "read", unpack)
    monkeypatch.setattr(TextFile, "text", count)
    request = Request(text, model=SIZE, training={"epochs": 1})
    plan_training(request, workers=1, begin=0.0)
    size = sum(unpacked)  # the beginning twice: is it a tar, or another kind of file?
    of_splits = [path for path in read if path != str(text)]
    decoded = 3 if kind == "archive" else 0  # each member once, to see that it is in UTF-8; else the whole
    # Each is judged by pieces of it, and read; the training text also for its signs, and for the subwords.
    assert len(of_splits) == 8 + decoded
    read.clear()
    cut = TextFormat(tokenizer=Subwords.train([TEXT], 270))
    plan_training(Request(text, cut, SIZE, training={"epochs": 1, "preset": "auto"}), workers=1, begin=0.0)
    assert sum(unpacked) == 2 * size
    assert len([path for path in read if path in of_splits]) == 7 + decoded
