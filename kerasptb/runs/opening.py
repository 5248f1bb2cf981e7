"""A training, begun in a new run folder or resumed in its own: what it is, before its first step."""

import dataclasses
import datetime
import importlib.metadata
import platform
import random
from pathlib import Path

import keras
import numpy as np

import kerasptb
from kerasptb.arguments import ModelArguments, TextRecord
from kerasptb.data import Corpus, DataError, load_corpus
from kerasptb.models import LanguageModel
from kerasptb.ops import platform as platforms
from kerasptb.runs.budget import plan_training
from kerasptb.runs.damage import RunError
from kerasptb.runs.files import METRICS
from kerasptb.runs.recipe import check_texts, facts_of, settings_of_recipe, with_tokens
from kerasptb.runs.run import Run, create_run, load_resumed
from kerasptb.runs.settings import CONFIG, RunSettings, check_divides
from kerasptb.runs.start import choose_start
from kerasptb.runs.teacher import with_teacher
from kerasptb.utils import peers
from kerasptb.utils.files import new_folder, write_json

_CHOSEN = ("precision", "seed")


@dataclasses.dataclass(frozen=True)
class Job:
    """A training, begun or resumed.

    Attributes:
        run: the `Run`.
        corpus: the `Corpus`.
        model: the `LanguageModel`.
        source: the `Run` whose weights to begin with, if it has been read already.
        begin: when it was begun, in seconds of `time.monotonic`; `None` if it is resumed.
        choice: what was chosen for it and why, a line; or "".
    """

    run: Run
    corpus: Corpus
    model: LanguageModel
    source: Run | None = None
    begin: float | None = None
    choice: str = ""

    @property
    def settings(self) -> RunSettings:
        """The run's `RunSettings`."""
        return self.run.settings


def open_job(data, asked, reading, out, resume, begin, callbacks):
    """Returns the `Job` of a training, begun or resumed: by the first of several processes; the others open its folder.

    Args:
        data: the text, as `load_corpus` takes it; `None` for "auto", or for the resumed run's.
        asked: the result of `asked_settings`.
        reading: dict of further arguments of `load_corpus`, `None` for those that are not named.
        out: the run folder; `None` for a new one in `runs`.
        resume: whether to go on with the run in it.
        begin: when the training was asked for, in seconds of `time.monotonic`.
        callbacks: those that it has besides the recipe's.

    Raises:
        ValueError: for what cannot be trained (`RunError`, `DataError`); then no folder has been made.
    """
    opened, workers = [], peers.count()

    def by_first():
        job = (
            _resume(data, asked, reading, out, workers)
            if resume
            else _begin(data, asked, reading, out, workers, begin, callbacks)
        )
        opened.append(job)
        return str(opened[0].run.folder)

    folder = peers.by_first(by_first)
    return opened[0] if workers == 1 else _resume(data, {}, {}, folder, workers)


def _begin(data, asked, reading, out, workers, begin, callbacks):
    """Makes a run folder; raises before that for what cannot be trained."""
    data = "auto" if data is None else data
    reading = {name: value for name, value in reading.items() if value is not None}
    # A settings file may hold `null` for what is drawn or chosen.
    model = {name: value for name, value in asked["model"].items() if value is not None or name not in _CHOSEN}
    asked = {**asked, "model": model}
    preset = asked["training"].get("preset")
    source, asked, reading = choose_start(data, asked, with_tokens(preset, data, reading))
    if preset is None and source is not None:
        preset = source.settings.training.preset
        reading = with_tokens(preset, data, reading)
    corpus = load_corpus(data, **reading)
    preset = preset or ("notebook" if corpus.vocabulary.kind == "words" else "auto")
    words = len(corpus.vocabulary)
    if (size := asked["model"].get("vocabulary_size", words)) != words:
        raise DataError(
            f"Expected a model of the text's {words} {corpus.vocabulary.kind}. Received: vocabulary_size={size}"
        )
    text = TextRecord(
        **{name: getattr(corpus, name) for name in ("name", "source", "digest", "is_sample", "location")},
        vocabulary_size=words,
        vocabulary_digest=corpus.vocabulary.digest,
        vocabulary_limit=reading.get("vocabulary_size"),
        tokens=corpus.vocabulary.kind,
        keep_lines=corpus.keep_lines,
        of_words=corpus.of_words,
    )
    seed, versions = random.randrange(2**31), _versions()

    def settings_by(facts):
        arguments, batches, training, recipe = settings_of_recipe(preset, facts, asked, source, workers)
        arguments = ModelArguments(**{"seed": seed, **arguments, "vocabulary_size": words})
        return RunSettings(arguments, batches, training, recipe, text, versions)

    facts = facts_of(asked, len(corpus.train), source)
    first = settings_by(facts)
    taught = with_teacher(first.training, corpus.vocabulary, workers)
    check_divides(first.model.batch_size, workers)
    # Before a model with a state of so many rows, or a folder, is made.
    check_texts(corpus, first.model.batch_size, first.model.num_steps)
    if taught.minutes is not None and workers > 1:
        raise ValueError("Expected epochs: what they take is timed in one process. Received: minutes with workers")
    deadline = None if taught.minutes is None else begin + 60 * taught.minutes
    settings, choice = plan_training(corpus, settings_by, facts, deadline, callbacks)
    model = LanguageModel(**settings.model.as_dict())
    arguments = ModelArguments(**model.get_config())  # with the name of its dtype policy
    training = dataclasses.replace(settings.training, teacher_digest=taught.teacher_digest)
    settings = dataclasses.replace(settings, model=arguments, training=training)
    made = None
    if out is None:
        out, made = new_folder(Path("runs") / f"{preset}-{datetime.datetime.now():%Y%m%d-%H%M%S}"), True
    return Job(create_run(out, settings, corpus.vocabulary, made), corpus, model, source, begin, choice)


