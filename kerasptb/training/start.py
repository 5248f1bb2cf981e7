"""What a training begins with: the weights of a run, those of the model of English, or none."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kerasptb.arguments import LAYERS
from kerasptb.data import Corpus
from kerasptb.data.sources.opening import OpenedText
from kerasptb.data.text_format import TextFormat
from kerasptb.presets import get_preset
from kerasptb.run import Run, load_run
from kerasptb.runs.files import ENGLISH
from kerasptb.runs.folder import is_in_the_package
from kerasptb.runs.request import Request
from kerasptb.runs.settings import NO_START
from kerasptb.training.teacher import open_teacher
from kerasptb.utils.types import Folder

# Texts of more bytes, some million words, gain nothing by it; those of which English's subwords write a word with more
# of them are in another language, or no prose (docs/own-text.md).
MOST_BYTES = 6_000_000
_MOST_TOKENS_A_WORD = 1.9
_GLANCE = 100_000  # characters by which that is judged


def recorded_start(start_from: Folder | None) -> str | None:
    """Returns how a run records what it begins with, in any working directory; `None` if nothing is named."""
    is_none = str(start_from) == NO_START and not Path(NO_START).exists()
    return NO_START if is_none else recorded_run(start_from)


def recorded_run(folder: Folder | None) -> str | None:
    """Returns how a run is recorded in the settings of another, in any working directory; `None` for `None`."""
    if folder is None:
        return None
    return ENGLISH if is_in_the_package(folder) else str(Path(folder).absolute())


def describe_start(name: str | None) -> str:
    """Returns what a training begins with, by how that is recorded, for people to read."""
    if name in (None, NO_START):
        return "new weights"
    whose = "the model of English in the package" if name == ENGLISH else name
    return f"the weights of {whose} (--from none begins with nothing)"


@dataclasses.dataclass(frozen=True)
class Start:
    """What a new training begins with, and what follows from it."""

    source: Run | None  # whose weights to begin with
    name: str | None  # how that is recorded
    preset: str | None  # the recipe that is named, or that of the source; None for what suits the text
    format: TextFormat  # how the text is read
    reasons: dict[str, str]  # why what was chosen is what it is, by the names of settings


def choose_start(text: Corpus | OpenedText, request: Request) -> Start:
    """Returns what a training of a text begins with.

    A text that is read in subwords is cut by the tokenizer of the teacher, or of the run that the training begins with,
    unless another is named. If nothing is named at all, a small text in English begins with the model of English.
    """
    preset, name, teacher = (request.training.get(each) for each in ("preset", "start_from", "teacher"))
    source = None if name in (None, NO_START) else load_run(name)
    if source is not None and (other := _other_layers(source, request.model)):
        own = source.settings.model.as_dict()
        has, received = (", ".join(f"{each}={values[each]!r}" for each in other) for values in (own, request.model))
        raise ValueError(f"Expected a model of the same layers as {name}, which has {has}. Received: {received}")
    cutting, reasons = source if teacher is None else open_teacher(teacher), {}
    format = _format_by_preset(text, request.format, preset)
    if not isinstance(text, Corpus) and not format.says_tokens and text.usual_tokens == "subwords":
        if cutting is None and name is None and preset in (None, "auto"):
            source = cutting = _english_for(text, request.model)
            name = None if source is None else ENGLISH
            reasons = {} if source is None else {"start_from": "the text is small, and in English"}
        if cutting is not None and cutting.vocabulary.spells:
            format = dataclasses.replace(format, tokenizer=cutting.vocabulary)  # then the model knows each token
            reasons["tokens"] = f"{'what the training begins with' if teacher is None else 'the teacher'} reads them"
    if preset is None and source is not None:
        preset = source.settings.training.preset
        reasons["preset"] = "what the training begins with has it"
        format = _format_by_preset(text, format, preset)
    return Start(source, None if name == NO_START else name, preset, format, reasons)


def _format_by_preset(text: Corpus | OpenedText, format: TextFormat, preset: str | None) -> TextFormat:
    """Returns how a text is read: in the tokens of a recipe, where one is named and nothing else says them."""
    if preset is None or isinstance(text, Corpus):
        return format
    return format.or_tokens(get_preset(preset).tokens)


def _other_layers(source: Run, asked: Mapping[str, Any]) -> list[str]:
    """Returns the arguments that ask for other layers than a run has, whose weights would not fit; a list of names."""
    own = source.settings.model.as_dict()
    return [name for name in LAYERS if asked.get(name) is not None and asked[name] != own[name]]


def _english_for(raw: OpenedText, asked: Mapping[str, Any]) -> Run | None:
    """Returns the model of English in the package, if a training on a text should begin with it; else `None`."""
    text = raw.files["train"]
    if text.size >= MOST_BYTES or not is_in_the_package(ENGLISH):
        return None
    english, words = load_run(ENGLISH), next(text.text(), "")[:_GLANCE].split()
    if _other_layers(english, asked):
        return None
    is_like_it = len(english.vocabulary.encode(" ".join(words))) <= _MOST_TOKENS_A_WORD * len(words)
    return english if is_like_it else None
