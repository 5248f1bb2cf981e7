"""`kerasptb evaluate`."""

import dataclasses
import json
import sys
from argparse import Namespace
from pathlib import Path
from typing import Any, Literal

from kerasptb.cli import arguments
from kerasptb.cli.notices import import_keras
from kerasptb.cli.outcome import printable
from kerasptb.cli.pairs import report_pairs
from kerasptb.data import Corpus
from kerasptb.data.sizes import describe
from kerasptb.data.sources.text_file import read_utf8
from kerasptb.evaluation import AdaptedEvaluation, TextEvaluation
from kerasptb.keyboard import Keyboard, KeyboardEvaluation, TypingEvaluation
from kerasptb.run import Run
from kerasptb.utils.files import finite
from kerasptb.utils.status_line import at_work


def add_parser(commands: arguments.Commands) -> None:
    command = arguments.add_command(commands, "evaluate", execute, "perplexity of a run on a split")
    arguments.add_shared(command, "run")
    arguments.add_data(command, "the run's")
    command.add_argument(
        "--split",
        choices=("train", "valid", "test", "all"),
        help="the part to read (default: test; of a text that is not in three parts the last twentieth)",
    )
    ways = command.add_mutually_exclusive_group()
    ways.add_argument(
        "--batch-size",
        type=arguments.positive,
        help="1 scores each word from all before it; N > 1 reads the text as N parallel streams (default: both 1 and "
        "the run's own)",
    )
    ways.add_argument(
        "--dynamic",
        action="store_true",
        help="let the model learn from each segment of the text after it has predicted it (needs TensorFlow)",
    )
    ways.add_argument(
        "--continuous-cache",
        action="store_true",
        help="make words more probable that came before in a state like the present one",
    )
    command.add_argument(
        "--keyboard",
        action="store_true",
        help="type the text with suggestions: how often they show the next word, and keystrokes saved; also with "
        "--continuous-cache",
    )
    command.add_argument("--keys", type=arguments.positive, help="with --keyboard: words shown at a time (default: 3)")
    command.add_argument(
        "--learn",
        action="store_true",
        help="with --keyboard: the suggestions learn from the words typed before, new ones too",
    )
    command.add_argument(
        "--text",
        metavar="FILE",
        help="with --keyboard: type this text; for a run of words a sentence a line",
    )
    command.add_argument(
        "--typos",
        type=float,
        metavar="RATE",
        help="with --keyboard: type with errors, this share of taps on wrong keys, and correct them",
    )
    command.add_argument("--layout", help="with --typos: a layout or its file (default: qwerty)")
    command.add_argument(
        "--letters", action="store_true", help="with --typos: which keys are hit is known, but not where"
    )
    command.add_argument(
        "--words", type=arguments.positive, help="with --typos: words that are typed at most (default: 5000)"
    )
    command.add_argument(
        "--pairs",
        nargs="+",
        metavar="FILE",
        help="tell the better of two sentences in each pair: BLiMP's lines of JSON, or tables of two columns, good and "
        "bad",
    )
    command.add_argument(
        "--num-steps",
        type=arguments.positive,
        help="words of a row; with --dynamic those of a segment (default there: 20)",
    )
    arguments.add_shared(command, "--counts")
    arguments.add_backend(command)
    arguments.add_shared(command, "--json")


def execute(options: Namespace) -> None:
    _check(options)
    run = arguments.open_run(options)
    if options.pairs:
        report_pairs(options.pairs, run, options.json)
        return
    options.split = options.split or "test"
    if options.keyboard:
        _type(options, run)
        return
    corpus = run.load_corpus(arguments.data_of(options))
    if options.dynamic:
        import_keras()
    adapts: Literal["dynamic", "continuous cache"] | None
    adapts = "dynamic" if options.dynamic else "continuous cache" if options.continuous_cache else None
    counts, results = corpus.count(options.split), []
    for batch_size in _batch_sizes(options, run, corpus, adapts):
        found = run.evaluate(corpus, options.split, adapts, batch_size, options.num_steps, _say)
        method = "every word" if batch_size == 1 else "streams from a zero state, remainder dropped"
        results.append(_result(found, method := f"every word, {adapts}" if adapts else method))
        if batch_size == 1:
            adapted = found.evaluation if isinstance(found.evaluation, AdaptedEvaluation) else None
            names = f"{method}, with counts", f"{method}, with counts that go on"
            results += map(_result, run.evaluate_counts(corpus, options.split, adapted) or (), names)
    if options.json:
        named = {"split": options.split, "data": corpus.name, "unknown_share": counts.unknown_share}
        print(json.dumps({**named, "results": results}))
        return
    for result in results:
        print(
            f"{options.split} perplexity {result['perplexity']:.2f}  (batch size {result['batch_size']}: "
            f"{result['method']}{_settings(result)}; {result['num_words']:,} {run.vocabulary.kind})\n"
            f"  {describe(counts, result['perplexity'])}"
        )


