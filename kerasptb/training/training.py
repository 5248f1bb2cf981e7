"""Trains a language model into a run folder: the function behind `kerasptb train`."""

import contextlib
import functools
import os
import shlex
import time
from collections.abc import Iterable, Sequence
from typing import Any, Literal

import keras
import numpy as np

from kerasptb.callbacks import ResetStates, StopOnDivergence, WordsPerSecond
from kerasptb.callbacks.checkpoint import check_minutes
from kerasptb.callbacks.early_stopping import has_stalled
from kerasptb.data import UNK, Corpus, Tokenizer
from kerasptb.data.sizes import TextSizes, describe
from kerasptb.data.sources.source import TextSource
from kerasptb.evaluation.counted_perplexity import evaluate_counts
from kerasptb.explanation import Explanation, explain
from kerasptb.models import LanguageModel
from kerasptb.models.evaluation import evaluate_both
from kerasptb.models.transfer import transfer_weights
from kerasptb.ops import platform as platforms
from kerasptb.ops.plan import note_as_reported
from kerasptb.reading import CountedReader
from kerasptb.reading.reader import open_reader
from kerasptb.run import Run, load_run
from kerasptb.runs import files
from kerasptb.runs.counted_text import make_counts, remove_counts
from kerasptb.runs.request import Request
from kerasptb.trainers import peers
from kerasptb.training.asked import read_request
from kerasptb.training.budget import describe_length
from kerasptb.training.fitting import Callbacks, compile_model, freeze, make_batches
from kerasptb.training.planning import Plan, open_run, record_resumption, report_differences
from kerasptb.training.progress import ProgressBar, is_terminal
from kerasptb.training.recorder import Recorder
from kerasptb.training.start import describe_start
from kerasptb.utils.files import atomic_write, finite, write_json
from kerasptb.utils.interrupts import Signals
from kerasptb.utils.status_line import at_work
from kerasptb.utils.types import Backend, CellName, Folder, Precision, Report, Tokens

_LATE = 0.1  # what a training of some minutes may take longer, as a share of them, without a word
_GLANCE, _SHOWN = 100, 40  # tokens of the test text among which words for an example are looked for, its characters


