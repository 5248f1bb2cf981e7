"""Are bits a byte bits? A text is written by an arithmetic coder with a model's probabilities, and read back.

    python -m benchmarks.compress RUN [--data FILE_OR_FOLDER …] [--split test] [--bytes N] [--primed] [--csv FILE]

A row for the network alone, and one with counts if the run has them: bits a byte as `kerasptb evaluate` says them, for
every word in one stream; those of the file that the coder wrote, and with the bytes of the model; and those of xz -9e,
of PPMd var. H (`pip install pyppmd`; the best of orders 5, 8 and 16) and of zpaq -m5, if they are there. These have
read nothing before, or, `--primed`, the training part of the text.

Tokens are read one at a time, by the same calls when they are written and when they are read back, since a sum in
another order has other last digits: a file is for the machine that wrote it. The first token, which `evaluate` leaves
out, is written as if all were equally likely. Model and code are apart as with Witten, Neal and Cleary (1987,
"Arithmetic coding for data compression"); whole bytes are written as with Martin (1979, "Range encoding").
"""

import argparse
import dataclasses
import lzma
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

import kerasptb
from benchmarks import machine
from kerasptb.data import Corpus, Tokenizer
from kerasptb.reading import CountedReader, Reader
from kerasptb.reading.context import Context
from kerasptb.run import Run
from kerasptb.runs import files

_PARTS = 1 << 32  # of which tokens have their shares
_TOP, _BOTTOM = 1 << 64, 1 << 56  # below the latter a byte of the interval's ends is settled, but for a carry
_NUMBER = 4  # bytes of the number of tokens


