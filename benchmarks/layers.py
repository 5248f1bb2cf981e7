"""Recurrent layers of plain Keras models as they are and accelerated, on one framework a process.

    python -m benchmarks.layers [--framework tensorflow] [--layers LSTM GRU Bidirectional] [--units 16 ...]
        [--steps 10 ...] [--batches 1 ...] [--seconds 0.3] [--csv FILE]

A case is a layer of H units over T steps of 8 features in batches of B rows, before a dense layer of one output, with
Adam and a mean squared error. What is timed, by turns in rounds: a step of `fit`, a batch of `predict`, and a call of
the model on a batch. With `--framework torch` there is one more contender: `torch.nn.LSTM` or `GRU` in PyTorch's own
loop, with `torch.optim.Adam`. The median of the rounds counts.
"""

import argparse
import itertools
import os
import statistics
import time
from pathlib import Path

import numpy as np

from benchmarks import machine

FEATURES = 8
KINDS = ("fit", "predict", "call")
CALLS = 4  # which may take a hundred times as long as a batch of `predict`


def keras_model(layer, units, steps, accelerated):
    """Returns a compiled model of one recurrent layer."""
    import keras  # noqa: PLC0415  (after the backend is chosen)

    import kerasptb  # noqa: PLC0415

    keras.utils.set_random_seed(1)
    inner = keras.layers.Bidirectional(keras.layers.LSTM(units)) if layer == "Bidirectional" else None
    inner = inner or getattr(keras.layers, layer)(units)
    model = keras.Sequential([keras.Input((steps, FEATURES)), inner, keras.layers.Dense(1)])
    model.compile("adam", "mse")
    return kerasptb.accelerate(model) if accelerated else model


def with_keras(model, x, y, batch):
    """Returns what to time of a Keras model, by name: functions that go through all rows."""
    return {
        "fit": lambda: model.fit(x, y, batch_size=batch, shuffle=False, verbose=0),
        "predict": lambda: model.predict(x, batch_size=batch, verbose=0),
        "call": lambda: [model(x[:batch]) for _ in range(CALLS)],
    }


def with_torch(layer, units, x, y, batch):
    """Returns the same of PyTorch's own layer, in a loop as its tutorials have it."""
    import torch  # noqa: PLC0415  (the other frameworks do without)

    torch.manual_seed(1)
    kind = "LSTM" if layer == "Bidirectional" else layer
    inner = getattr(torch.nn, kind)(FEATURES, units, batch_first=True, bidirectional=layer == "Bidirectional")
    dense = torch.nn.Linear(units * (1 + inner.bidirectional), 1)
    optimizer = torch.optim.Adam([*inner.parameters(), *dense.parameters()])
    batches = [tuple(map(torch.from_numpy, (x[i : i + batch], y[i : i + batch]))) for i in range(0, len(x), batch)]

    def forward(rows):
        return dense(inner(rows)[0][:, -1])

    def fit():
        for rows, targets in batches:
            optimizer.zero_grad()
            torch.nn.functional.mse_loss(forward(rows), targets).backward()
            optimizer.step()

    def predict():
        with torch.no_grad():
            return torch.cat([forward(rows) for rows, _ in batches])

    def call():
        with torch.no_grad():
            return [forward(batches[0][0]) for _ in range(CALLS)]

    return {"fit": fit, "predict": predict, "call": call}


def measure(contenders, seconds, rounds, batches):
    """Returns the ms a batch of each contender, a list of the rounds; each has about `seconds` a round."""
    repeats = {}
    for name, run in contenders.items():
        run()  # what is compiled at the first call
        begin = time.perf_counter()
        run()
        repeats[name] = max(1, round(seconds / (time.perf_counter() - begin)))
    found = {name: [] for name in contenders}
    for _, (name, run) in itertools.product(range(rounds), contenders.items()):
        begin = time.perf_counter()
        for _ in range(repeats[name]):
            run()
        found[name].append(1e3 * (time.perf_counter() - begin) / repeats[name] / batches)
    return found


def batches_of(units, steps, batch):
    """Returns how many batches a call of `fit` goes through: 64, or fewer where they are long."""
    operations = 24 * units * (units + FEATURES) * steps * batch
    return int(min(64, max(2, 2e10 // operations)))


def rows_of_case(layer, units, steps, batch, options):
    """Yields a row of results for each kind."""
    number = batches_of(units, steps, batch)
    random = np.random.default_rng(0)
    x = random.standard_normal((batch * number, steps, FEATURES)).astype("float32")
    y = random.standard_normal((batch * number, 1)).astype("float32")
    peers = {
        "Keras": with_keras(keras_model(layer, units, steps, False), x, y, batch),
        "accelerated": with_keras(keras_model(layer, units, steps, True), x, y, batch),
    }
    if options.framework == "torch":
        peers["torch.nn"] = with_torch(layer, units, x, y, batch)
    for kind in KINDS:
        of_kind = {name: peer[kind] for name, peer in peers.items()}
        found = measure(of_kind, options.seconds, options.rounds, CALLS if kind == "call" else number)
        medians = {name: statistics.median(ms) for name, ms in found.items()}
        yield {
            "layer": layer,
            "units": units,
            "steps": steps,
            "batch": batch,
            "kind": kind,
            **{f"{name} ms": round(ms, 4) for name, ms in medians.items()},
            **{
                f"of {name}": round(ms / medians["accelerated"], 3)
                for name, ms in medians.items()
                if name != "accelerated"
            },
        }


def summarize(rows):
    """Returns lines: for each kind and peer the geometric mean of the ratios, the smallest and where that is."""
    lines = []
    peers = [column for column in rows[0] if column.startswith("of ")]
    for kind, peer in itertools.product(KINDS, peers):
        of_kind = sorted((row for row in rows if row["kind"] == kind), key=lambda row: row[peer])
        ratios, worst = [row[peer] for row in of_kind], of_kind[0]
        lines.append(
            f"{kind:8} {peer:12} geometric mean {statistics.geometric_mean(ratios):.2f}, "
            f"least {ratios[0]:.2f} ({worst['layer']} of {worst['units']}, {worst['steps']} steps, batches of "
            f"{worst['batch']}), {sum(ratio < 1 for ratio in ratios)} of {len(ratios)} below 1"
        )
    return lines


def main():
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--framework", choices=("tensorflow", "jax", "torch"), default="tensorflow")
    parser.add_argument("--layers", nargs="+", default=["LSTM", "GRU", "Bidirectional"])
    parser.add_argument("--units", nargs="+", type=int, default=[16, 32, 64, 128, 256, 1024])
    parser.add_argument("--steps", nargs="+", type=int, default=[10, 60, 200])
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 32, 256])
    parser.add_argument("--seconds", type=float, default=0.3, help="of each contender in a round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--csv", type=Path, help="file to write the table to")
    options = parser.parse_args()
    os.environ["KERAS_BACKEND"] = options.framework
    machine.with_allocator("benchmarks.layers")
    print(", ".join(f"{key} {value}" for key, value in machine.describe().items()))
    rows = []
    for case in itertools.product(options.layers, options.units, options.steps, options.batches):
        for row in rows_of_case(*case, options):
            rows.append(row)
            print(", ".join(f"{key} {value}" for key, value in row.items()), flush=True)
        if options.csv:
            machine.write_csv(options.csv, rows, framework=options.framework)
    print("\n".join(summarize(rows)))


if __name__ == "__main__":
    main()
