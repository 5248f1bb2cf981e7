"""What a training begins with: the weights of a run, those of the model of English, or none."""

from pathlib import Path

from kerasptb.arguments import SHAPE
from kerasptb.data import Corpus
from kerasptb.data.corpus import usual_tokens
from kerasptb.data.sources import find_corpus
from kerasptb.runs.run import ENGLISH, is_in_the_package, load_run
from kerasptb.runs.settings import NO_START
from kerasptb.runs.teacher import open_teacher

# Texts of more bytes, some million words, gain nothing by it; those of which English's subwords write a word with more
# of them are in another language, or no prose (docs/own-text.md).
MOST_BYTES = 6_000_000
_MOST_TOKENS_A_WORD = 1.9
_GLANCE = 100_000  # characters by which that is judged
_OF_WORDS = ("auto", "ptb", "sample")


def recorded_start(start_from):
    """Returns how a run records what it begins with, in any working directory; `None` if nothing is named.

    Args:
        start_from: a run folder, "english", "none", or `None`.
    """
    if start_from is None or (str(start_from) == NO_START and not Path(start_from).exists()):
        return start_from
    return recorded_run(start_from)


def recorded_run(folder):
    """Returns how a run is recorded in the settings of another, in any working directory; `None` for `None`.

    Args:
        folder: a run folder, or "english".
    """
    if folder is None:
        return None
    return ENGLISH if is_in_the_package(folder) else str(Path(folder).absolute())


def choose_start(data, asked, reading):
    """Returns what a new training begins with, and what follows from it.

    A text that is read in subwords is cut by the tokenizer of the teacher, or of the run that the training begins with,
    unless another is named. If nothing is named at all, a small text in English begins with the model of English.

    Args:
        data: the text, as `load_corpus` takes it.
        asked: the result of `asked_settings`.
        reading: dict of the arguments of `load_corpus` that are named.

    Returns:
        source: the `Run` to begin with, or `None`.
        asked: the settings, with the start that was chosen.
        reading: the arguments of `load_corpus`.
    """
    start, teacher, preset = (asked["training"].get(name) for name in ("start_from", "teacher", "preset"))
    asked = _with_start(asked, None if start == NO_START else start)
    source = None if start in (None, NO_START) else load_run(start)
    cutting = source if teacher is None else open_teacher(teacher)
    if isinstance(data, Corpus) or set(reading) - {"keep_lines"} or data in _OF_WORDS:
        return source, asked, reading
    if cutting is not None:
        if cutting.vocabulary.kind != "subwords" or usual_tokens(find_corpus(data)) != "subwords":
            return source, asked, reading
    elif start is None and preset in (None, "auto") and not set(SHAPE) & set(asked["model"]):
        source = cutting = _english_for(find_corpus(data))
    if cutting is None:
        return None, asked, reading
    asked = asked if source is None else _with_start(asked, start or ENGLISH)
    return source, asked, {**reading, "vocabulary": cutting.vocabulary}  # then the model knows each of them


def _english_for(raw):
    """Returns the model of English in the package, if a training on a `RawCorpus` should begin with it; else `None`."""
    if raw.train.size >= MOST_BYTES or usual_tokens(raw) != "subwords" or not is_in_the_package(ENGLISH):
        return None
    english, words = load_run(ENGLISH), next(raw.train.text(), "")[:_GLANCE].split()
    is_like_it = len(english.vocabulary.encode(" ".join(words))) <= _MOST_TOKENS_A_WORD * len(words)
    return english if is_like_it else None


def _with_start(asked, start):
    training = {name: value for name, value in asked["training"].items() if name != "start_from"}
    return {**asked, "training": training if start is None else {**training, "start_from": start}}