def train(
    data: Corpus | TextSource | None = None,
    preset: str | None = None,
    *,
    epochs: int | None = None,
    minutes: float | None = None,
    steps_per_epoch: int | None = None,
    batch_size: int | None = None,
    num_steps: int | None = None,
    tokens: Tokens | None = None,
    tokenizer: Tokenizer | str | os.PathLike[str] | None = None,
    vocabulary_size: int | None = None,
    keep_lines: bool | None = None,
    backend: Backend | None = None,
    precision: Precision | None = None,
    seed: int | None = None,
    units: int | Sequence[int] | None = None,
    embedding_size: int | None = None,
    cell: CellName | None = None,
    keep_prob: float | None = None,
    optimizer: str | None = None,
    learning_rate: float | None = None,
    early_stopping: int | None = None,
    start_from: str | os.PathLike[str] | None = None,
    teacher: str | os.PathLike[str] | None = None,
    teacher_weight: float | None = None,
    freeze: str | Iterable[str] | None = None,
    counts: Literal["auto", "none"] | None = None,
    config: str | os.PathLike[str] | None = None,
    out: str | os.PathLike[str] | None = None,
    resume: bool = False,
    checkpoint_minutes: float = 5.0,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    verbose: Literal["auto", 0, 1, 2] = "auto",
    model_arguments: dict[str, Any] | None = None,
    batch_arguments: dict[str, Any] | None = None,
    training_arguments: dict[str, Any] | None = None,
) -> Run:
    """Trains a language model and writes a run folder.

    Args:
        data: what `load_corpus` takes: "auto", "ptb", "sample", a folder, an archive or a `Corpus`. `None` for "auto",
            or for the text of the resumed run.
        preset: name of a recipe in `kerasptb.presets`; `None` for "auto" if the text is read in subwords or characters,
            or minutes are named, else "notebook", or for that of the resumed run.
        epochs: total number of epochs; `None` for the preset's. With `resume=True`, a larger number trains longer.
        minutes: about how long the training takes on this machine, in place of `epochs`: as many as fit, by the time of
            some steps before it, or as help a short text (see `presets`). An epoch then reads a part of a long text
            (see `make_dataset`), so that there is a first one soon. `None` for what `epochs` take; with "auto" and no
            epochs, for 30.
        steps_per_epoch: number of batches of an epoch, the first ones of the text; `None` for all.
        batch_size: rows of a batch; `None` for the preset's.
        num_steps: words of a row; `None` for the preset's.
        tokens: "words", "subwords" or "characters", see `load_corpus`; `None` for what suits the text.
        tokenizer: a `Tokenizer`, a tokenizer.json or a SentencePiece .model to cut the text with; `None` for one of
            its own.
        vocabulary_size: the most tokens, see `load_corpus`; `None` for all words, or for what suits the text's size.
        keep_lines: whether each line is a paragraph, see `load_corpus`; `None` for what suits, or the resumed run has.
        backend: what runs the recurrence and the cross-entropy, see `LanguageModel`; `None` for "auto".
        precision: see `LanguageModel`; `None` for the preset's where this machine has it ("bfloat16" with "auto" and
            "characters"), else for "float32", or the precision of Keras' global dtype policy.
        seed: seed of the weights and of dropout, an int: on one processor, the same seed gives the same run to the bit.
            `None` draws one, which is recorded in the run's config.json.
        units: sizes of the recurrent layers, ints; `None` for the preset's.
        embedding_size: size of a word's vector; `None` for the preset's.
        cell: what the recurrent layers are, see `LanguageModel`; `None` for the preset's.
        keep_prob: probability of keeping a unit in dropout, before, between and after the layers; `None` for the
            preset's.
        optimizer: name of an optimizer in place of the preset's, see `optimizers.by_name`.
        learning_rate: its rate, or the largest one of a preset whose rate varies; `None` for the preset's, or with
            `optimizer` for that optimizer's own.
        early_stopping: number of epochs without a lower validation perplexity after which the training ends; `None`
            trains all epochs.
        start_from: folder of a run whose weights to begin with, token by token: see `models.transfer.transfer_weights`;
            "english", for the model in this package; or "none". The model then has that run's sizes and
            regularisation, and its preset, where nothing else is named, and a text in subwords is cut by its tokenizer,
            unless `tokens` or another tokenizer is named.
            `None` for "english" if that helps: for a text in English of less than a million words that is read in
            subwords, with the preset "auto", and no sizes of layers, tokens, tokenizer or size of one, or teacher
            named; else for none.
        teacher: folder of a run, or "english", from whose distribution of the next word the model learns besides the
            text, see `LanguageModel.distill`; over the same tokens. A text in subwords is cut by its tokenizer, where
            no other is named. It needs TensorFlow, and one process. `None` for none.
        teacher_weight: weight of that distribution, from 0 to 1; the text has the rest. `None` for 0.5.
        freeze: names of layers whose weights stay, such as `["embedding"]`, or one name; `None` for none.
        counts: "auto" counts the training text at the end, and keeps its counts where they help on the validation text
            (see `kerasptb.reading.counts`): all that reads with the run uses them. "none": none. `None` for "auto".
        config: a run folder, or a JSON file in the form of its config.json, whose settings and text hold where no
            argument says another; each of its parts may be left out, and each setting in them. `None` for none.
        out: the run folder, which must be empty or new; `None` for `runs/PRESET-TIME`.
        resume: whether to continue the run in `out` from its latest checkpoint, to the results that it would have had.
            The run keeps its settings and its text; an argument that contradicts them is an error.
        checkpoint_minutes: time between two checkpoints within an epoch, see `callbacks.Checkpoint`.
        callbacks: further Keras callbacks. If one has hooks for batches, it is called for every batch; otherwise
            several batches are trained between two updates of the progress bar. The preset sets the learning rate: a
            callback that sets it too, such as ReduceLROnPlateau, has no effect and causes a warning or an error.
        verbose: 1 for a line an epoch, with a bar while it is trained if the output is a terminal, 2 for the line
            alone, 0 for nothing; "auto" for 1.
        model_arguments: dict of arguments of `LanguageModel` in place of the preset's, such as `{"keep_prob": 0.5}`.
        batch_arguments: dict that replaces those of the preset's batches, such as `{"jitter": False}` (see
            `presets.Recipe`).
        training_arguments: dict that replaces settings of the preset's training, such as `{"weight_decay": 0.05}` (see
            `Recipe.settings`).

    Returns:
        A `Run`. Its `metrics` contain the perplexities of the best epoch (lowest on the validation text). The test
        perplexity in streams is `None` if the test text is too short for a batch.

    Raises:
        ValueError: if an argument or the data are wrong (`RunError`, `DataError`).
        TrainingDivergedError: if the loss becomes NaN or infinite; the weights of the last whole epoch are kept.
        KeyboardInterrupt: if interrupted before the first epoch ends. After that, an interrupt writes a checkpoint,
            evaluates the whole epochs and returns them.
        SystemExit: for SIGTERM, after writing a checkpoint.
    """
    begin, request = time.monotonic(), read_request(locals())  # of the arguments: there is nothing else yet
    if {"epochs", "minutes"} <= request.training.keys() and not resume:
        epochs, minutes = request.training["epochs"], request.training["minutes"]
        raise ValueError(f"Expected epochs or minutes. Received both: epochs={epochs} and minutes={minutes:g}")
    check_minutes(checkpoint_minutes)
    return _train(request, begin, out, resume, checkpoint_minutes, callbacks, verbose if peers.is_first() else 0)


