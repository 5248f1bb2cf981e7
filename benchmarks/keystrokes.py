"""How long a keystroke takes where an export suggests whole words, beside the run itself.

    taskset --cpu-list 0 python -m benchmarks.keystrokes RUN [--text FILE] [--characters N] [--csv FILE]

The first characters of the text, or of the run's test text, are typed one after another, and after each, three words
are suggested that begin as typed. What was read before is kept: a keystroke reads the pieces of a word that has just
ended, one a call, and those that the search for words of several pieces asks for, all of a round in a call. The search
is Python's, but the sources in C, which are compiled with `cc -O3 -march=native`, do all of it in C. All of them type
each paragraph by turns. None needs a second thread, and `taskset` lets libraries start none that only wait.
The times are of the clock, and of the processor, which other work on the machine does not add to. The bytes are those
of the files that were written, the tokenizer's too; of C those of the library.
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks import machine
from benchmarks.c_model import CModel, compile_model
from benchmarks.exports import size_of
from kerasptb import conversion, export
from kerasptb.keyboard import Writer
from kerasptb.reading import Context, run_search
from kerasptb.run import load_run


class Keyboard:
    """Suggestions after a text that grows.

    Args:
        tokenizer: the `Tokenizer`.
        begin: the `Context` before any token.
        extend: function of contexts and a token for each that returns the contexts after them.

    Attributes:
        calls: number of calls of `extend`.
    """

    def __init__(self, tokenizer, begin, extend):
        self._tokenizer, self._writer, self._begin, self._extend = tokenizer, Writer(tokenizer), begin, extend
        self._ids, self._context, self.calls = [], begin, 0

    def suggest(self, text, k=3):
        """Returns pairs of words, of which the last of the text is the beginning, and their probabilities."""
        typed = self._writer.split(text)
        ids = self._tokenizer.encode_typed(typed.whole).tolist()
        if ids[: len(self._ids)] != self._ids:
            self._ids, self._context = [], self._begin
        for token in ids[len(self._ids) :]:
            (self._context,) = self._read([self._context], [token])
        self._ids = ids
        search = self._writer.keys(self._context, typed.prefix, k, typed.begins)
        return run_search(
            search, lambda asked: self._read([each.context for each in asked], [each.piece for each in asked])
        ).words

    def _read(self, contexts, tokens):
        self.calls += 1
        return self._extend(contexts, tokens)


def by_reader(reader):
    """Returns the arguments `begin` and `extend` of a `Keyboard`."""
    return Context(np.zeros(reader.state_size, "float32"), None), reader.extend


def by_steps(zero, step):
    """Returns the same of an export.

    Args:
        zero: the state before any token, by name: float32 [1, H].
        step: function of tokens, int32 [N, 1], and a state, [N, H], that returns log probabilities, [N, V], and the
            state afterwards.
    """

    def extend(contexts, tokens):
        state = {name: np.concatenate([each.state[name] for each in contexts]) for name in zero}
        rows, state = step(np.array(tokens, "int32")[:, np.newaxis], state)
        return [Context({name: value[i : i + 1] for name, value in state.items()}, row) for i, row in enumerate(rows)]

    return Context(zero, None), extend


def litert(path):
    """Returns them of a LiteRT file."""
    from ai_edge_litert.interpreter import Interpreter  # noqa: PLC0415  (an extra)

    runner = Interpreter(str(path), num_threads=1).get_signature_runner("step")
    inputs = runner.get_input_details().items()

    def step(tokens, state):
        result = runner(tokens=tokens, **state)
        with np.errstate(divide="ignore"):
            return np.log(result.pop("probabilities")), result

    return by_steps({name: np.zeros(each["shape"], "float32") for name, each in inputs if name != "tokens"}, step)


def onnx(path):
    """Returns them of an ONNX file."""
    import onnxruntime  # noqa: PLC0415  (an extra)

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    _, *inputs = session.get_inputs()
    zero = {each.name: np.zeros((1, each.shape[1]), "float32") for each in inputs}

    def step(tokens, state):
        logits, *values = session.run(None, {"tokens": tokens, **state})
        rows = logits[:, -1] - logits.max(-1)
        return rows - np.log(np.exp(rows).sum(1, keepdims=True)), dict(zip(state, values, strict=True))

    return by_steps(zero, step)


def saved_model(folder, vocabulary_size):
    """Returns them of a SavedModel of pieces, whose `step` is asked for all of them and sorts them."""
    import tensorflow as tf  # noqa: PLC0415  (seconds)

    loaded = tf.saved_model.load(str(folder))

    def step(tokens, state):
        result = {name: value.numpy() for name, value in loaded.step(tokens, vocabulary_size, **state).items()}
        rows = np.full((len(tokens), vocabulary_size), -np.inf, "float32")
        np.put_along_axis(rows, result["tokens"], np.log(result["probabilities"]), 1)
        return rows, {name: result[name] for name in state}

    return by_steps({name: value.numpy() for name, value in loaded.initial_state(1).items()}, step)


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
    tokenizer = run.vocabulary
    path = export.export_run(run, folder / "run")
    yield "run", size_of(path), Keyboard(tokenizer, *by_reader(load_run(path).reader))
    path = conversion.export_saved_model(run, folder / "saved_model")
    yield "saved-model", size_of(path), Keyboard(tokenizer, *saved_model(path, len(tokenizer)))
    for name, quantize in (("litert", False), ("litert, 8 bits", True)):
        path = conversion.export_litert(run, folder / name / "model.tflite", quantize=quantize)
        yield name, size_of(path.parent), Keyboard(tokenizer, *litert(path))
    path = conversion.export_onnx(run, folder / "onnx" / "model.onnx")
    yield "onnx", size_of(path.parent), Keyboard(tokenizer, *onnx(path))
    for name, float32 in (("c", True), ("c, 8 bits", False)):
        library = compile_model(export.export_c(run, folder / name, float32=float32), "-O3", "-march=native")
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
        keyboards = list(make_keyboards(run, Path(folder)))
        measured = {name: [] for name, _, _ in keyboards}
        for paragraph in text[: options.characters].split("\n"):
            for name, _, keyboard in keyboards:
                measured[name] += type_paragraph(keyboard, paragraph)
        for name, size, _ in keyboards:
            values = np.array(measured[name])
            row = {"format": name, "bytes": size, "keystrokes": len(values)}
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
