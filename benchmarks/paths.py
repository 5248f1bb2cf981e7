"""How fast our layers, loss and kernels are for all that a user does with them, not for one model compiled one way.

    python -m benchmarks.paths [--quick] [--rounds 5] [--data DIR] [--only NAME …] [--csv FILE]

Three tables. "fit": steps of the notebook model in `fit`, compiled and built in the ways in which users do it, against
`compile()` without arguments. "layer": forward and backward of one `FusedLSTM` with what an LSTM can be asked for,
against the plain layer, beside `keras.layers.LSTM` with the same; both in a graph, in training. "busy": steps of the
notebook model, ours, of Keras' layers and of PyTorch, alone and beside as many busy loops as there are processors: a
fair share of the time would double theirs. What is not there, or raises because a precision was named, is "not
available", with the reason.

All run in one process and take turns for several rounds, so that disturbances of the machine affect them alike.
"""

import argparse
import contextlib
import logging
import os
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

import numpy as np

from benchmarks import contenders, machine, operations, training

BESIDE = ", beside busy loops"
STEPS = 12  # of a turn of `fit`; the first two, in which it begins, are not counted
SIZES = (
    {"batch": 60, "steps": 20, "features": 200, "units": 256},
    {"batch": 20, "steps": 70, "features": 400, "units": 1150},
    {"batch": 32, "steps": 200, "features": 640, "units": 640},
)
# Name -> arguments of the layer, and of its call those that `call_arguments` makes.
VARIANTS = {
    "plain": ({}, ()),
    "dropout": ({"dropout": 0.5}, ()),
    "mask": ({}, ("mask",)),
    "recurrent dropout, a mask for each gate": ({"recurrent_dropout": 0.5}, ()),
    "recurrent dropout, one mask": ({"recurrent_dropout": 0.5, "shared_recurrent_dropout": True}, ()),
    "recurrent kernel dropout": ({"recurrent_kernel_dropout": 0.5}, ()),
    "resets": ({}, ("resets",)),
    "go_backwards": ({"go_backwards": True}, ()),
    "Bidirectional": ({}, ()),
    "use_bias=False": ({"use_bias": False}, ()),
    "mixed_float16": ({"dtype": "mixed_float16"}, ()),
}


def language_model(inputs, precision, change=None, backend="auto", **compiled):
    """Returns the notebook model, or a subclass with a method of its own, named by `change`, that calls ours."""
    from kerasptb import LanguageModel  # noqa: PLC0415  (Keras is imported without TensorFlow's notices first)

    def own(self, *args, **kwargs):
        return getattr(LanguageModel, change)(self, *args, **kwargs)

    kind = type("Own", (LanguageModel,), {change: own} if change else {})
    sizes = contenders.EMBEDDING, contenders.UNITS, *inputs["batches"][0].shape[1:]
    model = kind(inputs["weights"][0].shape[0], *sizes, precision=precision, backend=backend)
    model.set_weights(inputs["weights"])
    model.compile(**compiled)
    return model


def own_model(inputs, precision, functional=False, mask=False):
    """Returns the notebook model as a Keras user builds it of our parts, compiled with our parts."""
    import keras  # noqa: PLC0415

    from kerasptb import layers, losses, metrics, optimizers  # noqa: PLC0415

    words = inputs["weights"][0].shape[0]
    embedding = (
        keras.layers.Embedding(words, contenders.EMBEDDING, mask_zero=True)
        if mask
        else layers.Embedding(words, contenders.EMBEDDING)
    )
    lstms = [layers.StatefulLSTM(units, return_sequences=True, precision=precision) for units in contenders.UNITS]
    x = tokens = keras.Input(batch_shape=inputs["batches"][0].shape[1:], dtype="int32")
    parts = [embedding, *lstms, layers.Dense(words, precision=precision)]
    if functional:
        for layer in parts:
            x = layer(x)
        model = keras.Model(tokens, x)
    else:
        model = keras.Sequential([tokens, *parts])
    model.set_weights(inputs["weights"])
    model.compile(optimizers.ClippedSGD(), losses.SequenceCrossEntropy(), metrics=[metrics.Perplexity()])
    return model