def _train(
    request: Request,
    begin: float,
    out: Folder | None,
    resume: bool,
    checkpoint_minutes: float,
    callbacks: Callbacks,
    verbose: str | int,
) -> Run:
    """Plans a training or takes it up again, and goes through it in the run folder, which is locked meanwhile."""
    report: Report = functools.partial(print, flush=True) if verbose else lambda line: None
    run, plan = open_run(request, out, resume, begin, callbacks)
    with contextlib.ExitStack() as stack:
        held = []
        peers.by_first(lambda: held.append(stack.enter_context(files.lock_run(run.folder))))
        stack.enter_context(Signals())
        recorder = Recorder(run, checkpoint_minutes, *held)
        if resume:
            report_differences(run, report)
            run = record_resumption(run, plan.corpus, request.training, recorder.epoch, report)
        interrupted = False
        try:
            _begin_with(run, plan, recorder, report)
            _fit(run, plan, recorder, callbacks, verbose, report)
        except KeyboardInterrupt:
            if not recorder.history:
                raise
            interrupted = True
            report(f"\nInterrupted: {recorder.epoch} whole epochs are kept. Evaluating; interrupt again to leave.")
        finally:
            recorder.close()
            there = peers.is_first() and held[0].place() == run.folder
            # A checkpoint whose writing fails may have moved the one before it already.
            checkpoints = [run.folder / name for name in (files.RESUME, files.RESUME_BEFORE)]
            if there and not resume and not any(path.exists() for path in checkpoints):
                # It has nothing that a new start would not make again.
                files.remove(run.folder, itself=run.made)
        _finish(run, plan, recorder, interrupted, report)
    return run


def _begin_with(run: Run, plan: Plan, recorder: Recorder, report: Report) -> None:
    """Freezes layers and, if nothing is trained yet, takes the weights of another run, as the settings say."""
    model, training = plan.model, run.settings.training
    freeze(model, training.freeze)
    if training.start_from is not None and not recorder.epoch and not recorder.batch:
        source = plan.source or load_run(training.start_from)
        vocabulary = run.vocabulary
        with at_work(f"Loading {training.start_from}"):
            # Only its weights are read, so any processor will do.
            trained = source.load_model(backend="auto", precision="float32")
            known = transfer_weights(trained, source.vocabulary, model, vocabulary)
        report(f"Training begins with {describe_start(training.start_from)}.")
        if known < len(vocabulary):
            report(f"They know {known:,} of the {len(vocabulary):,} {vocabulary.kind}.")


