"""The model of English in the package: its training, its figures, and what it recites.

    python -m benchmarks.english_text FOLDER
    python -m benchmarks.english train FOLDER RUN --start RUN --epochs 24 --rates 0.0025
    rm -r kerasptb/runs/english; kerasptb export RUN --format run --to kerasptb/runs/english
    python -m benchmarks.english figures FOLDER RUN [--ptb FOLDER] [--csv FILE]
    python -m benchmarks.english typed FOLDER RUN [--csv FILE]
    python -m benchmarks.english recited FOLDER RUN
    python -m benchmarks.english starts FOLDER RUN [--minutes 5] [--epochs 3 6 …] [--rates 0.002 …] [--out FOLDER]

`train` goes on from a run: an epoch is a twentieth of the text. What the model in the package began with, and its
epochs, are on its card. `figures` prints bits a byte of each text that was held out, by the run and by its copy in 8
bits, read as `kerasptb evaluate RUN --data FILE --split all` does; `typed` the share of keystrokes saved on the first
5,000 words of some of them, beside Presage (benchmarks/keyboard.py) with its own English; `recited` the longest runs of
words in 1,000 samples that the training text has too; `starts` bits a byte of small texts, each alone for some minutes,
and from the run for as many or for some epochs.
"""

import argparse
import dataclasses
import itertools
import sys
import tempfile
from pathlib import Path

import numpy as np

import kerasptb
from benchmarks import machine, texts
from benchmarks.keyboard import Presage, type_units, units_of_text
from kerasptb.export import export_run
from kerasptb.keyboard import evaluate_keyboard

_PARTS_OF_TEXT = 20
_NO_DROPOUT = dict.fromkeys(
    ("word_dropout", "input_dropout", "hidden_dropout", "output_dropout", "recurrent_kernel_dropout"), 0.0
)
_SMALL_TEXTS = {
    "10,000 words of a novel": (lambda folder: folder / "novel-holmes.txt", 10_000),
    "100,000 words of a novel": (lambda folder: folder / "novel-emma.txt", 100_000),
    "800,000 words of a FAQ": (lambda folder: texts.text_of("book"), 800_000),
}
_TYPED = "novel-holmes", "test-talk", "test-manuals", "test-speeches", "changelog-pytest"
_TYPED_WORDS = 5_000
_PRESAGE_ENGLISH = "/usr/share/presage/database_en.db"  # of Debian's package libpresage-data
_SAMPLES, _WORDS, _SHORTEST = 1000, 60, 5


def train(options):
    """Trains the model; a run that is there goes on."""
    text = options.folder / "english"  # the name that the run records
    if Path(options.run).exists():
        kerasptb.train(text, out=options.run, resume=True, verbose=2)
        return
    text.mkdir(exist_ok=True)
    for part, file in (("train", "train"), ("valid", "valid"), ("test", "test-books")):
        (text / f"{part}.txt").write_bytes((options.folder / f"{file}.txt").read_bytes())
    kerasptb.train(
        text,
        "auto",
        epochs=options.epochs[0],
        learning_rate=options.rates[0],
        keep_lines=True,
        start_from=options.start,
        counts="none",
        seed=1,
        out=options.run,
        verbose=2,
        model_arguments={**_NO_DROPOUT, "activation_regularization": 1.0, "temporal_activation_regularization": 1.0},
        batch_arguments={"parts": _PARTS_OF_TEXT},
        training_arguments={"warmup_fraction": 0.1, "beta_1": 0.0},
    )


def figures(options):
    """Prints a row for each text."""
    run = kerasptb.load_run(options.run)
    rows = []
    with tempfile.TemporaryDirectory() as temporary:
        packed = kerasptb.load_run(export_run(run, Path(temporary, "run")))
        named = [(path.stem, path, "all") for path in sorted(options.folder.glob("*-*.txt"))]
        for name, data, split in [*named, *([("ptb.test", options.ptb, "test")] if options.ptb else [])]:
            corpus = run.load_corpus(data)
            counts = corpus.count(split)
            row = {"text": name, "words": counts.words, "tokens_a_word": round(counts.tokens / counts.words, 3)}
            for column, each in (("bits_a_byte", run), ("in_8_bits", packed)):
                found = each.evaluate(corpus, split)
                row[column] = round(found.bits_per_byte, 4)
                row.setdefault("perplexity_of_a_word", round(found.word_perplexity, 1))
            rows.append(row)
            print(", ".join(f"{key} {value}" for key, value in row.items()), flush=True)
    if options.csv:
        machine.write_csv(options.csv, rows)


def typed(options):
    """Prints a row for each text and keyboard."""
    run, rows = kerasptb.load_run(options.run), []
    model = run.load_model()
    model.tokenizer = dataclasses.replace(run.text_format, keep_lines=True)
    for name in _TYPED:
        text = first_words(options.folder / f"{name}.txt", _TYPED_WORDS)
        with tempfile.TemporaryDirectory() as folder:
            results = {"Presage": type_units(units_of_text(text), Presage(_PRESAGE_ENGLISH, folder).suggest)[0]}
        for learn in (False, True):
            result = evaluate_keyboard(model, text, learn=learn)
            results["learning" if learn else "as trained"] = result
        for keyboard, result in results.items():
            row = {name: round(value, 4) for name, value in dataclasses.asdict(result).items()}
            rows.append({"text": name, "keyboard": keyboard, **row})
            print(", ".join(f"{key} {value}" for key, value in rows[-1].items()), flush=True)
    if options.csv:
        machine.write_csv(options.csv, rows)


