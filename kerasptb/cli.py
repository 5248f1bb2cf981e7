"""The command line: each command is a thin call into the package."""

import argparse
import dataclasses
import json
import os
import re
import sys
import textwrap
from importlib.util import find_spec
from pathlib import Path

from kerasptb.presets import PRESETS
from kerasptb.utils.notices import import_keras
from kerasptb.utils.processors import available_processors

_BACKENDS = ("auto", "reference", "keras", "native")
_PRECISIONS = ("float32", "bfloat16x3", "bfloat16")
_DATA_HELP = (
    "auto (PTB where it is found or can be downloaded, else the built-in sample), ptb, sample, a folder with "
    "train, valid and test texts, or an archive of them"
)
_VOCABULARY_HELP = "keep the N most frequent words, <unk> and <eos> among them; the rest becomes <unk> (default: all)"


def main(arguments=None):
    """Runs a command.

    Args:
        arguments: list of strings; `None` for those of the process.

    Returns:
        Exit status: 0 success, 1 the work failed, 2 wrong arguments, 130 interrupted.
    """
    parser = _make_parser()
    try:
        options = parser.parse_args(arguments)
    except SystemExit as error:
        return error.code
    if sys.stdout is None:  # closed before Python began (`>&-`)
        sys.stdout = Path(os.devnull).open("w")  # noqa: SIM115  (for as long as the process lives)
    if "KERAS_BACKEND" not in os.environ and not find_spec("tensorflow") and find_spec("jax"):
        os.environ["KERAS_BACKEND"] = "jax"  # Keras would look for TensorFlow
    # TensorFlow does not know a container's quota and would start one thread for each processor of the host.
    for name in ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"):
        os.environ.setdefault(name, str(available_processors()))
    try:
        return options.command(options) or 0
    except KeyboardInterrupt:
        print("kerasptb: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # Python must not try to flush again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if options.command not in (_train, _tune):
            return 0  # the reader (`| head`) has seen enough, and nothing is wrong
        print("kerasptb: stopped, because what read the output has ended", file=sys.stderr)
        return 1
    except Exception as error:
        if options.debug or not _is_plain(error):
            raise
        print(f"kerasptb: {_one_line(error)}", file=sys.stderr)
        return 1


def _is_plain(error):
    """Whether an error's text says what was expected and received, so that a traceback would add nothing."""
    return _missing_package(error) or isinstance(error, ValueError | OSError | ArithmeticError | RuntimeError)


def _missing_package(error):
    """The name of the third-party package that is not installed, if that is the error; else None."""
    package = (getattr(error, "name", None) or "").partition(".")[0]
    return package if isinstance(error, ModuleNotFoundError) and package not in ("", "kerasptb", "tuning") else None


def _one_line(error):
    if package := _missing_package(error):
        return f"This command needs the package {package}, which is not installed."
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror}: {error.filename}" if error.filename else error.strerror
    text = str(error)
    if wrapped := re.search("\x1b\\[1m(.*)\x1b\\[0m", text, re.DOTALL):
        text = wrapped[1]  # Keras has added the layer's name before the text and all of its arguments after it
    return " ".join(text.split()) or type(error).__name__


def _train(options):
    import_keras()
    from kerasptb.training import train

    # A file that records each update of the bar grows by some 20 KB per epoch, and is hard to read.
    to_a_terminal = sys.stdout is not None and sys.stdout.isatty()
    run = train(
        options.data,
        options.preset,
        epochs=options.epochs,
        steps_per_epoch=options.steps_per_epoch,
        batch_size=options.batch_size,
        num_steps=options.num_steps,
        vocabulary_size=options.vocabulary_size,
        backend=options.backend,
        precision=options.precision,
        seed=options.seed,
        out=options.out,
        resume=options.resume,
        verbose=1 if to_a_terminal else 2,
    )
    return 130 if run.metrics["interrupted"] else 0


def _overrides(options):
    """The options that replace settings of the run, such as float32 on a processor without bfloat16."""
    asked = {"backend": options.backend, "precision": options.precision}
    return {name: value for name, value in asked.items() if value is not None}