def _fit(run: Run, plan: Plan, recorder: Recorder, callbacks: Callbacks, verbose: str | int, report: Report) -> None:
    """Compiles the model and trains it, from where the recorder is."""
    settings, model = run.settings, plan.model
    batches, valid_batches = make_batches(plan.corpus, settings, recorder.epoch)
    of_recipe = compile_model(model, settings, plan.recipe, len(batches), callbacks, recorder.batch)
    explanation = _explain(run, plan, report)
    if verbose:
        for row in explanation:
            note_as_reported(row.reason)
    epochs, patience = settings.training.epochs, settings.training.early_stopping
    values = [row["val_perplexity"] for row in recorder.history]
    if patience is not None and values and has_stalled(values, patience):
        epochs = recorder.epoch  # it was ended already
        report(f"The last {patience} epochs were not the best, so the training has ended.")
    logs = []
    if keras.backend.backend() == "tensorflow":  # TensorFlow writes the logs; other backends work without it
        logs = [keras.callbacks.TensorBoard(run.folder / files.LOGS, write_graph=False)]
    # A bar on a terminal says itself how far it is.
    with contextlib.nullcontext() if is_terminal() else at_work("Training") as stage:
        model.fit(
            batches,
            epochs=epochs,
            initial_epoch=recorder.epoch,
            validation_data=valid_batches,
            callbacks=[
                ResetStates(),
                WordsPerSecond(),
                StopOnDivergence(),
                *of_recipe,
                *callbacks,
                recorder,
                *logs,
                *([ProgressBar(stage)] if verbose else []),
            ],
            verbose=verbose,
        )


def _explain(run: Run, plan: Plan, report: Report) -> Explanation:
    """Says and writes what is going to run, and why nothing faster does, and returns it."""
    corpus, model, training = plan.corpus, plan.model, run.settings.training
    explanation = explain(model)

    def write() -> None:
        with atomic_write(run.folder / files.EXPLANATION) as temporary:
            temporary.write_text(f"{explanation}\n", encoding="utf-8")

    peers.by_first(write)
    counts = {name: corpus.count(name) for name in ("train", "valid", "test")}
    sizes = ", ".join(f"{name} {count.tokens:,}" for name, count in counts.items())
    report(f"Data: {corpus.source} ({corpus.vocabulary.kind}: {sizes}; vocabulary {len(corpus.vocabulary):,})")
    if lines := corpus.format.describe_lines(sum(count.joined for count in counts.values())):
        report(lines)
    shares = {name: count.unknown_share for name, count in counts.items()}
    if any(shares.values()):
        report(f"Unknown words: {', '.join(f'{name} {share:.1%}' for name, share in shares.items())}")
    report(f"Model: {model.count_params():,} parameters, preset {training.preset}, seed {model.seed}")
    for choice in run.settings.choices:
        report(f"Chosen: {choice}")
    report(f"Length: {describe_length(training.minutes, training.epochs, run.settings.batches.parts)}")
    if training.teacher is not None:
        report(f"Teacher: {training.teacher}, weight {training.teacher_weight:g}")
    if (workers := peers.count()) > 1:
        report(f"Workers: {workers}, each with {model.batch_size // workers} rows of a batch")
    if (note := platforms.drawback(model.precision)) is not None:
        report(f"Precision {model.precision} is {note}.")
    report(f"{explanation}\nRun folder: {run.folder}")
    return explanation


def _count(run: Run, corpus: Corpus, model: LanguageModel, report: Report) -> dict[str, float]:
    """Counts the training text; returns the perplexities of the test text with its counts, by how they are used."""
    if run.settings.training.counts == "none":
        remove_counts(run)
        return {}
    network = open_reader(model)
    if (counted := make_counts(run, network, corpus, report)) is None:
        return {}
    with_counts, going_on = evaluate_counts(CountedReader(network, counted), corpus.test)
    return {"with_counts": with_counts.perplexity, "with_counts_going_on": going_on.perplexity}


