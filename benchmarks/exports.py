"""The size and the perplexity of each export of a run, beside those of the run itself.

    python -m benchmarks.exports RUN [--data DIR] [--words N] [--csv FILE]

Each format's own runtime reads the test text token by token, from a zero state, and scores every token but the first.
A SavedModel reads `<eos>` before the text and so scores one token more. The times are those of reading one text, with
one token per call for LiteRT and a thousand per call for ONNX, on a machine that may have had other work.
"""

import argparse
import itertools
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks import machine

ONNX_TOKENS = 1000  # per call


def run_itself(run, ids):
    """Returns the perplexity by `evaluate_perplexity` with Keras' own layers."""
    from kerasptb import evaluate_perplexity  # noqa: PLC0415

    return evaluate_perplexity(run.load_model(backend="keras", precision="float32"), ids, every_word=True)


def saved_model(folder, run, ids):
    """Returns the perplexity by the signature `score`, of the text or of its ids."""
    import tensorflow as tf  # noqa: PLC0415

    loaded = tf.saved_model.load(str(folder))
    if hasattr(loaded, "encode"):
        rows = [run.vocabulary.decode(ids).replace(" <eos>", "\n")]
    else:
        rows = [[run.vocabulary.eos_id, *ids.tolist()]]
    return float(loaded.score(rows)["perplexity"][0])


def litert(path, run, ids):
    """Returns the perplexity in LiteRT's interpreter, with one token per call."""
    from ai_edge_litert.interpreter import Interpreter  # noqa: PLC0415

    runner = Interpreter(str(path)).get_signature_runner("step")
    details = runner.get_input_details().items()
    state = {name: np.zeros(detail["shape"], np.float32) for name, detail in details if name != "tokens"}
    cross_entropy = 0.0
    for token, target in itertools.pairwise(ids):
        state = runner(tokens=np.array([[token]], np.int32), **state)
        cross_entropy -= np.log(np.float64(state.pop("probabilities")[0, target]))
    return float(np.exp(cross_entropy / (len(ids) - 1)))


def onnx(path, run, ids):
    """Returns the perplexity in onnxruntime."""
    import onnxruntime  # noqa: PLC0415

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    state = {value.name: np.zeros((1, value.shape[1]), np.float32) for value in session.get_inputs()[1:]}
    cross_entropy = 0.0
    for begin in range(0, len(ids) - 1, ONNX_TOKENS):
        targets = ids[begin + 1 : begin + 1 + ONNX_TOKENS]
        tokens = ids[np.newaxis, begin : begin + len(targets)].astype(np.int32)
        logits, *new_state = session.run(None, {"tokens": tokens, **state})
        state = dict(zip(state, new_state, strict=True))
        logits = logits[0].astype(np.float64)
        logits -= logits.max(axis=1, keepdims=True)
        log_sum = np.log(np.exp(logits).sum(axis=1))
        cross_entropy += np.sum(log_sum - logits[np.arange(len(targets)), targets])
    return float(np.exp(cross_entropy / (len(ids) - 1)))


def size_of(path):
    """Returns the size in bytes of a file, or of all files in a folder."""
    return sum(file.stat().st_size for file in ([path] if path.is_file() else path.rglob("*")) if file.is_file())


def main():
    """Runs the measurement from the command line."""
    import kerasptb  # noqa: PLC0415
    from kerasptb import conversion  # noqa: PLC0415

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", help="run folder")
    parser.add_argument("--data", help="as for `kerasptb evaluate`")
    parser.add_argument("--words", type=int, help="only the first N tokens of the test text")
    parser.add_argument("--csv", help="file to write the rows to")
    options = parser.parse_args()

    run = kerasptb.load_run(options.run)
    ids = run.load_corpus(options.data).test[: options.words]
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        contenders = {
            "run": lambda: (None, run_itself),
            "saved-model": lambda: (conversion.export_saved_model(run, folder / "saved_model"), saved_model),
            "litert": lambda: (conversion.export_litert(run, folder / "model.tflite"), litert),
            "litert, 8-bit weights": lambda: (
                conversion.export_litert(run, folder / "small.tflite", quantize=True),
                litert,
            ),
            "onnx": lambda: (conversion.export_onnx(run, folder / "model.onnx"), onnx),
        }
        rows = []
        for name, make in contenders.items():
            path, measure = make()
            begin = time.perf_counter()
            perplexity = measure(run, ids) if path is None else measure(path, run, ids)
            seconds = time.perf_counter() - begin
            size = "" if path is None else size_of(path)
            rows.append({"format": name, "bytes": size, "perplexity": perplexity, "seconds": round(seconds, 2)})
            print(f"{name:22} {size:>12} bytes  perplexity {perplexity:.4f}  {seconds:7.1f} s", flush=True)
    if options.csv:
        machine.write_csv(options.csv, rows, words=len(ids))


if __name__ == "__main__":
    main()
