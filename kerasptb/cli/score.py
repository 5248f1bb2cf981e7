"""`kerasptb score`."""

import contextlib
import csv
import itertools
import json
import sys
import types
from argparse import Namespace
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from kerasptb.arguments import Number
from kerasptb.cli import arguments
from kerasptb.cli.items import FIGURES, Items, read_items
from kerasptb.cli.lines import read_lines
from kerasptb.cli.outcome import printable
from kerasptb.data import DataError
from kerasptb.data.sources.text_file import read_utf8
from kerasptb.evaluation import Hypothesis, SentenceScore, Weights, tune_weights
from kerasptb.evaluation.nbest import by_utterance, check_references
from kerasptb.evaluation.sentences import perplexity_of
from kerasptb.run import Run
from kerasptb.utils.files import atomic_write, finite

_FORM = """Without --nbest a line for each sentence: log10 of its probability, its words, those of them that are
unknown, the perplexity of a word, and the sentence, with tabs between; the totals, of the form of SRILM's
`ngram -ppl`, go to standard error. A sentence's end counts as a word in perplexities."""
_NUMBERS = ("sentence", "word_number", "word")


def add_parser(commands: arguments.Commands) -> None:
    command = arguments.add_command(
        commands, "score", execute, "log probabilities of sentences, or the best of hypotheses", epilog=_FORM
    )
    arguments.add_shared(command, "run")
    command.add_argument("file", nargs="?", help="sentences, one a line; - for standard input (default)")
    command.add_argument("--verbose", action="store_true", help="also each token; with --json its surprisal too")
    command.add_argument(
        "--csv",
        metavar="FILE",
        help="write a row for each token, with surprisal and entropy in bits; - for standard output in place of lines",
    )
    command.add_argument("--words", action="store_true", help="with --csv: a row for each word in place of each token")
    command.add_argument(
        "--items",
        metavar="COLUMN",
        help="the file is a table with a word in each row, in the column word; rows that follow each other with one "
        "value in COLUMN are a text. --csv (default: -) has its rows, with the figures of their words",
    )
    command.add_argument(
        "--document", action="store_true", help="read all of it as one text, each paragraph after those before it"
    )
    command.add_argument(
        "--nbest",
        action="store_true",
        help="lines are hypotheses, ID<TAB>text, ID<TAB>text<TAB>score or ID ||| text ||| features ||| score; of those "
        "that follow each other with one ID the best is printed, by score + weight * log10 P + bonus * words",
    )
    number = arguments.option_type(Number(-1e9))
    command.add_argument("--weight", type=arguments.rate, metavar="X", help="with --nbest (default: 1)")
    command.add_argument("--bonus", type=number, metavar="X", help="with --nbest, for each word (default: 0)")
    command.add_argument("--all", action="store_true", help="with --nbest: print all, the best first")
    command.add_argument(
        "--tune",
        metavar="FILE",
        help="with --nbest: find weight and bonus with few word errors against these references, ID<TAB>text",
    )
    arguments.add_shared(command, "--counts")
    arguments.add_backend(command)
    arguments.add_shared(command, "--json")


def execute(options: Namespace) -> None:
    _check(options)
    run = arguments.open_run(options)
    references = None if options.tune is None else _references(options.tune)
    if options.nbest:
        _rescore(options, run, references)
    else:
        _score(options, run)


def _check(options: Namespace) -> None:
    of_nbest = {"--weight": options.weight, "--bonus": options.bonus, "--all": options.all or None}
    named = [name for name, value in {**of_nbest, "--tune": options.tune}.items() if value is not None]
    if named and not options.nbest:
        raise ValueError(f"{', '.join(named)}: these are of --nbest, which chooses among hypotheses.")
    if options.tune is not None and (options.weight is not None or options.bonus is not None):
        raise ValueError("--tune finds weight and bonus: leave --weight and --bonus out.")
    if options.nbest and (options.verbose or options.json or options.csv or options.document):
        raise ValueError("--verbose, --json, --csv and --document are of sentences, not of --nbest.")
    if options.items is not None:
        if options.nbest or options.document or options.verbose or options.json:
            raise ValueError("--items are of a table: leave out --nbest, --document, --verbose and --json.")
        options.csv = options.csv or "-"
    if options.words and not options.csv:
        raise ValueError("--words is of --csv, which has a row for each.")
    if options.csv == "-" and (options.verbose or options.json):
        raise ValueError("--csv - takes the place of lines: leave --verbose and --json out, or name a file.")


def _score(options: Namespace, run: Run) -> None:
    sentences = words = unknown = 0
    log10_probability, have_words = 0.0, True
    items = None if options.items is None else read_items(options.file, options.items)
    with _open_csv(options.csv, _columns(options, items)) as table:
        for scored in _scored(options, run, items):
            if options.csv != "-" and not items:
                print(_as_json(scored, options.verbose) if options.json else _as_text(scored, options.verbose))
            if scored is None:
                continue
            sentences += 1
            words += scored.num_words
            unknown += scored.num_unknown
            log10_probability += scored.log10_probability
            have_words &= scored.has_words
            if table is not None:
                table.writerows(_rows(options, items, sentences, scored))
    perplexity = perplexity_of(log10_probability, have_words * (words + sentences))
    of_words = perplexity_of(log10_probability, have_words * words)
    if options.json:
        totals = {"sentences": sentences, "words": words, "unknown": unknown}
        figures = {"log10_probability": log10_probability, "perplexity": perplexity, "perplexity_of_words": of_words}
        print(json.dumps({"totals": totals | {name: finite(value) for name, value in figures.items()}}))
        return
    print(
        f"{sentences:,} sentences, {words:,} words, {unknown:,} unknown\n"
        f"logprob= {log10_probability:.4f} ppl= {perplexity:.4f} ppl1= {of_words:.4f}",
        file=sys.stderr,
    )


