"""Bits a byte of a text's held-out part in equal minutes: words, subwords, characters; and two without minutes.

    python -m benchmarks.own_text TEXT [--minutes 10] [--only NAME …] [--vocabulary-size N …] [--units H …] [--csv FILE]

TEXT is novel, book or manuals (benchmarks/texts.py), or a file. A row each:

- `words`, `subwords`, `characters`: `--preset` in bfloat16, `train(minutes=…)`. Characters are read in rows of 140,
  words and subwords in rows of the preset's. A run that is there already is not trained again. `--units` names other
  sizes of layers; the embedding has that of the last.
- `Kneser-Ney`: KenLM's modified Kneser-Ney of order 5 (Heafield et al., 2013) on the subwords; needs `lmplz` and
  `query` of github.com/kpu/kenlm on the PATH. A paragraph is a sentence, or the text is one: the better of both.
- `PPMd`: PPMd var. H (Shkarin, 2002; `pip install pyppmd`), which has read the training text: what the test text adds
  to its file. The order is that which is best on the validation text.
"""

import argparse
import csv
import math
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import kerasptb
from benchmarks import machine
from benchmarks.texts import TEXTS, text_of
from kerasptb.data import load_corpus

# Beside the network's own figure, bits a byte with the counts of the training text, and with those that go on.
_WITH_COUNTS = ("with_counts", "with_counts_going_on")


def measure(data, tokens, size, options):
    """Returns the row of a training."""
    corpus = load_corpus(data, tokens=tokens, vocabulary_size=size)
    settings = {"preset": options.preset, "precision": "bfloat16", "seed": options.seed, "verbose": options.verbose}
    if tokens == "characters":
        settings["num_steps"] = 140
    name = f"{Path(data).stem}-{tokens}-{len(corpus.vocabulary)}-{options.preset}-{options.seed}-{options.minutes:g}"
    if options.units:
        settings |= {"units": options.units, "embedding_size": options.units[-1]}
        name += f"-{'-'.join(map(str, options.units))}"
    begin, minutes = time.perf_counter(), None
    if (options.out / name).exists():
        run = kerasptb.load_run(options.out / name)
    else:
        run = kerasptb.train(corpus, minutes=options.minutes, out=options.out / name, **settings)
        minutes = round((time.perf_counter() - begin) / 60, 1)
    perplexity = min(row["val_perplexity"] for row in run.history)
    return {
        "tokens": len(corpus.vocabulary),
        "tokens_a_word": round(corpus.counts["test"].tokens / corpus.counts["test"].words, 3),
        "units": " ".join(map(str, run.settings.model.units)),
        "parameters": run.metrics["parameters"],
        "passes": round(len(run.history) / run.settings.batches.parts, 1),
        "minutes": minutes,
        "valid_bits_a_byte": round(corpus.counts["valid"].bits_per_byte(perplexity), 3),
        "test_bits_a_byte": round(run.metrics["test_bits_per_byte"], 3),
        **{way: _rounded(run.metrics.get(f"test_bits_per_byte_{way}")) for way in _WITH_COUNTS},
        "test_perplexity_of_a_word": round(run.metrics["test_word_perplexity"], 1),
        "test_unknown": round(corpus.counts["test"].unknown_share, 4),
    }


def _rounded(figure):
    return None if figure is None else round(figure, 3)


def kneser_ney(data, size, options):
    """Returns the row of KenLM's model."""
    del options
    corpus = load_corpus(data, tokens="subwords", vocabulary_size=size)
    begin = time.perf_counter()
    nats = min(_nats_of_kneser_ney(corpus, end) for end in ("\n", f" {corpus.vocabulary.eos_id} "))
    return {
        "tokens": len(corpus.vocabulary),
        "minutes": round((time.perf_counter() - begin) / 60, 2),
        **_figures(nats, corpus.counts["test"]),
    }


