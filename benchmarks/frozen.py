"""Frozen models beside what else runs a trained recurrent model on a processor.

    python -m benchmarks.frozen [--peers PYTHON] [--rounds N] [--cases NAME ...] [--contenders NAME ...] [--csv FILE]

`PYTHON` is that of a virtual environment with the peers: keras, openvino, onnx, onnxruntime, torch and ai-edge-litert.
Two recurrent layers and a Dense of one output, of the same weights for all. Each contender is a process that keeps its
models; they are asked by turns, for a call of 1, 32 and 256 rows, and for 6,400 rows as each does many: `predict`, or
batches of 256. The median of the rounds counts; the outputs of the first rows are compared.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

CASES = {
    f"{cell.upper()} {H} x {T} x {D}": (cell, H, T, D)
    for cell, H, T, D in (
        *(("lstm", 32, 10, 4), ("lstm", 64, 24, 8), ("lstm", 50, 60, 1), ("lstm", 128, 100, 16), ("lstm", 256, 60, 32)),
        *(("gru", 64, 24, 8), ("gru", 256, 60, 32)),
    )
}
ROWS, MANY, BATCH = (1, 32, 256), 6400, 256


def weights_of(cell, H, D):
    """Returns the weights of the layers in Keras' order, and those of the Dense."""
    random, gates, layers = np.random.default_rng(1), {"lstm": 4, "gru": 3}[cell], []
    for features in (D, H):
        shapes = (features, gates * H), (H, gates * H), (gates * H,) if cell == "lstm" else (2, gates * H)
        layers.append([random.uniform(-(H**-0.5), H**-0.5, shape).astype("float32") for shape in shapes])
    return layers, [random.uniform(-1, 1, shape).astype("float32") for shape in ((H, 1), (1,))]


def inputs_of(T, D, rows):
    return np.random.default_rng(2).standard_normal((MANY, T, D)).astype("float32")[:rows]


def keras_model(cell, H, T, D, rows=None):
    import keras  # noqa: PLC0415

    layer = {"lstm": keras.layers.LSTM, "gru": keras.layers.GRU}[cell]
    layers = [layer(H, return_sequences=True), layer(H), keras.layers.Dense(1)]
    model = keras.Sequential([keras.Input((T, D), batch_size=rows), *layers])
    recurrent, dense = weights_of(cell, H, D)
    model.set_weights([*recurrent[0], *recurrent[1], *dense])
    return model


def onnx_model(path, cell, H, T, D):
    """Writes the model with ONNX' own operators; states of batches are zeros."""
    import onnx  # noqa: PLC0415
    from onnx import TensorProto, helper, numpy_helper  # noqa: PLC0415

    recurrent, dense = weights_of(cell, H, D)
    order = {"lstm": (0, 3, 1, 2), "gru": (0, 1, 2)}[cell]  # of gates
    nodes, arrays, x = [helper.make_node("Transpose", ["x"], ["t"], perm=[1, 0, 2])], {}, "t"

    def reordered(values):
        blocks = np.split(values, len(order), axis=-1)
        return np.concatenate([blocks[i] for i in order], axis=-1)

    for i, (kernel, recurrent_kernel, bias) in enumerate(recurrent):
        both = reordered(bias) if cell == "gru" else np.stack([reordered(bias), np.zeros_like(bias)])
        arrays |= {f"W{i}": reordered(kernel).T[None], f"R{i}": reordered(recurrent_kernel).T[None]}
        arrays[f"B{i}"] = both.reshape(1, -1)
        more = {"linear_before_reset": 1} if cell == "gru" else {}
        names = [x, f"W{i}", f"R{i}", f"B{i}"]
        nodes.append(helper.make_node(cell.upper(), names, [f"y{i}", f"h{i}"], hidden_size=H, **more))
        if i == 0:
            nodes.append(helper.make_node("Squeeze", ["y0", "one"], ["s0"]))
        x = "s0"
    arrays |= {"one": np.array([1]), "zero": np.array([0]), "kernel": dense[0], "bias": dense[1]}
    nodes += [
        helper.make_node("Squeeze", ["h1", "zero"], ["h"]),
        helper.make_node("Gemm", ["h", "kernel", "bias"], ["y"]),
    ]
    initializers = [numpy_helper.from_array(np.ascontiguousarray(array), name) for name, array in arrays.items()]
    given = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["B", T, D])]
    result = [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["B", 1])]
    graph = helper.make_graph(nodes, "model", given, result, initializers)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)


def in_batches(call):
    return lambda x: np.concatenate([np.asarray(call(x[i : i + BATCH])) for i in range(0, len(x), BATCH)])


# Each takes a folder and a case, and returns a function of a batch, and one of many rows.