def _evaluate(options):
    from kerasptb.runs import load_run

    run = load_run(options.run)
    corpus = run.load_corpus(options.data)
    ids = corpus.split(options.split)
    import_keras()
    from kerasptb.evaluation import evaluate_both, evaluate_split

    model = run.load_model(**_overrides(options))
    if options.batch_size is None:
        evaluations = evaluate_both(model, ids, options.num_steps)
        if evaluations[1] is None:
            print(
                f"The text is too short for {model.batch_size} streams: only the figure of every word is given.",
                file=sys.stderr,
            )
    else:
        every_word = options.batch_size == 1
        evaluations = [evaluate_split(model, ids, options.batch_size, options.num_steps, every_word)]
    results = []
    for evaluation in evaluations:
        if evaluation is not None:
            alone = evaluation.batch_size == 1
            method = "every word" if alone else "streams from a zero state, remainder dropped"
            results.append({**dataclasses.asdict(evaluation), "method": method})
    if options.json:
        print(json.dumps({"split": options.split, "data": corpus.name, "results": results}))
        return
    for result in results:
        print(
            f"{options.split} perplexity {result['perplexity']:.2f}  (batch size {result['batch_size']}: "
            f"{result['method']}; {result['num_words']:,} words)"
        )


def _suggest(options):
    from kerasptb.data import UNK
    from kerasptb.generation import suggest
    from kerasptb.runs import load_run

    run = load_run(options.run)
    import_keras()
    k = options.k or min(5, len(set(run.vocabulary.words) - {UNK}))
    suggestions = suggest(run.load_model(batch_size=1, **_overrides(options)), run.vocabulary, options.text, k)
    if options.json:
        rows = [{"word": suggestion.word, "probability": suggestion.probability} for suggestion in suggestions]
        print(json.dumps({"text": options.text, "suggestions": rows}))
        return
    for suggestion in suggestions:
        print(f"{suggestion.probability:7.2%}  {suggestion.word}")


def _generate(options):
    from kerasptb.generation import as_text, generate
    from kerasptb.runs import load_run

    run = load_run(options.run)
    import_keras()
    model = run.load_model(batch_size=1, **_overrides(options))
    words = generate(model, run.vocabulary, options.prompt, options.words, options.temperature, options.seed)
    print(as_text(options.prompt, words))


def _export(options):
    _prefer_tensorflow()
    import_keras()
    from kerasptb.export import ExportError, export_litert, export_onnx, export_saved_model
    from kerasptb.runs import load_run

    if options.quantize and options.format != "litert":
        raise ExportError(f"--quantize is for --format litert. Received: --format {options.format}")
    run = load_run(options.run)
    if options.format == "litert":
        print(export_litert(run, options.to, quantize=options.quantize))
    elif options.format == "onnx":
        print(export_onnx(run, options.to))
    else:
        print(export_saved_model(run, options.to))


def _prefer_tensorflow():
    """Makes Keras run on TensorFlow, which most exports need; a run's weights are the same on any backend."""
    if find_spec("tensorflow"):
        os.environ["KERAS_BACKEND"] = "tensorflow"


def _serve(options):
    _prefer_tensorflow()
    import_keras()
    from kerasptb.serving import serve

    serve(options.run, options.host, options.port, options.rate)


def _build(options):
    from kerasptb.ops.native import build

    path = build.build(force=options.force, verbose=options.verbose)
    for missing in build.levels_left_out(path):
        print(f"Without kernels for {missing}.", file=sys.stderr)
    if (problem := build.cuda_problem(path)) is not None:
        print(f"Without kernels for GPUs. {problem}", file=sys.stderr)
    print(path)


def _tune(options):
    import_keras()
    from tuning import tune

    tune(
        options.data,
        tuner=options.tuner,
        trials=options.trials,
        epochs=options.epochs,
        max_parameters=options.max_parameters,
        workers=options.workers,
        max_hours=options.max_hours,
        seed=options.seed,
        vocabulary_size=options.vocabulary_size,
        backend=options.backend,
        precision=options.precision,
        steps_per_epoch=options.steps_per_epoch,
        early_stopping=options.early_stopping,
        max_failures=options.max_failures,
        out=options.out,
        resume=options.resume,
    )


def _info(options):
    import_keras()
    from kerasptb.info import collect, describe

    information = collect()
    print(json.dumps(information) if options.json else describe(information))