def _figures(counts: TextSizes, perplexity: float, way: str = "") -> dict[str, float | None]:
    """Returns the figures of the test text, where every word is read, by their names in metrics.json."""
    return {
        f"test_perplexity_every_word{way}": perplexity,
        f"test_word_perplexity{way}": finite(counts.word_perplexity(perplexity)),
        f"test_character_perplexity{way}": finite(counts.character_perplexity(perplexity)),
        f"test_bits_per_byte{way}": counts.bits_per_byte(perplexity),
    }


def _finish(run: Run, plan: Plan, recorder: Recorder, interrupted: bool, report: Report) -> None:
    """Evaluates the best epoch's weights and writes metrics.json."""
    corpus, model = plan.corpus, run.load_model()
    best = recorder.best
    # The validation text has filled a batch, but the test text may be too short for one: then only `strict` exists.
    strict, streams = evaluate_both(model, corpus.test)
    test, counts = None if streams is None else streams.perplexity, corpus.count("test")
    counted = peers.by_first(lambda: _count(run, corpus, run.load_model() if peers.count() > 1 else model, report))
    plans = [layer.plan() for layer in model.layers if isinstance(layer, keras.layers.RNN)]
    metrics = {
        "train_perplexity": best["perplexity"],
        "valid_perplexity": best["val_perplexity"],
        "test_perplexity": test,
        **_figures(counts, strict.perplexity),
        "test_unknown_share": counts.unknown_share,
        "best_epoch": best["epoch"],
        "epochs": len(recorder.history),
        "words_per_second": float(np.median([row["words_per_second"] for row in recorder.history])),
        "preset": run.settings.training.preset,
        "backend": next((plan for plan in plans if not plan.is_native), plans[0]).backend,
        "precision": model.precision,
        "parameters": model.count_params(),
        "seed": model.seed,
        "data": corpus.name,
        "interrupted": interrupted,
    }
    for way, perplexity in counted.items():
        metrics |= _figures(counts, perplexity, f"_{way}")
    peers.by_first(lambda: write_json(run.folder / files.METRICS, metrics))
    shown = f"(too short for {model.batch_size} streams)" if test is None else f"{test:.2f}"
    report(
        f"Best epoch {best['epoch']}: train perplexity {best['perplexity']:.2f}, "
        f"valid {best['val_perplexity']:.2f}, test {shown} (in {model.batch_size} streams; "
        f"every word: {strict.perplexity:.2f})"
    )
    report(f"The test text: {describe(counts, strict.perplexity)}")
    for way, perplexity in counted.items():
        report(f"  {way.replace('_', ' ')}: {describe(counts, perplexity)}")
    _tell_how_to_go_on(run, plan, recorder, interrupted, report)


def _tell_how_to_go_on(run: Run, plan: Plan, recorder: Recorder, interrupted: bool, report: Report) -> None:
    """Says how the training went, where its results are, and what may be done with them."""
    corpus = plan.corpus
    minutes = run.settings.training.minutes or 0.0
    late = 0.0 if plan.deadline is None else (time.monotonic() - plan.deadline) / 60
    if late > _LATE * minutes:
        least = "so long takes an epoch with what follows it, or " if len(recorder.history) == 1 else ""
        report(f"It took {minutes + late:.1f} minutes: {least}the machine was busier than when its steps were timed.")
    if corpus.is_sample:
        report("These are perplexities of the built-in sample text: they compare with nothing published.")
    report(f"Results: {run.folder / files.METRICS}, {run.folder / files.CURVES}")
    folder = shlex.quote(str(run.folder))
    if interrupted:
        report(f"To go on: {files.resume_command(run.folder)}")
    else:
        words = [word for word in run.vocabulary.decode(corpus.test[:_GLANCE]).split() if word.isalpha()]
        text = " ".join(words[:3])[:_SHOWN] or UNK
        report(f"Next words after a text: kerasptb suggest {folder} {shlex.quote(text)}")