def fit_paths():
    """Returns what users do: a dict from a name to a function from inputs and a precision to a compiled model."""
    import keras  # noqa: PLC0415

    from kerasptb.losses import SequenceCrossEntropy  # noqa: PLC0415
    from kerasptb.metrics import Perplexity  # noqa: PLC0415

    def ours(**options):
        return lambda inputs, precision: language_model(inputs, precision, **options)

    def own(**options):
        return lambda inputs, precision: own_model(inputs, precision, **options)

    def of_others(model, only="float32"):
        def make(inputs, precision):
            if precision != only:
                raise ValueError(f"in {only} only")
            return model(inputs, precision)

        return make

    of_keras = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    return {
        "compile()": ours(),
        'compile(jit_compile="auto")': ours(jit_compile="auto"),
        "metrics=[Perplexity()]": ours(metrics=[Perplexity()]),
        'metrics=[Perplexity(), "accuracy"]': ours(metrics=[Perplexity(), "accuracy"]),
        "loss=SequenceCrossEntropy()": ours(loss=SequenceCrossEntropy()),
        "loss=SparseCategoricalCrossentropy(from_logits=True)": ours(loss=of_keras),
        "sample weights": ours(),
        "a subclass with its own call": ours(change="call"),
        "a subclass with its own compute_loss": ours(change="compute_loss"),
        "own Sequential model": own(),
        "own functional model": own(functional=True),
        "own functional model, mask": own(functional=True, mask=True),
        'backend="keras", as without the library': of_others(ours(backend="keras")),
        "Keras' own layers": of_others(lambda inputs, precision: contenders.plain_keras_model(inputs)),
    }


def fit_turns(data, precisions, only, steps):
    """Returns the turns of the table "fit": (what, contender, precision) -> function that returns seconds of steps."""
    with tempfile.TemporaryDirectory() as folder:
        training.make_inputs(Path(folder, "inputs.npz"), data, steps)
        inputs = contenders.load_inputs(Path(folder, "inputs.npz"))
    x, y = inputs["batches"]
    weighted = {**inputs, "batches": (x, y, np.where(y % 2, np.float32(0.5), np.float32(1)))}

    def turn_of(name, make, precision):
        model, given = make(inputs, precision), weighted if name == "sample weights" else inputs

        def turn():
            return np.diff(contenders.fit(model, given, verbose=0).times)[2:].tolist()

        return turn

    return _available(
        ((name, "Keras" if name.startswith("Keras") else "kerasptb", precision), (turn_of, name, make, precision))
        for precision in precisions
        for name, make in fit_paths().items()
        if name in only
    )


def busy_turns(data, turns, steps):
    """Returns turns of "fit" and of PyTorch, in the form of `fit_turns`, each alone and beside busy loops."""
    alone = {key: turn for key, turn in turns.items() if key[0] in ("compile()", "Keras' own layers")}
    with tempfile.TemporaryDirectory() as folder:
        training.make_inputs(Path(folder, "inputs.npz"), data, steps)
        inputs = contenders.load_inputs(Path(folder, "inputs.npz"))

    def of_pytorch():
        import torch  # noqa: PLC0415

        torch.set_num_threads(len(os.sched_getaffinity(0)))

        def turn():
            return np.diff(contenders.pytorch(inputs).times)[2:].tolist()

        return turn

    alone |= _available([(("PyTorch", "PyTorch", "float32"), (of_pytorch,))])

    def beside(turn):
        def busy_turn():
            with busy_loops():
                return turn()

        return busy_turn

    return alone | {(f"{what}{BESIDE}", *others): beside(turn) for (what, *others), turn in alone.items()}


@contextlib.contextmanager
def busy_loops():
    """Keeps each processor of this process busy with a loop of another one."""
    command = [sys.executable, "-c", "while True: pass"]
    loops = [subprocess.Popen(command) for _ in os.sched_getaffinity(0)]
    try:
        yield
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()


def layer_turns(size, precisions, only):
    """Returns the turns of the table "layer" at a size, in the form of `fit_turns`."""
    runs = [("kerasptb", precision) for precision in precisions] + [("Keras", "float32")]
    return _available(
        ((name, contender, precision), (_layer_turn, size, contender, precision, name))
        for name in VARIANTS
        if name in only
        for contender, precision in runs
    )


def _layer_turn(size, contender, precision, name):
    import keras  # noqa: PLC0415

    from kerasptb.layers import FusedLSTM  # noqa: PLC0415

    arguments, called = VARIANTS[name]
    if contender == "Keras":
        layer = keras.layers.LSTM(size["units"], return_sequences=True, **arguments)
    else:
        named = None if precision == "float32" else precision
        layer = FusedLSTM(size["units"], return_sequences=True, precision=named, **arguments)
    if name == "Bidirectional":
        layer = keras.layers.Bidirectional(layer)
    x, *_ = operations.make_arrays({"operation": "lstm", **size})
    layer.build(x.shape)
    given = {argument: call_arguments(size)[argument] for argument in called}
    step = operations.layer_step(layer, x, training=True, **given)
    return lambda: operations.measure(step)