def _make_parser():
    parser = argparse.ArgumentParser(
        prog="kerasptb", description="Train, evaluate and use LSTM language models on the Penn Treebank."
    )
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    _add_train(commands)

    command = _add_command(commands, "evaluate", "perplexity of a run on a split")
    command.add_argument("run", metavar="RUN", help="run folder")
    command.add_argument("--data", help=f"{_DATA_HELP} (default: the run's)")
    command.add_argument(
        "--split", choices=("train", "valid", "test"), default="test", help="the text to read (default: test)"
    )
    command.add_argument(
        "--batch-size",
        type=_positive,
        help="1 scores each word from all before it; N > 1 reads the text as N parallel streams (default: both 1 and "
        "the run's own)",
    )
    command.add_argument("--num-steps", type=_positive, help="words of a row")
    _add_overrides(command)
    command.add_argument("--json", action="store_true", help="print one JSON object")
    command.set_defaults(command=_evaluate)

    command = _add_command(commands, "suggest", "next words after a text")
    command.add_argument("run", metavar="RUN", help="run folder")
    command.add_argument("text", help="the text so far, in quotes; behind -- if it begins with a dash")
    command.add_argument("-k", type=_positive, help="number of suggestions (default: 5, or as many as there are)")
    _add_overrides(command)
    command.add_argument("--json", action="store_true", help="print one JSON object")
    command.set_defaults(command=_suggest)

    command = _add_command(commands, "generate", "sample text from a run")
    command.add_argument("run", metavar="RUN", help="run folder")
    command.add_argument("--prompt", default="", help="text to go on from")
    command.add_argument("--words", type=_positive, default=50, help="number of words (default: 50)")
    command.add_argument("--temperature", type=float, default=1.0, help="0 is always the most probable (default: 1)")
    command.add_argument("--seed", type=_seed, help="makes the sample repeatable")
    _add_overrides(command)
    command.set_defaults(command=_generate)

    _add_export(commands)

    _add_serve(commands)

    command = _add_command(commands, "build", "compile the native library")
    command.add_argument("--force", action="store_true", help="compile even if it is up to date")
    command.add_argument("--verbose", action="store_true", help="show the compiler's commands")
    command.set_defaults(command=_build)

    _add_tune(commands)

    command = _add_command(commands, "info", "versions, devices, backends and why, data found")
    command.add_argument("--json", action="store_true", help="print one JSON object")
    command.set_defaults(command=_info)

    for command in commands.choices.values():
        command.add_argument("--debug", action="store_true", default=argparse.SUPPRESS, help=argparse.SUPPRESS)
    return parser


