"""Trains a language model into a run folder: the function behind `kerasptb train`."""

import contextlib
import datetime
import importlib.metadata
import math
import os
import platform
import random
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

import keras
import numpy as np

import kerasptb
from kerasptb.callbacks import ResetStates, StopOnDivergence, WordsPerSecond
from kerasptb.data import Corpus, DataError, load_corpus
from kerasptb.data.batching import positive_integers
from kerasptb.evaluation import evaluate_both
from kerasptb.explanation import explain
from kerasptb.layers import FusedLSTM
from kerasptb.models import LanguageModel
from kerasptb.models.arguments import KEEP_PROB_RATES
from kerasptb.models.transfer import transfer_weights
from kerasptb.ops import platform as platforms
from kerasptb.ops.plan import default_precision, note_as_told
from kerasptb.presets import get_preset
from kerasptb.runs import run as runs
from kerasptb.runs.progress import ProgressBar
from kerasptb.runs.recipe import inherited, make_batches, make_trainer, recipe_of, training_settings
from kerasptb.runs.recorder import Recorder
from kerasptb.utils import peers
from kerasptb.utils.files import atomic_write, new_folder, write_json
from kerasptb.utils.interrupts import Signals
from kerasptb.utils.types import Backend, Precision

# Batches that one call of Keras' step function trains on. The time between two calls, some 3 ms where a step takes 13,
# is then paid once for so many batches. On a GPU it would be most of a step, so more batches share it. The results are
# the same to the bit.
_STEPS_PER_EXECUTION = 16
_STEPS_PER_EXECUTION_ON_GPU = 32
# Between two calls a training can be interrupted: within some seconds on a slow processor.
_FLOP_PER_EXECUTION = 5e11