def frozen(precision):
    def load(folder, name):
        import kerasptb  # noqa: PLC0415

        model = kerasptb.load_frozen(folder / f"{name}.frozen", precision, "native")
        return model, model.predict

    return load


def keras_predict(_, name):
    model = keras_model(*CASES[name])
    return (lambda x: model.predict(x, batch_size=BATCH, verbose=0),) * 2


def keras_traced(_, name):
    import tensorflow as tf  # noqa: PLC0415

    model = keras_model(*CASES[name])
    call = tf.function(lambda x: model(x, training=False), reduce_retracing=True)
    return call, in_batches(call)


def torch_model(_, name):
    import torch  # noqa: PLC0415

    cell, H, _, D = CASES[name]
    recurrent, dense = weights_of(cell, H, D)
    order = (0, 1, 2, 3) if cell == "lstm" else (1, 0, 2)
    layer = getattr(torch.nn, cell.upper())(D, H, 2, batch_first=True)
    for i, (kernel, recurrent_kernel, bias) in enumerate(recurrent):
        both = bias if cell == "gru" else np.stack([bias, np.zeros_like(bias)])
        for to, values in (
            ("weight_ih", kernel),
            ("weight_hh", recurrent_kernel),
            ("bias_ih", both[0]),
            ("bias_hh", both[1]),
        ):
            blocks = np.split(values, len(order), axis=-1)
            ordered = np.concatenate([blocks[j] for j in order], axis=-1).T
            getattr(layer, f"{to}_l{i}").data = torch.tensor(np.ascontiguousarray(ordered))
    kernel, bias = map(torch.tensor, dense)

    def call(x):
        with torch.inference_mode():
            return (layer(torch.from_numpy(x))[0][:, -1] @ kernel + bias).numpy()

    return call, in_batches(call)


def onnxruntime_model(folder, name):
    import onnxruntime  # noqa: PLC0415

    session = onnxruntime.InferenceSession(folder / f"{name}.onnx", providers=["CPUExecutionProvider"])
    call = lambda x: session.run(None, {"x": x})[0]  # noqa: E731
    return call, in_batches(call)


def openvino_model(config):
    def load(folder, name):
        import openvino  # noqa: PLC0415

        core, model = openvino.Core(), openvino.convert_model(folder / f"{name}.onnx")
        requests = {}

        def call(x):
            if len(x) not in requests:  # of a fixed shape, as it is fastest
                model.reshape({0: x.shape})
                requests[len(x)] = core.compile_model(model, "CPU", {**config}).create_infer_request()
            return requests[len(x)].infer({0: x}, share_inputs=True)[0]

        return call, in_batches(call)

    return load


def litert_model(folder, name):
    from ai_edge_litert.interpreter import Interpreter  # noqa: PLC0415

    loaded = {}

    def call(x):
        if len(x) not in loaded:
            interpreter = Interpreter(str(folder / f"{name}.{len(x)}.tflite"), num_threads=os.cpu_count())
            interpreter.allocate_tensors()
            loaded[len(x)] = interpreter
        interpreter = loaded[len(x)]
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], x)
        interpreter.invoke()
        return interpreter.get_tensor(interpreter.get_output_details()[0]["index"])

    return call, in_batches(call)


LATENCY = {"PERFORMANCE_HINT": "LATENCY"}
# Of ours first, then those of this environment, then those of the peers'; with the backend of Keras.
CONTENDERS = {
    "frozen": (frozen("float32"), ""),
    "frozen, bfloat16": (frozen("bfloat16"), ""),
    "frozen, int8": (frozen("int8"), ""),
    "Keras predict": (keras_predict, "tensorflow"),
    "Keras traced": (keras_traced, "tensorflow"),
    "LiteRT": (litert_model, ""),
    "ONNX Runtime": (onnxruntime_model, "peers"),
    "torch.nn": (torch_model, "peers"),
    "OpenVINO float32": (openvino_model({**LATENCY, "INFERENCE_PRECISION_HINT": "f32"}), "peers"),
    "OpenVINO": (openvino_model(LATENCY), "peers"),
    "Keras on OpenVINO": (keras_predict, "openvino"),
}
LOWER = ("frozen, bfloat16", "frozen, int8", "OpenVINO", "Keras on OpenVINO")  # not of float32


def work(name, folder):
    """Answers questions of the lines of standard input: a case, rows, and the least seconds to measure."""
    load, models = CONTENDERS[name][0], {}
    for line in sys.stdin:
        case, rows, seconds = json.loads(line)
        if case not in models:
            models[case] = load(Path(folder), case)
        call, x = models[case][rows == MANY], inputs_of(*CASES[case][2:], rows)
        first = np.asarray(call(x))[:3]
        times, begin = [], time.perf_counter()
        while len(times) < 2 or (time.perf_counter() - begin < seconds and len(times) < 2000):
            before = time.perf_counter()
            call(x)
            times.append(time.perf_counter() - before)
        print(json.dumps([statistics.median(times), first.ravel().tolist()]), flush=True)