def first_words(path, number):
    """Returns the first lines of a text, with so many words."""
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    counts = np.cumsum([len(line.split()) for line in lines])
    return "".join(lines[: int(np.searchsorted(counts, number)) + 1])


def sampled(run, number, num_words):
    """Returns lists of words, sampled beside each other: what `run.generate` does, for many at a time."""
    model, random, state = run.load_model(), np.random.default_rng(0), None
    ids = [np.full(number, run.vocabulary.encode_typed("")[-1], np.int32)]
    for _ in range(2 * num_words):
        probabilities, state = model.stateless_next_word_probabilities(ids[-1][:, np.newaxis], state)
        until = np.cumsum(probabilities.astype(np.float64), axis=1)
        drawn = (until < random.random((number, 1)) * until[:, -1:]).sum(axis=1)
        ids.append(drawn.astype(np.int32))
    return [run.vocabulary.decode(row).split()[:num_words] for row in np.stack(ids[1:], axis=1)]


def recited(options):
    """Prints the longest runs of words that samples share with the training text."""
    run = kerasptb.load_run(options.run)
    samples = sampled(run, _SAMPLES, _WORDS)
    text = (options.folder / "train.txt").read_text(encoding="utf-8").split()
    size = _SHORTEST
    wanted = {tuple(words[i : i + size]) for words in samples for i in range(len(words) - size + 1)}
    places = {}
    for i in range(len(text) - size + 1):
        if (key := tuple(text[i : i + size])) in wanted:
            places.setdefault(key, []).append(i)
    longest = []
    for words in samples:
        best = []
        for i in range(len(words) - size + 1):
            for place in places.get(tuple(words[i : i + size]), ()):
                end = size
                while i + end < len(words) and text[place + end : place + end + 1] == words[i + end : i + end + 1]:
                    end += 1
                best = max(best, words[i : i + end], key=len)
        longest.append(best)
    lengths = np.array([len(best) for best in longest])
    print(f"{_SAMPLES} samples of {_WORDS} words; longest runs of words of the training text (0: fewer than {size}):")
    print(", ".join(f"{share:g} % {np.percentile(lengths, share):.0f}" for share in (50, 90, 99, 100)))
    for best in sorted(longest, key=len)[-5:]:
        print(f"{len(best)}: {' '.join(best)}")


def small_texts(folder):
    """Returns three texts, by name: the first words of each."""
    found = {}
    for name, (path, num_words) in _SMALL_TEXTS.items():
        found[name] = first_words(path(folder), num_words)
    return found


def starts(options):
    """Prints a row for each text and start."""
    for name, text in small_texts(options.folder).items():
        if options.only not in (None, name.split()[0]):
            continue
        path = options.out / f"{name.replace(',', '').replace(' ', '-')}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        from_run = itertools.product([options.run], options.rates or [None], options.epochs or [None])
        for start, rate, epochs in [("none", None, None), *from_run]:
            row = {"from": Path(start).name, "learning_rate": rate, "epochs": epochs}
            run = kerasptb.train(
                path,
                "auto",
                minutes=options.minutes if epochs is None else None,
                epochs=epochs,
                start_from=start,
                learning_rate=rate,
                seed=1,
                out=options.out / "-".join(map(str, (path.stem, *row.values()))),
                verbose=0,
            )
            row = {"text": name, **row, "passes": len(run.history) / run.settings.batches.parts}
            row |= {name: run.metrics[name] for name in ("best_epoch", "test_bits_per_byte")}
            print(", ".join(f"{key} {value}" for key, value in row.items()), flush=True)


_PARTS = {part.__name__: part for part in (train, figures, typed, recited, starts)}


def main(arguments=None):
    """Runs the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("what", choices=tuple(_PARTS))
    parser.add_argument("folder", type=Path, help="what benchmarks.english_text wrote")
    parser.add_argument("run", help="run folder, or english")
    parser.add_argument("--minutes", type=float, default=5)
    parser.add_argument("--ptb", type=Path, help="folder of the Penn Treebank, for its test text")
    parser.add_argument("--start", default="english", help="of `train`: the run that it goes on from")
    parser.add_argument("--epochs", type=int, nargs="+", help="of `train`: one; of `starts`: in place of minutes")
    parser.add_argument("--rates", type=float, nargs="+", help="of `train`: one; of `starts`: in place of the default")
    parser.add_argument("--only", help="of `starts`: one text, such as 10,000")
    parser.add_argument("--out", type=Path, default=Path("runs/starts"))
    parser.add_argument("--csv", type=Path)
    options = parser.parse_args(arguments)
    _PARTS[options.what](options)


if __name__ == "__main__":
    sys.exit(main())