def _nats_of_kneser_ney(corpus, end):
    """Returns the cost of the test text in nats, in sentences that end in `end`."""
    eos = str(corpus.vocabulary.eos_id)

    def lines(ids):
        text = "".join(end if token == eos else f"{token} " for token in map(str, ids.tolist()))
        return text.removesuffix("\n") + "\n"

    with tempfile.TemporaryDirectory() as temporary:
        arpa = Path(temporary) / "arpa"
        with arpa.open("w") as file:
            command = ["lmplz", "-o", "5", "--discount_fallback", "-S", "2G", "-T", temporary]
            silent = subprocess.DEVNULL
            subprocess.run(command, input=lines(corpus.train), text=True, stdout=file, stderr=silent, check=True)
        command = ["query", "-v", "summary", arpa]
        told = subprocess.run(command, input=lines(corpus.test), text=True, capture_output=True, check=True).stdout
    figures = dict(line.split(":") for line in told.splitlines() if ":" in line)
    tokens, perplexity = float(figures["Tokens"]), float(figures["Perplexity including OOVs"])
    # A text that is one sentence has one more end of it, which is no part of the text; it is one in many thousand.
    return tokens * math.log(perplexity)


def ppmd(data, size, options):
    """Returns the row of PPMd."""
    del size, options
    import pyppmd  # noqa: PLC0415

    corpus = load_corpus(data, tokens="characters")
    parts = (corpus.split(name) for name in ("train", "valid", "test"))
    train, valid, test = (corpus.vocabulary.decode(ids).encode() for ids in parts)
    begin = time.perf_counter()

    def bits(order, text):
        encoder = pyppmd.Ppmd7Encoder(order, 2000 << 20)
        encoder.encode(train)
        return 8 * len(encoder.encode(text) + encoder.flush())

    best = min((5, 8, 16), key=lambda order: bits(order, valid))
    nats = bits(best, test) * math.log(2)
    minutes = (time.perf_counter() - begin) / 60
    return {"order": best, "minutes": round(minutes, 2), **_figures(nats, corpus.counts["test"])}


def _figures(nats, counts):
    return {
        "test_bits_a_byte": round(nats / math.log(2) / counts.bytes, 3),
        "test_perplexity_of_a_word": round(math.exp(nats / counts.words), 1),
    }


KINDS = {
    "words": lambda data, size, options: measure(data, "words", size, options),
    "subwords": lambda data, size, options: measure(data, "subwords", size, options),
    "characters": lambda data, _, options: measure(data, "characters", None, options),
    "Kneser-Ney": kneser_ney,
    "PPMd": ppmd,
}


def main(arguments=None):
    """Runs the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("text", help=f"{', '.join(TEXTS)}, or a file")
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--only", nargs="+", choices=KINDS, default=list(KINDS), metavar="NAME")
    parser.add_argument("--vocabulary-size", type=int, nargs="+", help="several subwords, a row each")
    parser.add_argument("--units", type=int, nargs="+", metavar="H")
    parser.add_argument("--preset", default="auto")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("runs/own-text"))
    parser.add_argument("--verbose", type=int, default=2)
    parser.add_argument("--csv", type=Path, help="file to which the rows are added")
    options = parser.parse_args(arguments)
    data = text_of(options.text) if options.text in TEXTS else options.text
    for kind in options.only:
        sizes = options.vocabulary_size if kind in ("subwords", "Kneser-Ney") else None
        for size in sizes or [None]:
            row = {"text": options.text, "kind": kind, **KINDS[kind](data, size, options)}
            row |= {"machine": machine.processor()}
            print(", ".join(f"{key} {value}" for key, value in row.items()), flush=True)
            if options.csv:
                _add(options.csv, row)


_COLUMNS = (
    "text", "kind", "tokens", "tokens_a_word", "order", "units", "parameters", "passes", "minutes", "valid_bits_a_byte",
    "test_bits_a_byte", *_WITH_COUNTS, "test_perplexity_of_a_word", "test_unknown", "machine",
)  # fmt: skip


def _add(path, row):
    is_new = not path.exists()
    with path.open("a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, _COLUMNS, lineterminator="\n")
        if is_new:
            writer.writeheader()
        writer.writerow(row)


if __name__ == "__main__":
    sys.exit(main())