def _resume(data, asked, reading, out, workers):
    """Opens a run folder; raises if what is asked for contradicts the run."""
    run = load_resumed(out)
    text = run.settings.data
    check_divides(run.settings.model.batch_size, workers)
    try:
        run.settings.check_asked(asked)
        has = {
            "tokens": text.tokens,
            "vocabulary_size": text.vocabulary_limit or text.vocabulary_size,  # the text may have fewer than asked for
            "keep_lines": text.keep_lines,
            "vocabulary": run.vocabulary,
        }
        for name, value in reading.items():
            if value not in (None, has[name]):
                raise ValueError(f"{name}={has[name]!r}. Received: {name}={value!r}")
    except ValueError as error:
        raise RunError(f"A resumed run keeps its settings: {run.folder} has {error}") from None
    corpus = data if isinstance(data, Corpus) else run.load_corpus(data)
    if corpus.digest != text.digest:
        raise RunError(
            f"A resumed run keeps its text: {run.folder} was trained on {text.source}. "
            f"Received: {corpus.source}, another text or vocabulary"
            f"{' (each version of Python has a sample of its own)' if text.name == corpus.name == 'sample' else ''}"
        )
    with_teacher(run.settings.training, run.vocabulary, workers)
    return Job(run, corpus, LanguageModel(**run.settings.model.as_dict()))


def record_resumption(job, epochs, done, report):
    """Writes what a resumed training changes of a run, its number of epochs and the place of its text; returns it."""
    settings = job.settings
    if epochs is not None:
        if epochs < done:
            report(f"{done} epochs are done already, and `epochs` counts all of them: none is left to train.")
        training = dataclasses.replace(settings.training, epochs=max(epochs, done))
        settings = dataclasses.replace(settings, training=training)
    if job.corpus.location is not None:  # the text may have moved
        text = dataclasses.replace(settings.data, location=job.corpus.location)
        settings = dataclasses.replace(settings, data=text)

    def write():
        write_json(job.run.folder / CONFIG, settings.to_config())
        (job.run.folder / METRICS).unlink(missing_ok=True)  # the results of fewer epochs

    peers.by_first(write)
    return dataclasses.replace(job, run=dataclasses.replace(job.run, settings=settings))


def report_differences(job, report):
    """Says what has changed since the run began, and with it the last bits of what is computed."""
    now = _versions()
    changes = [
        f"{name} {value} (now {now.get(name, 'none')})"
        for name, value in job.settings.versions.items()
        if now.get(name) != value
    ]
    if changes:
        report(f"The run began with {'; '.join(changes)}. Its last bits may be others than without an interruption.")


def _versions():
    return {
        "kerasptb": kerasptb.__version__,
        "python": platform.python_version(),
        keras.backend.backend(): importlib.metadata.version(keras.backend.backend()),
        "keras": keras.__version__,
        "numpy": np.__version__,
        "processors": platforms.processors(),
    }
