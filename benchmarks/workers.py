"""Training in several processes on this machine: do they train as one, and how long does a step take?

    python -m benchmarks.workers [--data ptb] [--preset notebook] [--rounds 3] [--steps 96] [--csv FILE]

Settings of processes and threads take turns for several rounds, each time in new processes, with Keras on JAX. Each
makes the same 20 steps of the text first: their costs, the weights after them and the validation's perplexity are
compared with those of one process of one thread. In bfloat16 the difference to look at is that between one process of
one and of two threads, which sum in different orders.
"""

import argparse
import json
import os
import subprocess
import sys
import time

import numpy as np

from benchmarks import machine

SETTINGS = ((1, 2), (1, 1), (2, 1), (4, 1))  # processes, threads of each
COMPARED_STEPS = 20


def part(options):
    """Is one process: prints, if it is the first one, what it has measured."""
    import jax  # noqa: PLC0415  (in the processes that are measured alone)
    import keras  # noqa: PLC0415
    import tensorflow as tf  # noqa: PLC0415

    import kerasptb  # noqa: PLC0415
    from kerasptb.callbacks import ResetStates  # noqa: PLC0415
    from kerasptb.trainers import peers  # noqa: PLC0415

    tf.config.set_visible_devices([], "GPU")
    peers.join()
    corpus = kerasptb.load_corpus(options.data)
    model = kerasptb.LanguageModel.from_preset(
        options.preset, vocabulary_size=len(corpus.vocabulary), precision=options.precision, seed=1
    )
    optimizer, _ = kerasptb.presets.get_preset(options.preset).training(10**4, 10)
    model.compile(optimizer)
    batches = kerasptb.make_dataset(corpus.train, model.batch_size, model.num_steps)
    means = []
    note = keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: means.append(float(logs["loss"])))
    model.fit(batches.take(COMPARED_STEPS), verbose=0, callbacks=[ResetStates(), note])
    # Keras reports the mean of the steps so far.
    costs = np.diff(means * np.arange(1, 1 + COMPARED_STEPS), prepend=0).tolist()
    weights = [float(np.linalg.norm(weight.astype("float64"))) for weight in model.get_weights()]
    valid = kerasptb.make_dataset(corpus.valid, model.batch_size, model.num_steps).take(20)
    perplexity = model.evaluate(valid, verbose=0, return_dict=True)["perplexity"]

    class Times(keras.callbacks.Callback):
        def __init__(self):
            super().__init__()
            self.at = []

        def on_train_batch_end(self, batch, logs=None):
            self.at.append((time.perf_counter(), time.process_time()))

    model.compile(optimizer, steps_per_execution=16)
    times = Times()
    model.fit(batches.take(32 + options.steps), verbose=0, callbacks=[ResetStates(), times])
    (begin, cpu), (end, cpu_end) = times.at[1], times.at[-1]  # the first call compiles
    steps = 16 * (len(times.at) - 2)
    if peers.is_first():
        row = {
            "costs": costs,
            "weights": weights,
            "perplexity": perplexity,
            "step_ms": 1000 * (end - begin) / steps,
            "cpu_ms": 1000 * (cpu_end - cpu) / steps,
            "parameters": model.count_params(),
            "jax": jax.__version__,
        }
        print(json.dumps(row), flush=True)


def measure(options, precision, processes, threads):
    """Runs the processes of a setting and returns what the first one has measured."""
    from kerasptb.utils import children  # noqa: PLC0415  (needs nothing that is measured)

    command = [sys.executable, "-m", "benchmarks.workers", "--part", "--precision", precision]
    command += ["--data", options.data, "--preset", options.preset, "--steps", str(options.steps)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    started = [
        subprocess.Popen(command, env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", **variables}, **pipes)
        for variables in children.roles(processes, threads)
    ]
    said = [process.communicate() for process in started]
    if any(process.returncode for process in started):
        raise SystemExit(f"{processes} processes of {threads} threads failed: {said[0][1][-2000:]}")
    return json.loads(said[0][0].splitlines()[-1])


def difference(found, expected):
    """Returns the largest relative difference of two lists of numbers."""
    return float(np.max(np.abs(np.subtract(found, expected)) / np.abs(expected)))


def main():
    """Runs the measurement from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", default="ptb")
    parser.add_argument("--preset", default="notebook")
    parser.add_argument("--precision", nargs="+", default=["float32", "bfloat16"])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=96, help="steps of a timing, after two calls (default: 96)")
    parser.add_argument("--csv", help="file to write the rows to")
    parser.add_argument("--part", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.part:
        options.precision = options.precision[0]
        return part(options)
    print(", ".join(f"{key} {value}" for key, value in machine.describe().items()))
    rows = []
    for precision in options.precision:
        rounds = [
            {setting: measure(options, precision, *setting) for setting in SETTINGS} for _ in range(options.rounds)
        ]
        alone = rounds[0][1, 1]
        for setting in SETTINGS:
            mine = [each[setting] for each in rounds]
            ratios = {
                name: float(np.median([each[setting][name] / each[1, 2][name] for each in rounds]))
                for name in ("step_ms", "cpu_ms")
            }
            rows.append(
                {
                    "preset": options.preset,
                    "parameters": alone["parameters"],
                    "precision": precision,
                    "processes": setting[0],
                    "threads": setting[1],
                    "step_ms": round(float(np.median([each["step_ms"] for each in mine])), 1),
                    "ratio": round(ratios["step_ms"], 2),
                    "cpu_ratio": round(ratios["cpu_ms"], 2),
                    "costs_differ": f"{difference(mine[0]['costs'], alone['costs']):.1e}",
                    "weights_differ": f"{difference(mine[0]['weights'], alone['weights']):.1e}",
                    "validation_differs": f"{difference([mine[0]['perplexity']], [alone['perplexity']]):.1e}",
                }
            )
            print(", ".join(f"{name} {value}" for name, value in rows[-1].items()), flush=True)
    if options.csv:
        machine.write_csv(options.csv, rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
