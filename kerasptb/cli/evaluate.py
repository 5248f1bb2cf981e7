"""`kerasptb evaluate`."""

import dataclasses
import json
import sys

from kerasptb.cli import arguments
from kerasptb.cli.notices import import_keras


def add_parser(commands):
    command = arguments.add_command(commands, "evaluate", execute, "perplexity of a run on a split")
    arguments.add_shared(command, "run")
    command.add_argument("--data", help=f"{arguments.DATA_HELP} (default: the run's)")
    command.add_argument(
        "--split", choices=("train", "valid", "test"), default="test", help="the text to read (default: test)"
    )
    command.add_argument(
        "--batch-size",
        type=arguments.positive,
        help="1 scores each word from all before it; N > 1 reads the text as N parallel streams (default: both 1 and "
        "the run's own)",
    )
    command.add_argument("--num-steps", type=arguments.positive, help="words of a row")
    arguments.add_backend(command, "the run's", "the run's")
    arguments.add_shared(command, "--json")


def execute(options):
    from kerasptb.runs import load_run

    run = load_run(options.run)
    corpus = run.load_corpus(options.data)
    ids = corpus.split(options.split)
    import_keras()
    from kerasptb.evaluation import evaluate_both, evaluate_split

    model = run.load_model(**arguments.overrides(options))
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
