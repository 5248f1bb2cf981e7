"""How long a keystroke takes where a LiteRT file, or C, suggests whole words.

    python -m benchmarks.keystrokes RUN [--text FILE] [--characters N] [--csv FILE]

The first characters of the text, or of the run's test text, are typed one after another, and after each, three words
are suggested that begin as typed. The interpreter has one thread. What was read before is kept: a keystroke reads the
pieces of a word that has just ended, one a call, and those that the search for words of several pieces asks for, all of
a round in a call. The sources in C are compiled with `cc -O3 -march=native`, and do all of it in C. The three type each
paragraph by turns.
The times are of the clock, and of the processor, which other work on the machine does not add to.
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks import machine
from benchmarks.c_model import CModel, compile_model
from kerasptb.export import export_c, export_litert
from kerasptb.reading import Context, Writer, run_search
from kerasptb.runs import load_run


class Keyboard:
    """Suggestions after a text that grows.

    Args:
        path: the LiteRT file.
        tokenizer: its `Tokenizer`.

    Attributes:
        calls: number of calls of the interpreter.
    """

    def __init__(self, path, tokenizer):
        from ai_edge_litert.interpreter import Interpreter  # noqa: PLC0415  (an extra)

        self._step = Interpreter(str(path), num_threads=1).get_signature_runner("step")
        inputs = self._step.get_input_details().items()
        self._zero = {name: np.zeros(each["shape"], "float32") for name, each in inputs if name != "tokens"}
        self._tokenizer, self._writer = tokenizer, Writer(tokenizer)
        self._ids, self._context, self.calls = [], Context(self._zero, None), 0

    def suggest(self, text, k=3):
        """Returns pairs of words, of which the last of the text is the beginning, and their probabilities."""
        typed = self._writer.split(text)
        ids = self._tokenizer.encode_typed(typed.whole).tolist()
        if ids[: len(self._ids)] != self._ids:
            self._ids, self._context = [], Context(self._zero, None)
        for token in ids[len(self._ids) :]:
            (self._context,) = self._read([token], [self._context])
        self._ids = ids
        search = self._writer.keys(self._context, typed.prefix, k, typed.begins)
        found = run_search(
            search, lambda asked: self._read([each.piece for each in asked], [each.context for each in asked])
        )
        return found.words

    def _read(self, tokens, contexts):
        self.calls += 1
        state = {name: np.concatenate([each.state[name] for each in contexts]) for name in self._zero}
        result = self._step(tokens=np.array(tokens, "int32")[:, np.newaxis], **state)
        with np.errstate(divide="ignore"):
            rows = np.log(result.pop("probabilities"))
        return [Context({name: value[i : i + 1] for name, value in result.items()}, row) for i, row in enumerate(rows)]


class KeyboardInC:
    """The same of sources in C, of which no calls are counted."""

    calls = 0

    def __init__(self, library):
        self._c, self._ids = CModel(library), np.zeros(0, "int32")
        self._context = self._c.begin()

    def suggest(self, text, k=3):
        """Returns pairs of words and their probabilities."""
        ids = self._c.encode(self._c.split(text)[0])
        if not np.array_equal(ids[: len(self._ids)], self._ids):
            self._ids, self._context = ids[:0], self._c.begin()
        if len(ids) > len(self._ids):
            self._c.read(self._context, ids[len(self._ids) :])
        self._ids = ids
        return self._c.suggest(self._context, k)[0]


def type_paragraph(keyboard, paragraph):
    """Types a text; returns for each keystroke the seconds of the clock and of the processor, and the calls."""
    measured = []
    for end in range(len(paragraph) + 1):
        calls, clock, processor = keyboard.calls, time.perf_counter(), time.process_time()
        keyboard.suggest(paragraph[:end])
        measured.append((time.perf_counter() - clock, time.process_time() - processor, keyboard.calls - calls))
    return measured


def make_keyboards(run, folder):
    """Yields the name of each keyboard, the bytes of its model, and itself."""
    for name, quantize in (("litert, float32", False), ("litert, 8 bits", True)):
        path = export_litert(run, Path(folder, name, "model.tflite"), quantize=quantize)
        yield name, path.stat().st_size, Keyboard(path, run.vocabulary)
    for name, float32 in (("c, float32", True), ("c, 8 bits", False)):
        library = compile_model(export_c(run, Path(folder, name), float32=float32), "-O3", "-march=native")
        yield name, library.stat().st_size, KeyboardInC(library)


def main():
    """Runs the measurement from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", help="run folder")
    parser.add_argument("--text", type=Path, help="text to type (default: the run's test text)")
    parser.add_argument("--characters", type=int, default=3000, help="characters that are typed (default: 3000)")
    parser.add_argument("--csv", help="file to write the rows to")
    options = parser.parse_args()
    run = load_run(options.run)
    if options.text is None:
        text = run.vocabulary.decode(run.load_corpus().test[: options.characters])
    else:
        text = options.text.read_text(encoding="utf-8")
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        keyboards = list(make_keyboards(run, folder))
        measured = {name: [] for name, _, _ in keyboards}
        for paragraph in text[: options.characters].split("\n"):
            for name, _, keyboard in keyboards:
                measured[name] += type_paragraph(keyboard, paragraph)
        for name, size, _ in keyboards:
            values = np.array(measured[name])
            row = {"weights": name, "bytes": size, "keystrokes": len(values)}
            for column, (what, factor) in enumerate((("ms", 1000), ("processor_ms", 1000), ("calls", 1))):
                for quantile in (0.5, 0.9, 0.99):
                    row[f"{what}_{100 * quantile:.0f}"] = round(
                        factor * float(np.quantile(values[:, column], quantile)), 2
                    )
            rows.append(row)
            print(row, flush=True)
    print("; ".join(f"{name} {value}" for name, value in machine.describe().items()))
    if options.csv:
        machine.write_csv(options.csv, rows, tokens=len(run.vocabulary))


if __name__ == "__main__":
    main()