def prepare(folder, cases):
    """Writes the models in the forms that are loaded."""
    import tensorflow as tf  # noqa: PLC0415

    import kerasptb  # noqa: PLC0415

    for name in cases:
        kerasptb.freeze(keras_model(*CASES[name])).save(folder / f"{name}.frozen")
        onnx_model(folder / f"{name}.onnx", *CASES[name])
        for rows in ROWS:
            model = keras_model(*CASES[name], rows)
            converter = tf.lite.TFLiteConverter.from_keras_model(model)
            (folder / f"{name}.{rows}.tflite").write_bytes(converter.convert())


def start(name, folder, peers):
    where = CONTENDERS[name][1]
    python = peers if where in ("peers", "openvino") else sys.executable
    backend = {"KERAS_BACKEND": where} if where in ("tensorflow", "openvino") else {}
    command = [python, "-m", "benchmarks.frozen", "--worker", name, "--folder", str(folder)]
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", **backend}
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, env=environment, text=True)


def ask(process, case, rows, seconds):
    """Returns the seconds and the first outputs of a contender; `None` if it has ended."""
    try:
        process.stdin.write(json.dumps([case, rows, seconds]) + "\n")
        process.stdin.flush()
    except BrokenPipeError:
        return None
    return json.loads(process.stdout.readline() or "null")


def measure(options, folder):
    names = [name for name in options.contenders if options.peers or CONTENDERS[name][1] in ("", "tensorflow")]
    processes = {name: start(name, folder, options.peers) for name in names}
    rows_of_table = []
    for case in options.cases:
        for rows in (*ROWS, MANY):
            times, outputs = {name: [] for name in names}, {}
            for _ in range(options.rounds):
                for name in names:
                    if (answer := ask(processes[name], case, rows, options.seconds)) is not None:
                        times[name].append(answer[0])
                        outputs[name] = answer[1]
            medians = {name: statistics.median(each) for name, each in times.items() if each}
            off = {name: np.abs(np.subtract(y, outputs["frozen"])).max() for name, y in outputs.items()}
            wrong = [name for name, error in off.items() if error > (0.1 if name in LOWER else 1e-4)]
            wrong += [f"{name} has ended" for name in names if name not in medians]
            print(f"{case}, {rows} rows:", *(f"  {name} {1e3 * t:.3f} ms" for name, t in medians.items()), sep="\n")
            print(
                f"  outputs differ by {max(off.values()):.1e} at most" + f"; too much: {wrong}" * bool(wrong),
                flush=True,
            )
            rows_of_table += [{"case": case, "rows": rows, "contender": n, "ms": 1e3 * t} for n, t in medians.items()]
    for process in processes.values():
        process.communicate()
    return rows_of_table


def summary(table):
    """Prints how many times as fast as the fastest of the others we are, in float32 and below it."""
    times = {(row["case"], row["rows"], row["contender"]): row["ms"] for row in table}
    others = [name for name in CONTENDERS if "frozen" not in name]
    for rows in (*ROWS, MANY):
        for ours, theirs in (("frozen", [n for n in others if n not in LOWER]), ("frozen, bfloat16", others)):
            factors = {}
            for case in {row["case"]: None for row in table}:
                best = min(times[case, rows, name] for name in theirs if (case, rows, name) in times)
                factors[case] = best / times[case, rows, ours]
            mean = statistics.geometric_mean(factors.values())
            each = ", ".join(f"{factor:.2f}" for factor in factors.values())
            print(f"{rows} rows, {ours}: {mean:.2f} times as fast as the fastest other in the mean: {each}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--peers", help="the Python of the peers' environment")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=0.3, help="the least to measure at a time")
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES), metavar="NAME")
    parser.add_argument("--contenders", nargs="+", choices=CONTENDERS, default=list(CONTENDERS), metavar="NAME")
    parser.add_argument("--csv", type=Path, help="file to write the table to")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    parser.add_argument("--folder", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        return work(options.worker, options.folder)
    from benchmarks import machine  # noqa: PLC0415  (the peers' environment has not what it needs)

    print(", ".join(f"{key} {value}" for key, value in machine.describe().items()))
    with tempfile.TemporaryDirectory() as folder:
        prepare(Path(folder), options.cases)
        table = measure(options, folder)
    summary(table)
    if options.csv:
        machine.write_csv(options.csv, table)
    return None


if __name__ == "__main__":
    main()