class Encoder:
    """Narrows an interval; of where it begins, `_low` is all but the bytes that are written."""

    def __init__(self) -> None:
        self._written, self._low, self._width = bytearray(), 0, _TOP

    def write(self, begin: int, end: int, total: int) -> None:
        """Writes what has the parts from `begin` to `end` of a total."""
        part = self._width // total
        self._low, self._width = self._low + part * begin, part * (end - begin)
        if self._low >= _TOP:
            self._low -= _TOP
            place = len(self._written) - 1
            while self._written[place] == 0xFF:
                self._written[place], place = 0, place - 1
            self._written[place] += 1
        while self._width < _BOTTOM:
            self._written.append(self._low // _BOTTOM)
            self._low, self._width = self._low % _BOTTOM << 8, self._width << 8

    def end(self) -> bytes:
        """Returns what was written; zeros may follow."""
        unit = _BOTTOM >> 8  # a multiple of it is in the interval
        begin = -(-self._low // unit) * unit
        self.write(begin - self._low, begin - self._low + 1, self._width)
        return bytes(self._written).rstrip(b"\0")


class Decoder:
    """Reads what an `Encoder` wrote; `_beyond` is how far into the interval the number that was written lies."""

    def __init__(self, written: bytes) -> None:
        self._beyond, self._bytes = int.from_bytes(written[:8].ljust(8, b"\0"), "big"), iter(written[8:])
        self._width = _TOP

    def read(self, ends: np.ndarray) -> int:
        """Returns which of the intervals between ends, integers [V + 1] from 0 on, was written."""
        part = self._width // int(ends[-1])
        token = int(np.searchsorted(ends, self._beyond // part, side="right")) - 1
        self._beyond -= part * int(ends[token])
        self._width = part * int(ends[token + 1] - ends[token])
        while self._width < _BOTTOM:
            self._beyond, self._width = self._beyond << 8 | next(self._bytes, 0), self._width << 8
        return token


def ends_of_shares(log_probabilities: np.ndarray) -> np.ndarray:
    """Returns where the shares of tokens end, int64 [V + 1], a 0 first: of about 2^32 parts each has one at least."""
    probabilities = np.exp(log_probabilities, dtype="float64")
    shares = probabilities * ((_PARTS - len(probabilities)) / probabilities.sum())
    return np.concatenate([[0], np.cumsum(shares.astype("int64") + 1)])


def _shares(reader: Reader, number: int, ids: list[int]) -> Iterator[np.ndarray]:
    """Yields the ends of the shares before each of a number of tokens, once those before it are in `ids`."""
    context = Context(np.zeros(reader.state_size, "float32"), None)
    for place in range(number):
        if place:
            (context,) = reader.extend([context], [ids[place - 1]])
        yield ends_of_shares(context.known() if place else np.zeros(len(reader.tokenizer), "float32"))


def compress(reader: Reader, ids: list[int]) -> bytes:
    """Returns tokens as bytes, written with the probabilities of a reader."""
    encoder = Encoder()
    for token, ends in zip(ids, _shares(reader, len(ids), ids), strict=True):
        encoder.write(int(ends[token]), int(ends[token + 1]), int(ends[-1]))
    return len(ids).to_bytes(_NUMBER, "big") + encoder.end()


def decompress(reader: Reader, written: bytes) -> list[int]:
    """Returns the tokens that `compress` wrote with the same reader."""
    decoder, ids = Decoder(written[_NUMBER:]), list[int]()
    for ends in _shares(reader, int.from_bytes(written[:_NUMBER], "big"), ids):
        ids.append(decoder.read(ends))
    return ids


def text_of(tokenizer: Tokenizer, ids: Iterable[int]) -> bytes:
    """Returns what tokens write."""
    lines = b"".join(tokenizer.pieces[index] for index in ids).split(b"\n")
    return b"\n".join(line.removeprefix(tokenizer.first.encode()) for line in lines)


def measure(run: Run, counts: bool, corpus: Corpus, split: Any) -> dict[str, Any]:
    """Returns what is said of a text, and what became of it."""
    reader, ids = kerasptb.load_reader(run.folder, counts), corpus.split(split).tolist()
    text, with_counts = text_of(run.vocabulary, ids), run.evaluate_counts(corpus, split) if counts else None
    said = (with_counts[0] if with_counts else run.evaluate(corpus, split)).bits_per_byte
    begin = time.perf_counter()
    written = compress(reader, ids)
    seconds = time.perf_counter() - begin
    model = _size_of_model(run, counts)
    return {
        "reads": "counts" if counts else "network",
        "tokens": len(ids),
        "bytes": len(text),
        "evaluate": round(said, 5),
        "coder": round(8 * len(written) / len(text), 5),
        "ratio": round(8 * len(written) / len(text) / said, 5),
        "model_bytes": model,
        "coder_and_model": round(8 * (len(written) + model) / len(text), 3),
        "exact": "yes" if text_of(run.vocabulary, decompress(reader, written)) == text else "no",
        "tokens_a_second": round(len(ids) / seconds),
    }


def _size_of_model(run: Run, counts: bool) -> int:
    names = [files.CONFIG, run.vocabulary.FILE, *([files.COUNTS] if counts else [])]
    packed = run.folder / files.QUANTIZED  # other weights have those of the optimizer beside them
    weights = packed.stat().st_size if packed.exists() else 4 * run.metrics["parameters"]
    return weights + sum((run.folder / name).stat().st_size for name in names)


def _ppmd(text: bytes) -> int:
    import pyppmd  # noqa: PLC0415

    encoders = (pyppmd.Ppmd7Encoder(order, 256 << 20) for order in (5, 8, 16))
    return min(len(encoder.encode(text) + encoder.flush()) for encoder in encoders)


def _zpaq(text: bytes) -> int:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "text").write_bytes(text)
        command = [shutil.which("zpaq") or "zpaq", "add", "archive.zpaq", "text", "-m5"]
        subprocess.run(command, cwd=folder, check=True, capture_output=True)
        return Path(folder, "archive.zpaq").stat().st_size


def others(text: bytes, before: bytes) -> dict[str, float | None]:
    """Returns the bits a byte that a text adds to another before it, by program; `None` if one is not there."""
    found = dict[str, float | None]()
    programs = {"xz": lambda text: len(lzma.compress(text, preset=9 | lzma.PRESET_EXTREME)), "PPMd": _ppmd}
    for name, size in (programs | {"zpaq": _zpaq}).items():
        try:
            found[name] = round(8 * (size(before + text) - (size(before) if before else 0)) / len(text), 4)
        except (ModuleNotFoundError, FileNotFoundError):
            found[name] = None
    return found


def spaces_lost(text: bytes, source: Path, split: str) -> int | None:
    """Returns how many bytes of white space a text lacks of its file; `None` if it has no own one, or other words."""
    paths = [source] if split == "all" else [source / f"{name}{split}.txt" for name in ("ptb.", "")]
    file = next((path.read_bytes() for path in paths if path.is_file()), b"")
    return len(file) - len(text) if b"".join(text.split()) == b"".join(file.split()) else None


def rows_of(run: Run, data: Path | None, options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Yields the rows of a text."""
    corpus, vocabulary, split = run.load_corpus(data), run.vocabulary, options.split
    source = data or Path(corpus.location or "")
    about = {"run": Path(options.run).name, "text": source.stem, "split": split}
    if options.bytes:
        ids = corpus.split(split)
        ends = np.cumsum([len(vocabulary.pieces[index]) for index in ids.tolist()])
        ids = ids[: np.searchsorted(ends, options.bytes)]
        corpus, split = dataclasses.replace(corpus, test=ids, counts=None, read_whole=None), "test"
    text = text_of(vocabulary, corpus.split(split))
    compared: dict[str, Any] = {"spaces_lost": spaces_lost(text, source, options.split)}
    compared |= others(text, text_of(vocabulary, corpus.train) if options.primed else b"")
    for counts in (False, True)[: 1 + isinstance(run.reader, CountedReader)]:
        yield about | measure(run, counts, corpus, split) | compared


def main(arguments: list[str] | None = None) -> None:
    """Runs the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("run", help="run folder, or english")
    parser.add_argument("--data", type=Path, nargs="+", default=[None], help="texts in place of the run's own")
    parser.add_argument("--split", choices=("train", "valid", "test", "all"), default="test")
    parser.add_argument("--bytes", type=int, help="how much of each, about")
    parser.add_argument("--primed", action="store_true", help="the other programs have read the training part")
    parser.add_argument("--csv", type=Path)
    options = parser.parse_args(arguments)
    rows, run = list[dict[str, Any]](), kerasptb.load_run(options.run)
    for data in options.data:
        for row in rows_of(run, data, options):
            print(", ".join(f"{key} {value}" for key, value in row.items()), flush=True)
            rows.append(row)
    if options.csv:
        machine.write_csv(options.csv, rows)


if __name__ == "__main__":
    main()