def train(
    data: Corpus | str | os.PathLike[str] | None = None,
    preset: str | None = None,
    *,
    epochs: int | None = None,
    steps_per_epoch: int | None = None,
    batch_size: int | None = None,
    num_steps: int | None = None,
    vocabulary_size: int | None = None,
    backend: Backend | None = None,
    precision: Precision | None = None,
    seed: int | None = None,
    units: int | Sequence[int] | None = None,
    embedding_size: int | None = None,
    keep_prob: float | None = None,
    optimizer: str | None = None,
    learning_rate: float | None = None,
    early_stopping: int | None = None,
    start_from: str | os.PathLike[str] | None = None,
    freeze: Iterable[str] | None = None,
    out: str | os.PathLike[str] | None = None,
    resume: bool = False,
    checkpoint_minutes: float = 5.0,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    verbose: Literal["auto", 0, 1, 2] = "auto",
    model_arguments: dict[str, Any] | None = None,
    training_arguments: dict[str, Any] | None = None,
) -> runs.Run:
    """Trains a language model and writes a run folder.

    Args:
        data: what `load_corpus` takes: "auto", "ptb", "sample", a folder, an archive or a `Corpus`. `None` for "auto",
            or for the text of the resumed run.
        preset: name of a recipe in `kerasptb.presets`; `None` for "notebook", or for that of the resumed run.
        epochs: total number of epochs; `None` for the preset's. With `resume=True`, a larger number trains longer.
        steps_per_epoch: number of batches of an epoch, the first ones of the text; `None` for all.
        batch_size: rows of a batch; `None` for the preset's.
        num_steps: words of a row; `None` for the preset's.
        vocabulary_size: maximum number of words to keep; the rest becomes `<unk>`, see `load_corpus`; `None` for all.
        backend: what runs the recurrence and the cross-entropy, see `LanguageModel`; `None` for "auto".
        precision: see `LanguageModel`; `None` for "float32", or the precision of Keras' global dtype policy.
        seed: seed of the weights and of dropout, an int: on one processor, the same seed gives the same run to the bit.
            `None` draws one, which is recorded in the run's config.json.
        units: sizes of the LSTM layers, ints; `None` for the preset's.
        embedding_size: size of a word's vector; `None` for the preset's.
        keep_prob: probability of keeping a unit in dropout, before, between and after the layers; `None` for the
            preset's.
        optimizer: name of an optimizer in place of the preset's, see `optimizers.with_optimizer`.
        learning_rate: its rate, or the largest one of a preset whose rate varies; `None` for the preset's, or with
            `optimizer` for that optimizer's own.
        early_stopping: number of epochs without a lower validation perplexity after which the training ends; `None`
            trains all epochs.
        start_from: folder of a run whose weights to begin with, word by word: see `models.transfer.transfer_weights`.
            The model then has that run's sizes and regularisation, and its preset, where nothing else is named.
        freeze: names of layers whose weights stay, such as `["embedding"]`; `None` for none.
        out: the run folder, which must be empty or new; `None` for `runs/PRESET-TIME`.
        resume: whether to continue the run in `out` from its latest checkpoint, to the results that it would have had.
            The run keeps its settings and its text; an argument that contradicts them is an error.
        checkpoint_minutes: time between two checkpoints within an epoch, see `callbacks.Checkpoint`.
        callbacks: further Keras callbacks. If one has hooks for batches, it is called for every batch; otherwise
            several batches are trained between two updates of the progress bar. The preset sets the learning rate: a
            callback that sets it too, such as ReduceLROnPlateau, has no effect and causes a warning or an error.
        verbose: 1 for a bar that fits the terminal, 2 for a line an epoch as Keras writes it, 0 for nothing; "auto"
            for 1.
        model_arguments: dict of arguments of `LanguageModel` in place of the preset's, such as `{"keep_prob": 0.5}`.
        training_arguments: dict that replaces settings of the preset's training, such as "learning_rate" (see
            `Preset.training_arguments`), or its name in the results, "preset", if little of the preset is left.

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
    epochs, steps_per_epoch, early_stopping = positive_integers(
        epochs=epochs, steps_per_epoch=steps_per_epoch, early_stopping=early_stopping
    ).values()
    given = {
        "embedding_size": embedding_size,
        "units": None if units is None else np.atleast_1d(units).tolist(),
        "batch_size": batch_size,
        "num_steps": num_steps,
        "keep_prob": keep_prob,
        "backend": backend,
        "precision": precision,
        "seed": seed,
    }
    given = _without_none(given) | (model_arguments or {})
    trained = {
        "optimizer": optimizer,
        "learning_rate": learning_rate,
        "early_stopping": early_stopping,
        "start_from": None if start_from is None else str(Path(start_from).absolute()),
        "freeze": None if freeze is None else [str(name) for name in freeze],
    }
    trained = {"steps_per_epoch": steps_per_epoch, **_without_none(trained)}
    verbose = verbose if peers.is_first() else 0
    say = print if verbose else lambda *_, **__: None
    workers = peers.count()
    prepared: list[Any] = []

    def prepare():
        if resume:
            asked = {"vocabulary_size": vocabulary_size, "preset": preset, **given, **trained}
            prepared[:] = _reopen(data, out, _without_none(asked | (training_arguments or {})), workers)
        else:
            source = None if start_from is None else runs.load_run(start_from)
            name = preset or ("notebook" if source is None else recipe_of(source.config["training"]).name)
            settings = training_settings(name, trained, training_arguments or {})
            settings["epochs"] = epochs or settings["epochs"]
            corpus = load_corpus("auto" if data is None else data, vocabulary_size=vocabulary_size)
            sizes = {} if source is None else inherited(source, given)
            prepared[:] = _start(corpus, name, out, sizes | given, settings, vocabulary_size, workers)
        return str(prepared[0].folder)

    folder = peers.by_first(prepare)
    run, corpus, model = prepared if workers == 1 else _reopen(data, folder, {}, workers)
    with contextlib.ExitStack() as stack:
        peers.by_first(lambda: bool(stack.enter_context(runs.lock_run(run.folder))))
        stack.enter_context(Signals())
        recorder = Recorder(run, checkpoint_minutes)
        if resume:
            _record_resumption(run, corpus, epochs, recorder.epoch, say)
        interrupted = False
        try:
            _begin_with(model, run, recorder, say)
            steps = len(make_batches(corpus, run.config["model"], run.config["training"])[0])
            optimizer, own_callbacks = make_trainer(run.config["training"], steps)
            # A resumed training begins a call of the step function where the checkpoint lies.
            steps_per_execution = math.gcd(_steps_per_execution(model, callbacks), recorder.batch)
            _compile(model, optimizer, steps_per_execution, run.config["training"])
            _explain(run, corpus, model, say)
            _fit(model, corpus, recorder, [*own_callbacks, *callbacks], verbose)
        except KeyboardInterrupt:
            if not recorder.history:
                raise
            interrupted = True
            say(f"\nInterrupted: {recorder.epoch} whole epochs are kept. Evaluating; interrupt again to leave.")
        finally:
            recorder.close()
            if peers.is_first() and not resume and not (run.folder / runs.RESUME).exists():
                runs.remove(run.folder, itself=run.made)  # it has nothing that a new start would not create again
        _finish(run, corpus, recorder, interrupted, say)
    return run


def _begin_with(model, run, recorder, say):
    """Freezes layers and, if nothing is trained yet, takes the weights of another run, as the settings say."""
    settings = run.config["training"]
    for name in settings.get("freeze") or ():
        if name not in (names := [layer.name for layer in model.layers if layer.weights]):
            raise ValueError(f"Expected layers to freeze among {names}. Received: {name!r}")
        model.get_layer(name).trainable = False
    if settings.get("start_from") and not recorder.epoch and not recorder.batch:
        source = runs.load_run(settings["start_from"])
        # Only its weights are read, so any processor will do.
        trained = source.load_model(backend="auto", precision="float32")
        known = transfer_weights(trained, source.vocabulary, model, run.vocabulary)
        say(f"Weights of {source.folder}: {known:,} of {len(run.vocabulary):,} words are known to it.")


def _record_resumption(run, corpus, epochs, done, say):
    """Writes what a resumed training changes of a run: its number of epochs, and the place of its text."""
    if epochs is not None:
        if epochs < done:
            say(f"{done} epochs are done already, and `epochs` counts all of them: none is left to train.")
        run.config["training"]["epochs"] = max(epochs, done)
    # The text may have moved, and older runs have not recorded its location and digest.
    run.config["data"].update(digest=corpus.digest, location=corpus.location or run.config["data"].get("location"))

    def write():
        write_json(run.folder / runs.CONFIG, run.config)
        (run.folder / runs.METRICS).unlink(missing_ok=True)  # the results of fewer epochs

    peers.by_first(write)


def _start(corpus, preset, out, model_arguments, settings, vocabulary_limit, workers=1):
    """Returns a new run, its corpus and its model."""
    recipe = get_preset(preset).model_arguments(len(corpus.vocabulary))
    if "keep_prob" in model_arguments:
        recipe |= dict.fromkeys(KEEP_PROB_RATES)
    arguments = {"seed": random.randrange(2**31), **recipe, **model_arguments}
    if arguments.get("precision") is None:
        # A run records its precision, so that it does not depend on the dtype policy of a later process.
        policy = keras.dtype_policies.get(arguments.get("dtype"))
        arguments["precision"] = default_precision(arguments.get("backend") or "auto", policy)
    _check_divides(arguments["batch_size"], workers)
    # Raises for a text that is too short before a model with a state of so many rows or a folder is made.
    make_batches(corpus, arguments, settings)
    model = LanguageModel(**arguments)
    if model.vocabulary_size != len(corpus.vocabulary):
        raise DataError(
            f"Expected a model of the text's {len(corpus.vocabulary)} words. "
            f"Received: vocabulary_size={model.vocabulary_size}"
        )
    if len(corpus.test) < 2:
        raise DataError(f"Expected a test text of at least two words. Received: {len(corpus.test)}")
    data = {name: getattr(corpus, name) for name in ("name", "source", "is_sample", "location", "digest")}
    data |= {
        "vocabulary_size": len(corpus.vocabulary),
        "vocabulary_digest": corpus.vocabulary.digest,
        "vocabulary_limit": vocabulary_limit,
    }
    config = {"model": model.get_config(), "training": settings, "data": data, "versions": _versions()}
    folder = out or new_folder(Path("runs") / f"{preset}-{datetime.datetime.now():%Y%m%d-%H%M%S}")
    return runs.create_run(folder, config, corpus.vocabulary), corpus, model


def _reopen(data, out, asked, workers=1):
    """Returns the run in a folder, its corpus and its model; raises if an argument contradicts the run."""
    if out is None:
        raise runs.RunError("Resuming needs the run's folder: name it with --out.")
    run = runs.load_run(out)
    _check_divides(run.config["model"]["batch_size"], workers)
    own = {**run.config["training"], **run.config["model"]}
    if limit := run.config["data"].get("vocabulary_limit"):
        own["vocabulary_size"] = limit  # the value that was asked for: the text may have fewer words
    if "units" in asked:
        asked = {**asked, "units": list(np.atleast_1d(asked["units"]))}
    for argument, value in asked.items():
        if own.get(argument) != value:
            raise runs.RunError(
                f"A resumed run keeps its settings: {run.folder} has {argument}={own.get(argument)!r}. "
                f"Received: {argument}={value!r}"
            )
    corpus = data if isinstance(data, Corpus) else run.load_corpus(data)
    own = run.config["data"]
    if corpus.digest != own.get("digest", corpus.digest):  # runs have not always recorded it
        raise runs.RunError(
            f"A resumed run keeps its text: {run.folder} was trained on {own['source']}. "
            f"Received: {corpus.source}, another text or vocabulary"
            f"{' (each version of Python has a sample of its own)' if own['name'] == corpus.name == 'sample' else ''}"
        )
    return run, corpus, LanguageModel(**run.config["model"])


def _check_divides(batch_size, workers):
    if batch_size % workers:
        raise ValueError(f"Expected a batch whose rows {workers} workers divide. Received: batch_size={batch_size}")


def _steps_per_execution(model, callbacks):
    hooks = ("on_batch_begin", "on_batch_end", "on_train_batch_begin", "on_train_batch_end")
    plain = keras.callbacks.Callback
    # A LambdaCallback has its hooks as attributes of the instance.
    if any(
        getattr(getattr(own, hook), "__func__", None) is not getattr(plain, hook) for own in callbacks for hook in hooks
    ):
        return 1
    if platforms.visible_gpus():
        return _STEPS_PER_EXECUTION_ON_GPU
    flop_of_step = 6 * model.count_params() * model.batch_size * model.num_steps
    return max(min(_STEPS_PER_EXECUTION, int(_FLOP_PER_EXECUTION / flop_of_step)), 1)


def _compile(model, optimizer, steps_per_execution, settings):
    model.compile(optimizer, steps_per_execution=steps_per_execution)
    if recipe_of(settings).batch_arguments().get("jitter"):
        # The batches are of few lengths: what is faster for batches of one length is faster for these.
        model.compile(optimizer, steps_per_execution=steps_per_execution, jit_compile=model.jit_compile)


def _fit(model, corpus, recorder, callbacks, verbose):
    settings = recorder.run.config["training"]
    batches, valid_batches = make_batches(corpus, recorder.run.config["model"], settings, epoch=recorder.epoch)
    logs = []
    if keras.backend.backend() == "tensorflow":  # TensorFlow writes the logs; other backends work without it
        logs = [keras.callbacks.TensorBoard(recorder.run.folder / runs.LOGS, write_graph=False)]
    model.fit(
        batches,
        epochs=settings["epochs"],
        initial_epoch=recorder.epoch,
        validation_data=valid_batches,
        callbacks=[
            ResetStates(),
            WordsPerSecond(),
            StopOnDivergence(),
            *callbacks,
            recorder,
            *logs,
            *([ProgressBar()] if verbose else []),
        ],
        verbose=verbose,
    )


def _without_none(arguments):
    return {name: value for name, value in arguments.items() if value is not None}


def _versions():
    return {
        "kerasptb": kerasptb.__version__,
        "python": platform.python_version(),
        keras.backend.backend(): importlib.metadata.version(keras.backend.backend()),
        "keras": keras.__version__,
        "numpy": np.__version__,
    }


def _explain(run, corpus, model, say):
    """Says and writes what is going to run, and why nothing faster does."""
    explanation = explain(model)

    def write():
        with atomic_write(run.folder / runs.EXPLANATION) as temporary:
            temporary.write_text(f"{explanation}\n")

    peers.by_first(write)
    sizes = ", ".join(f"{name} {len(corpus.split(name)):,}" for name in ("train", "valid", "test"))
    say(f"Data: {corpus.source} (words: {sizes}; vocabulary {len(corpus.vocabulary):,})")
    say(f"Model: {model.count_params():,} parameters, preset {run.config['training']['preset']}, seed {model.seed}")
    if (workers := peers.count()) > 1:
        say(f"Workers: {workers}, each with {model.batch_size // workers} rows of a batch")
    if (note := platforms.drawback(model.precision)) is not None:
        say(f"Precision {model.precision} is {note}.")
    if say is print:
        for row in explanation:
            note_as_told(row.reason)
    say(f"{explanation}\nRun folder: {run.folder}", flush=True)


def _finish(run, corpus, recorder, interrupted, say):
    """Evaluates the best epoch's weights and writes metrics.json."""
    model = run.load_model()
    best = recorder.best
    # The validation text has filled a batch, but the test text may be too short for one: then only `strict` exists.
    strict, streams = evaluate_both(model, corpus.test)
    test = None if streams is None else streams.perplexity
    shown = f"(too short for {model.batch_size} streams)" if test is None else f"{test:.2f}"
    plans = [layer.plan() for layer in model.layers if isinstance(layer, FusedLSTM)]
    metrics = {
        "train_perplexity": best["perplexity"],
        "valid_perplexity": best["val_perplexity"],
        "test_perplexity": test,
        "test_perplexity_every_word": strict.perplexity,
        "best_epoch": best["epoch"],
        "epochs": len(recorder.history),
        "words_per_second": float(np.median([row["words_per_second"] for row in recorder.history])),
        "preset": run.config["training"]["preset"],
        "backend": next((plan for plan in plans if not plan.is_native), plans[0]).implementation,
        "precision": model.precision,
        "parameters": model.count_params(),
        "seed": model.seed,
        "data": corpus.name,
        "interrupted": interrupted,
    }
    peers.by_first(lambda: write_json(run.folder / runs.METRICS, metrics))
    say(
        f"Best epoch {best['epoch']}: train perplexity {best['perplexity']:.2f}, "
        f"valid {best['val_perplexity']:.2f}, test {shown} (in {model.batch_size} streams; "
        f"every word: {strict.perplexity:.2f})"
    )
    if corpus.is_sample:
        say("These are perplexities of the built-in sample text: they compare with nothing published.")
    say(f"Results: {run.folder / runs.METRICS}, {run.folder / runs.CURVES}")