def _columns(options: Namespace, items: Items | None) -> Sequence[str]:
    if items:
        return [*items.columns, *FIGURES]
    of_tokens = [name for name in FIGURES if name != "word_surprisal"]
    return [*_NUMBERS, *FIGURES] if options.words else [*_NUMBERS, "token", *of_tokens]


def _rows(options: Namespace, items: Items | None, number: int, scored: SentenceScore) -> Iterable[dict[str, Any]]:
    if items:
        return items.with_figures(number, scored)
    return ({"sentence": number, **row} for row in (scored.by_word() if options.words else scored.by_token()))


def _scored(options: Namespace, run: Run, items: Items | None) -> Iterator[SentenceScore | None]:
    """Yields what a run says of each line, `None` of an empty one; of a document's paragraphs, or of items."""
    if items:
        yield from run.score(items.sentences(), entropy=True)
        return
    entropy = options.csv is not None or (options.verbose and options.json)
    if options.document:
        lines = itertools.chain.from_iterable(read_lines(options.file))
        yield from run.score_document("".join(f"{line}\n" for line in lines), entropy)
        return
    for lines in read_lines(options.file):
        scores = iter(run.score((line for line in lines if line.strip()), entropy))
        for line in lines:
            yield next(scores) if line.strip() else None
        sys.stdout.flush()


@contextlib.contextmanager
def _open_csv(name: str | None, columns: Sequence[str]) -> Iterator[csv.DictWriter | None]:
    """Yields what writes rows to a CSV file, or to standard output; `None` if it has no name."""
    if name is None:
        yield None
    elif name == "-":
        yield _table(columns, types.SimpleNamespace(write=lambda row: print(printable(row), end="")))
    else:
        with atomic_write(name) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
            yield _table(columns, file)


def _table(columns: Sequence[str], file: Any) -> csv.DictWriter:
    table = csv.DictWriter(file, columns, lineterminator="\n")
    table.writeheader()
    return table


def _as_text(scored: SentenceScore | None, verbose: bool) -> str:
    if scored is None:  # an answer to each line, but none of a sentence
        return ""
    parts = [f"{scored.log10_probability:.4f}", str(scored.num_words), str(scored.num_unknown)]
    lines = ["\t".join([*parts, f"{scored.perplexity:.2f}", printable(scored.sentence)])]
    if verbose:
        pairs = zip(scored.token_log10_probabilities, scored.tokens, strict=True)
        lines += [f"\t{value:.4f}\t{printable(token)}" for value, token in pairs]
    return "\n".join(lines)


def _as_json(scored: SentenceScore | None, verbose: bool) -> str:
    if scored is None:
        return "null"
    row = {
        "sentence": scored.sentence,
        "log10_probability": scored.log10_probability,
        "words": scored.num_words,
        "unknown": scored.num_unknown,
        "perplexity": finite(scored.perplexity),
    }
    if verbose:
        row |= {"tokens": scored.by_token(), "by_word": scored.by_word()}
    return json.dumps(row)


def _rescore(options: Namespace, run: Run, references: dict[str, str] | None) -> None:
    lines = itertools.chain.from_iterable(read_lines(options.file))
    utterances = by_utterance(Hypothesis.from_line(line) for line in lines if line.strip())

    def scored(hypotheses: Iterable[Hypothesis]) -> list[float]:
        return [each.log10_probability for each in run.score([hypothesis.text for hypothesis in hypotheses])]

    weights = Weights(1.0 if options.weight is None else options.weight, options.bonus or 0.0)
    if references is None:
        of_utterances = ((hypotheses, scored(hypotheses)) for hypotheses in utterances)
    else:
        lists = list(utterances)
        check_references(lists, references)
        logs = iter(scored([hypothesis for hypotheses in lists for hypothesis in hypotheses]))
        of_utterances = [(hypotheses, list(itertools.islice(logs, len(hypotheses)))) for hypotheses in lists]
        tuning = tune_weights(lists, [values for _, values in of_utterances], references)
        weights = tuning.weights
        print(
            f"--weight={weights.weight:.4g} --bonus={weights.bonus:.4g}: {tuning.errors:,} word errors in "
            f"{tuning.num_words:,} words ({tuning.errors / max(tuning.num_words, 1):.2%}), "
            f"{tuning.errors_before:,} by the first score",
            file=sys.stderr,
        )
    for hypotheses, logs in of_utterances:
        words = np.array([len(hypothesis.text.split()) for hypothesis in hypotheses])
        totals = weights.totals(np.array([each.score for each in hypotheses]), np.array(logs), words)
        order = np.argsort(-totals, kind="stable")
        for i in order if options.all else order[:1]:
            print(printable(hypotheses[i].to_line(totals[i])))
        sys.stdout.flush()


def _references(name: str) -> dict[str, str]:
    references = {}
    for number, line in enumerate(read_utf8(Path(name), "text").removeprefix("\ufeff").split("\n"), start=1):
        utterance, tab, text = line.partition("\t")
        if not line.strip():
            continue
        if not tab:
            raise DataError(f"Expected ID<TAB>text in line {number} of {name}. Received: {line[:80]!r}")
        references[utterance.strip()] = text.rstrip("\r")
    return references