def call_arguments(size):
    """Returns a mask of rows that end at random, and resets at a twentieth of the steps: boolean [B, T] tensors."""
    import keras  # noqa: PLC0415

    random, steps = np.random.default_rng(0), size["steps"]
    mask = np.arange(steps) < random.integers(1, steps + 1, (size["batch"], 1))
    resets = random.uniform(size=(size["batch"], steps)) < 0.05
    return {"mask": keras.ops.convert_to_tensor(mask), "resets": keras.ops.convert_to_tensor(resets)}


def _available(made):
    """Makes the turns and takes each twice, uncounted: traced, memory touched. Prints what is not there, and why."""
    turns = {}
    for key, (make, *arguments) in made:
        try:
            turn = make(*arguments)
            turn()
        except (TypeError, ValueError, ImportError) as error:
            reason = str(error).rpartition("\x1b[1m")[2].splitlines()[0]  # Keras may have added what was called
            print(f"{', '.join(key)}: not available: {reason}", flush=True)
        else:
            turn()
            turns[key] = turn
    return turns


def measure(table, turns, rounds, **size):
    """Takes turns, and prints and returns the rows of a table: times, and their ratios to baseline and Keras' own."""
    if not turns:
        return []
    seconds = {key: [] for key in turns}
    for _ in range(rounds):
        for key, turn in turns.items():
            seconds[key].append(turn())
    times = {key: machine.quantiles(measured) for key, measured in seconds.items()}
    best = {key: measured["ms_best_round"] for key, measured in times.items()}
    rows = []
    print(f"{table} {size or ''}\n{'':<54}{'':<10}{'':<10}{'ms':>9}{'p10–p90':>18}{'ratio':>8}{'Keras':>8}", flush=True)
    for (what, contender, precision), measured in times.items():
        row = {"table": table, "what": what, "contender": contender, "precision": precision}
        row |= {**dict.fromkeys(SIZES[0]), **size, **measured}
        for column, other in zip(("ratio", "ratio_to_keras"), _others(table, what, contender, precision), strict=True):
            row[column] = row["ms_best_round"] / best[other] if other in best else None
        rows.append(row)
        shown = [f"{row[column]:.2f}" if row[column] else "" for column in ("ratio", "ratio_to_keras")]
        spread = f"{row['ms_p10']:.1f}–{row['ms_p90']:.1f}"
        print(
            f"{what:<54}{contender:<10}{precision:<10}{row['ms_best_round']:>9.2f}{spread:>18}{shown[0]:>8}{shown[1]:>8}",
            flush=True,
        )
    return rows


def _others(table, what, contender, precision):
    """Returns the keys of what a row is compared with: its baseline, and Keras' own."""
    if table == "fit":
        return ("compile()", "kerasptb", precision), ("Keras' own layers", "Keras", "float32")
    if table == "layer":
        return ("plain", contender, precision), (what, "Keras", "float32")
    return (what.removesuffix(BESIDE), contender, precision), None


def main():
    """Measures the tables, prints them and writes what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="auto", help="as for `kerasptb train`")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="fewer steps, two rounds, the smaller layer only")
    parser.add_argument(
        "--only", nargs="+", metavar="NAME", help="rows of the tables, or the table busy; ratios need their first rows"
    )
    parser.add_argument("--csv", type=Path, help="file to write the tables to")
    options = parser.parse_args()
    ours = {"kerasptb, native": "float32", "kerasptb, native, bfloat16": "bfloat16"}
    precisions = [ours[name] for name in machine.that_run_here(ours)]
    warnings.filterwarnings("ignore", "Slower than it could be")  # the tables tell by how much
    print(", ".join(f"{key} {value}" for key, value in machine.describe().items()))
    known = [*fit_paths(), *VARIANTS, "busy"]
    if unknown := set(options.only or ()) - set(known):
        parser.error(f"--only takes names among {known}. Received: {sorted(unknown)}")
    only, rounds = options.only or known, 2 if options.quick else options.rounds
    steps = STEPS // 2 if options.quick else STEPS
    turns = fit_turns(options.data, precisions, only, steps)
    rows = measure("fit", turns, rounds)
    if "busy" in only:
        rows += measure("busy", busy_turns(options.data, turns, steps), rounds)
    for size in SIZES[:1] if options.quick else SIZES:
        turns = layer_turns(size, precisions, only)
        rows += measure("layer", turns, rounds, **size)
    print("ms: of the best round; ratio: to compile(), the plain layer, or the same alone; Keras: to Keras' in float32")
    if options.csv and rows:
        machine.write_csv(options.csv, rows, rounds=rounds)


if __name__ == "__main__":
    machine.with_allocator("benchmarks.paths")
    logging.getLogger("tensorflow").setLevel("ERROR")  # steps traced one after another are no retracing
    sys.exit(main())