def _result(found: TextEvaluation, method: str) -> dict[str, Any]:
    evaluation = dataclasses.asdict(found.evaluation)
    evaluation.pop("log_probabilities", None)
    return {
        **evaluation,
        "word_perplexity": finite(found.word_perplexity),
        "character_perplexity": finite(found.character_perplexity),
        "bits_per_byte": found.bits_per_byte,
        "method": method,
    }


def _batch_sizes(options: Namespace, run: Run, corpus: Corpus, adapts: str | None) -> list[int]:
    """Returns in how many streams the text is read: in each number of them once."""
    if adapts or options.batch_size is not None:
        return [options.batch_size or 1]
    streams = run.settings.model.batch_size
    if len(corpus.split(options.split)) < streams * ((options.num_steps or run.settings.model.num_steps) + 1):
        _say(f"The text is too short for {streams} streams: only the figure of every word is given.")
        return [1]
    return sorted({1, streams})


def _say(text: str) -> None:
    print(text, file=sys.stderr)


def _check(options: Namespace) -> None:
    """Raises for options that do not go together."""
    of_corpus = options.split, options.data, options.encoding, options.column, options.author
    ways = options.batch_size, options.dynamic, options.continuous_cache, options.num_steps
    if options.pairs and (options.keyboard or any(ways) or any(of_corpus)):
        raise ValueError("--pairs are sentences, each read by itself: leave out --data, --keyboard and their options.")
    if options.keyboard and (options.dynamic or options.batch_size or options.num_steps):
        raise ValueError(
            "--keyboard types one stream, word by word: of the other ways it takes --continuous-cache alone."
        )
    if (options.learn or options.text is not None or options.keys) and not options.keyboard:
        raise ValueError("--keys, --learn and --text are of --keyboard, which types a text.")
    if options.typos is None and (options.layout or options.letters or options.words):
        raise ValueError("--layout, --letters and --words are of --typos, which types with errors.")
    if options.typos is not None and (not options.keyboard or options.continuous_cache):
        raise ValueError("--typos is of --keyboard, without --continuous-cache.")
    if options.text is not None and any(of_corpus):
        raise ValueError("--text is the text to type, in UTF-8: leave out --split, --data, and how that is read.")
    if options.continuous_cache and (options.learn or options.text is not None):
        raise ValueError("--continuous-cache is for the run's own text, and uses what was typed before in its own way.")


def _type(options: Namespace, run: Run) -> None:
    if options.text is None:
        corpus, text = run.load_corpus(arguments.data_of(options)), None
        named = {"split": options.split, "data": corpus.name}
    else:
        corpus, text = None, read_utf8(Path(options.text), "text").removeprefix("\ufeff")
        named = {"text": options.text}
    result: KeyboardEvaluation | TypingEvaluation
    if options.typos is None:
        result = run.evaluate_keyboard(
            corpus, options.split, text, options.keys or 3, options.learn, options.continuous_cache, report=_say
        )
        name, lines = "keyboard", _keyboard_lines(result)
    else:
        result = _evaluate_typos(options, run, corpus, text)
        name, lines = "typos", _typos_lines(result)
    if options.json:
        print(json.dumps({**named, name: dataclasses.asdict(result)}))
    else:
        print(f"{printable(options.text or options.split)} typed with {result.keys} suggestions: {lines}")


def _evaluate_typos(options: Namespace, run: Run, corpus: Corpus | None, text: str | None) -> TypingEvaluation:
    with at_work("Typing") as stage:
        return run.evaluate_typos(
            corpus,
            options.split,
            text,
            rate=options.typos,
            keyboard=Keyboard(options.layout or "qwerty"),
            points=not options.letters,
            keys=options.keys or 3,
            learn=options.learn,
            num_words=options.words or 5000,
            progress=stage.tell,
        )


def _keyboard_lines(result: KeyboardEvaluation) -> str:
    return (
        f"{result.keystroke_savings:.1%} of the keystrokes saved "
        f"(at most {result.savings_ceiling:.1%} could be; {result.num_characters:,} characters)\n"
        f"next word first in {result.top1:.1%}, among three in {result.top3:.1%} (of {result.num_words:,} words)"
    )


def _typos_lines(result: TypingEvaluation) -> str:
    return (
        f"{result.keystroke_savings:.1%} of the keystrokes saved "
        f"({result.savings_without_errors:.1%} if nobody errs; {result.num_characters:,} characters), "
        f"a key shows the word after {result.taps_until_shown:.2f} taps\n"
        f"{result.right} of the words are right, {result.right_as_typed} before correction, which "
        f"changes {result.changed} of the latter "
        f"(95 % intervals; {result.num_words:,} words, {result.wrong_keys:.1%} of the taps on wrong keys)"
    )


def _settings(result: dict[str, Any]) -> str:
    """Returns the settings of a method that adapts, for people to read; nothing for others."""
    named = result.get("settings", {}).items()
    return "".join(f", {name.replace('_', ' ')} {value:,g}" for name, value in named)