def _add_train(commands):
    command = _add_command(
        commands,
        "train",
        "train a model into a run folder",
        epilog="\n\n".join(_paragraph(f"{preset.name}: {preset.summary}") for preset in PRESETS.values()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.add_argument("--data", help=f"{_DATA_HELP} (default: auto, or the resumed run's)")
    command.add_argument(
        "--preset",
        choices=sorted(PRESETS),
        help="recipe of the model and its training (default: notebook, or the resumed run's)",
    )
    command.add_argument("--epochs", type=_positive, help="number of epochs in all (default: the preset's)")
    command.add_argument("--steps-per-epoch", type=_positive, help="only the first N batches of each epoch")
    command.add_argument("--batch-size", type=_positive, help="rows of a batch (default: the preset's)")
    command.add_argument("--num-steps", type=_positive, help="words of a row (default: the preset's)")
    command.add_argument("--vocabulary-size", type=_positive, help=_VOCABULARY_HELP)
    command.add_argument("--backend", choices=_BACKENDS, help="what runs the LSTMs and the loss (default: auto)")
    command.add_argument("--precision", choices=_PRECISIONS, help="of the matrix products (default: float32)")
    command.add_argument("--seed", type=_seed, help="makes the run repeatable (default: drawn, and recorded)")
    command.add_argument("--out", metavar="RUN", help="run folder (default: runs/PRESET-TIME)")
    command.add_argument("--resume", action="store_true", help="go on with the run in --out")
    command.set_defaults(command=_train)


def _add_command(commands, name, text, **kwargs):
    return commands.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.", **kwargs)


def _paragraph(text):
    return textwrap.fill(text, 100, subsequent_indent="  ")


def _add_overrides(command):
    command.add_argument("--backend", choices=_BACKENDS, help="what runs the LSTMs and the loss (default: the run's)")
    command.add_argument("--precision", choices=_PRECISIONS, help="of the matrix products (default: the run's)")


def _add_export(commands):
    command = _add_command(commands, "export", "write a run for a server, a phone or another runtime")
    command.add_argument("run", metavar="RUN", help="run folder")
    command.add_argument(
        "--format",
        choices=("saved-model", "litert", "onnx"),
        default="saved-model",
        help="a folder that takes text, for TensorFlow; a .tflite file; an .onnx file (default: saved-model)",
    )
    command.add_argument("--to", metavar="PATH", required=True, help="folder or file to write; must be new")
    command.add_argument("--quantize", action="store_true", help="litert: weights in 8 bits, a quarter of the size")
    command.set_defaults(command=_export)


def _add_tune(commands):
    command = _add_command(commands, "tune", "search for a better model with KerasTuner")
    command.add_argument("--data", help=f"{_DATA_HELP} (default: auto, or the resumed search's)")
    command.add_argument("--trials", type=_positive, help="number of trials (default: 20)")
    command.add_argument("--epochs", type=_positive, help="epochs of a trial that is not stopped early (default: 15)")
    command.add_argument(
        "--workers",
        type=_positive,
        help="a chief and N worker processes, each with its share of the cores (default: one trial after another here)",
    )
    command.add_argument("--tuner", choices=("random", "bayesian", "hyperband"), help="(default: bayesian)")
    command.add_argument(
        "--max-parameters", type=_positive, help="no model has more (default: 3955088, the notebook's number)"
    )
    command.add_argument("--max-hours", type=float, help="time limit, from this start on")
    command.add_argument("--steps-per-epoch", type=_positive, help="only the first N batches of each epoch")
    command.add_argument("--vocabulary-size", type=_positive, help=_VOCABULARY_HELP)
    command.add_argument("--backend", choices=_BACKENDS, help="what runs the LSTMs and the loss (default: auto)")
    command.add_argument("--precision", choices=_PRECISIONS, help="of the matrix products (default: float32)")
    command.add_argument("--seed", type=_seed, help="of the draws and of every training (default: drawn, and recorded)")
    command.add_argument(
        "--no-early-stopping",
        dest="early_stopping",
        action="store_false",
        default=None,
        help="train trials to their last epoch even when they are hopeless",
    )
    command.add_argument(
        "--max-failures", type=_positive, help="trials failing for one reason that end the search (default: 3)"
    )
    command.add_argument("--out", metavar="DIR", help="the search's folder (default: runs/search-TIME)")
    command.add_argument("--resume", action="store_true", help="go on with the search in --out")
    command.set_defaults(command=_tune)


def _add_serve(commands):
    command = _add_command(commands, "serve", "a page with a keyboard's suggestions, and their JSON API")
    command.add_argument("run", metavar="RUN", help="run folder, or a SavedModel that `kerasptb export` wrote")
    command.add_argument("--host", default="127.0.0.1", help="address to listen at (default: this machine alone)")
    command.add_argument("--port", type=_port, default=8000, help="0 takes a free one (default: 8000)")
    command.add_argument(
        "--rate", type=_rate, metavar="N", help="requests a second from one address, 0 for any number (default: 100)"
    )
    command.set_defaults(command=_serve)


def _number(kind, accepts, expected):
    """Returns a function that reads a number; if `accepts` refuses the number, the message says what is expected."""

    def read(text):
        try:
            value = kind(text)
        except ValueError:
            value = None
        if value is None or not accepts(value):
            raise argparse.ArgumentTypeError(f"expected {expected}, received {text}")
        return value

    return read


_port = _number(int, lambda value: 0 <= value <= 65_535, "a port from 0 to 65535")
_rate = _number(float, lambda value: 0 <= value < float("inf"), "a number of at least 0")
_positive = _number(int, lambda value: value >= 1, "a whole number of at least 1")
_seed = _number(int, lambda value: value >= 0, "a whole number of at least 0")


if __name__ == "__main__":
    sys.exit(main())
