"""`kerasptb evaluate`."""

import dataclasses
import json
import sys
from pathlib import Path

from kerasptb.cli import arguments
from kerasptb.cli.notices import import_keras
from kerasptb.cli.outcome import printable
from kerasptb.data.counts import describe
from kerasptb.data.files import read_utf8
from kerasptb.runs import load_run
from kerasptb.utils.files import finite


def add_parser(commands):
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
        "--num-steps",
        type=arguments.positive,
        help="words of a row; with --dynamic those of a segment (default there: 20)",
    )
    arguments.add_backend(command)
    arguments.add_shared(command, "--json")


def execute(options):
    _check(options)
    run = load_run(options.run)
    if options.keyboard and options.continuous_cache and run.vocabulary.kind != "words":
        raise ValueError(f"--keyboard takes --continuous-cache for a run of words. Received: {run.vocabulary.kind}.")
    options.split, options.keys = options.split or "test", options.keys or 3
    if options.text is not None:
        _type_own_text(options, run)
        return
    corpus = run.load_corpus(options.data)
    ids = corpus.split(options.split)
    adapts = "dynamic" if options.dynamic else "continuous cache" if options.continuous_cache else None
    corpus_of_run = run.load_corpus() if adapts and corpus.digest != run.settings.data.digest else corpus
    import_keras()
    from kerasptb.evaluation import evaluate_both, evaluate_split

    model = run.load_model(**arguments.overrides(options))
    if options.keyboard:
        _type(options, run, model, corpus, ids, corpus_of_run)
        return
    if adapts:
        evaluations = [_adapting(options, run, model, ids, corpus_of_run)]
    elif options.batch_size is None:
        evaluations = evaluate_both(model, ids, options.num_steps)
        if evaluations[1] is None:
            print(
                f"The text is too short for {model.batch_size} streams: only the figure of every word is given.",
                file=sys.stderr,
            )
    else:
        every_word = options.batch_size == 1
        evaluations = [evaluate_split(model, ids, options.batch_size, options.num_steps, every_word)]
    results, counts = [], corpus.count(options.split)
    for evaluation in evaluations:
        if evaluation is not None:
            method = "every word" if evaluation.batch_size == 1 else "streams from a zero state, remainder dropped"
            results.append(
                {
                    **dataclasses.asdict(evaluation),
                    "word_perplexity": finite(counts.word_perplexity(evaluation.perplexity)),
                    "bits_per_byte": counts.bits_per_byte(evaluation.perplexity),
                    "method": f"every word, {adapts}" if adapts else method,
                }
            )
    if options.json:
        print(
            json.dumps(
                {"split": options.split, "data": corpus.name, "unknown_share": counts.unknown_share, "results": results}
            )
        )
        return
    for result in results:
        print(
            f"{options.split} perplexity {result['perplexity']:.2f}  (batch size {result['batch_size']}: "
            f"{result['method']}{_settings(result)}; {result['num_words']:,} {run.vocabulary.kind})\n"
            f"  {describe(counts, result['perplexity'])}"
        )


def _check(options):
    """Raises for options that do not go together."""
    if options.keyboard and (options.dynamic or options.batch_size or options.num_steps):
        raise ValueError(
            "--keyboard types one stream, word by word: of the other ways it takes --continuous-cache alone."
        )
    if (options.learn or options.text is not None or options.keys) and not options.keyboard:
        raise ValueError("--keys, --learn and --text are of --keyboard, which types a text.")
    if options.text is not None and (options.split or options.data):
        raise ValueError("--text is the text to type: leave --split and --data out.")
    if options.continuous_cache and (options.learn or options.text is not None):
        raise ValueError("--continuous-cache is for the run's own text, and uses what was typed before in its own way.")


def _type(options, run, model, corpus, ids, corpus_of_run):
    from kerasptb.evaluation import cache_settings, evaluate_keyboard

    cache = None
    if options.continuous_cache:
        cache = cache_settings(run.adaptation_path, model, corpus_of_run, lambda text: print(text, file=sys.stderr))
    result = evaluate_keyboard(model, corpus.vocabulary, ids, options.keys, cache, options.learn)
    _report_typing(options, result, options.split, {"split": options.split, "data": corpus.name})


def _type_own_text(options, run):
    text = read_utf8(Path(options.text), "text").removeprefix("\ufeff")
    import_keras()
    from kerasptb.evaluation import evaluate_keyboard_on_text

    model = run.load_model(**arguments.overrides(options))
    keep_lines = run.settings.data.keep_lines
    result = evaluate_keyboard_on_text(model, run.vocabulary, text, options.keys, options.learn, keep_lines)
    _report_typing(options, result, options.text, {"text": options.text})


def _report_typing(options, result, name, described):
    if options.json:
        print(json.dumps({**described, "keyboard": dataclasses.asdict(result)}))
        return
    print(
        f"{printable(name)} typed with {result.keys} suggestions: {result.keystroke_savings:.1%} of the keystrokes "
        f"saved (at most {result.savings_ceiling:.1%} could be; {result.num_characters:,} characters)\n"
        f"next word first in {result.top1:.1%}, among three in {result.top3:.1%} (of {result.num_words:,} words)"
    )


def _adapting(options, run, model, ids, corpus):
    """Returns the evaluation by the method that the options name."""
    from kerasptb.evaluation import evaluate_run_continuous_cache, evaluate_run_dynamic

    evaluate = evaluate_run_dynamic if options.dynamic else evaluate_run_continuous_cache
    return evaluate(
        run.adaptation_path, model, ids, corpus, options.num_steps, lambda text: print(text, file=sys.stderr)
    )


def _settings(result):
    """Returns the settings of a method that adapts, for people to read; nothing for others."""
    named = result.get("settings", {}).items()
    return "".join(f", {name.replace('_', ' ')} {value:,g}" for name, value in named)
