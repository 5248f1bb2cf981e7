"""The parts of the GPU check that run in a process of their own, started by `benchmarks.gpu_check`.

    python -m benchmarks.gpu_work PART --framework tensorflow|jax [--quick] [--cpu] …

A part prints each fact at once, as a line `gpu_work: {JSON}` on standard output. It also prints what it is about to do:
if the process hangs or dies, the last such line tells the cause.
"""

import argparse
import json

import numpy as np

from benchmarks import contenders, gpu_reference, gpu_timing
from benchmarks.gpu_frameworks import FRAMEWORKS

MARK = "gpu_work: "
RUNS = 20  # of the same input, whose results must have the same bits
WARM_UP = 2  # executions of steps that are not counted
DETERMINISM_LSTM = {"B": 60, "T": 20, "D": 200, "H": 256}
DETERMINISM_LSTM_BFLOAT16 = {"B": 60, "T": 20, "D": 200, "H": 512}
DETERMINISM_CROSS_ENTROPIES = ({"N": 1200, "D": 128, "V": 10_000}, {"N": 64, "D": 16, "V": 200_000})
SANITIZED_LSTM = ({"B": 5, "T": 3, "D": 7, "H": 50}, {"B": 5, "T": 3, "D": 7, "H": 256})
SANITIZED_LSTM_BFLOAT16 = [{"B": 9, "T": 3, "D": 7, "H": units} for units in (50, 256, 500)]
# A row that fits shared memory, and one that does not.
SANITIZED_CROSS_ENTROPIES = ({"N": 3, "D": 4, "V": 1001, "scale": 0.1}, {"N": 2, "D": 4, "V": 70_000, "scale": 0.1})


def say(**fact):
    """Reports a fact to the process that started this one."""
    # The fact starts a new line, whatever else has been printed.
    print(f"\n{MARK}{json.dumps(fact)}", flush=True)


def environment(options):
    """Reports the GPUs that the framework sees, and whether the native operations run, or why not."""
    framework = FRAMEWORKS[options.framework]()
    import keras  # noqa: PLC0415

    from kerasptb.native import loader  # noqa: PLC0415
    from kerasptb.ops import platform as platforms  # noqa: PLC0415

    say(
        gpus=framework.gpus(),
        keras_backend=keras.backend.backend(),
        why_not_native=platforms.why_not_native(),
        why_not_bfloat16=platforms.why_not_native("bfloat16"),
        bfloat16_units=max_units_in_bfloat16(),
        native=loader.status().reason,
    )


def max_units_in_bfloat16():
    """Returns the most units of the native LSTM in bfloat16 here: None for any number, 0 if it does not run."""
    from kerasptb.ops import platform as platforms  # noqa: PLC0415

    if platforms.why_not_native("bfloat16") is not None:
        return 0
    return platforms.max_units("bfloat16") if platforms.visible_gpus() else None


def _lstm_cases(cases, precision):
    """Returns pairs of (precision, case), without the cases that have more units than this machine supports."""
    most = None if precision == "float32" else max_units_in_bfloat16()
    return [(precision, case) for case in cases if most is None or case["H"] <= most]


def _precisions():
    """Returns the precisions of the native operations here, among the two of the kernels for GPUs."""
    return ("float32",) if max_units_in_bfloat16() == 0 else ("float32", "bfloat16")


def correctness(options):
    """Compares the operations, and the framework's own in float32, with the float64 reference."""
    framework = FRAMEWORKS[options.framework]()
    framework.set_tf32(False)
    count = 1 if options.spoil else None  # of the cases; one is enough to test that an error is detected
    lstm_cases = _lstm_cases(gpu_reference.lstm_cases(options.quick), "float32")
    lstm_cases += _lstm_cases(gpu_reference.lstm_cases(options.quick, gpu_reference.UNITS_OF_BFLOAT16), "bfloat16")
    for number, (precision, case) in enumerate(lstm_cases[:count]):
        arguments, upstream = gpu_reference.lstm_inputs(**case)
        true = gpu_reference.lstm(*arguments, upstream)
        _check(
            options, framework, "lstm", case, number, true,
            lambda b, p=precision, a=arguments, u=upstream: (_lstm(b, p), a, u), precision,
        )  # fmt: skip
    cross_entropies = [(p, case) for p in _precisions() for case in gpu_reference.cross_entropy_cases(options.quick)]
    # Logits in the thousands, rounded to bfloat16, are too coarse for probabilities.
    cross_entropies = [(p, case) for p, case in cross_entropies if p == "float32" or case["scale"] < 1]
    for number, (precision, case) in enumerate(cross_entropies[:count]):
        *arguments, targets, weights = gpu_reference.cross_entropy_inputs(**case)
        true = gpu_reference.linear_cross_entropy(*arguments, targets, weights)
        # Once as weighted losses of the words, once as the sum that training uses.
        ones = np.full_like(weights, 1 / 60)
        summed = gpu_reference.linear_cross_entropy(*arguments, targets, ones)
        true |= {f"sum's {name}": value for name, value in (summed | {"loss": summed["loss"].sum() / 60}).items()}
        upstream = [weights, np.float32(1.0)]
        _check(
            options, framework, "cross-entropy", case, number, true,
            lambda b, p=precision, t=targets, a=arguments, u=upstream: (_cross_entropy(b, t, p), a, u), precision,
        )  # fmt: skip


def _check(options, framework, operation, case, number, true, make, precision):
    """Compares the native operation with the framework's own in one case; `make(backend)` returns its parts.

    In bfloat16 the framework has no such operation, and the bound is fixed.
    """
    mode = framework.modes[number % len(framework.modes)]
    say(begin=f"{operation} {_text(case)}, {precision}, {mode}")
    results = []
    for backend, its_mode in (("native", mode), ("keras", framework.keras_mode)):
        if backend == "keras" and precision != "float32":
            results.append([None] * len(true))
            continue
        function, arguments, upstream = make(backend)
        run = framework.compile(function(framework), its_mode)
        outputs = run(framework.tensors(arguments), framework.tensors(upstream))
        results.append([np.array(output) for output in outputs])
    native, own = results
    compared = []
    for name, its, others in zip(true, native, own, strict=True):
        if name == options.spoil:
            its = its + np.float32(0.01) * np.abs(true[name]).max()  # noqa: PLW2901
        if precision == "float32":
            compared.append(gpu_reference.compare(name, its, true[name], others, max(case.values())))
        else:
            compared.append(gpu_reference.compare_bfloat16(name, its, true[name]))
    ok = all(tensor["ok"] for tensor in compared)
    say(step="correctness", operation=operation, case=case, precision=precision, mode=mode, ok=ok, tensors=compared)


def _text(case):
    return " ".join(f"{name}={value}" for name, value in case.items())


def _lstm(backend, precision):
    from kerasptb import ops  # noqa: PLC0415

    def make(framework):
        step = framework.with_gradients(lambda *arguments: ops.lstm(*arguments, backend=backend, precision=precision))
        return lambda arguments, upstream: _flat(step(arguments, upstream))

    return make


def _cross_entropy(backend, targets, precision):
    """Makes the losses and their gradients, then the sum and its gradients, in the order of the reference."""
    from kerasptb import ops  # noqa: PLC0415

    def make(framework):
        (ids,) = framework.tensors([targets])

        def of(reduction, scale):
            def function(h, kernel, bias):
                options = {"backend": backend, "precision": precision, "scale": scale}
                return [ops.linear_cross_entropy(h, kernel, bias, ids, reduction, **options)]

            return framework.with_gradients(function)

        each, summed = of("none", 1.0), of("sum", 1 / 60)
        return lambda arguments, upstream: [
            *_flat(each(arguments, upstream[:1])),
            *_flat(summed(arguments, upstream[1:])),
        ]

    return make


def _flat(outputs_and_gradients):
    outputs, gradients = outputs_and_gradients
    return [*outputs, *gradients]


def determinism(options):
    """Checks that the same input always gives the same bits."""
    framework = FRAMEWORKS[options.framework]()
    framework.set_tf32(False)
    cases = _lstm_cases([DETERMINISM_LSTM], "float32") + _lstm_cases([DETERMINISM_LSTM_BFLOAT16], "bfloat16")
    cases += [(precision, case) for precision in _precisions() for case in DETERMINISM_CROSS_ENTROPIES]
    if options.cpu:
        # Fewer rows, and no output layer of 200,000 words.
        smaller = [(p, case | ({"B": 6} if "B" in case else {"N": 20})) for p, case in cases]
        cases = [(p, case) for p, case in smaller if case.get("V") != DETERMINISM_CROSS_ENTROPIES[1]["V"]]
    for precision, case in cases:
        if "H" in case:
            arguments, upstream = gpu_reference.lstm_inputs(**case)
            function, operation = _lstm("native", precision), "lstm"
            names = list(gpu_reference.lstm(*arguments, upstream))
        else:
            *arguments, targets, weights = gpu_reference.cross_entropy_inputs(**case, scale=0.1)
            function, operation = _cross_entropy("native", targets, precision), "cross-entropy"
            names = ["loss", "dh", "dkernel", "dbias"]
            names += [f"sum's {name}" for name in names]
            upstream = [weights, np.float32(1.0)]
        say(begin=f"{operation} {_text(case)}, {precision}, {RUNS} runs")
        run = framework.compile(function(framework), framework.modes[-1])
        arguments, upstream = framework.tensors(arguments), framework.tensors(upstream)
        first, differing = None, set()
        for _ in range(RUNS):
            bits = [np.array(output).tobytes() for output in run(arguments, upstream)]
            first = first or bits
            differing |= {name for name, a, b in zip(names, first, bits, strict=True) if a != b}
        facts = {"operation": operation, "case": case, "precision": precision, "runs": RUNS}
        say(step="determinism", **facts, ok=not differing, differing=sorted(differing))


def sanitized(options):
    """Runs every kernel once on a small case, for compute-sanitizer."""
    framework = FRAMEWORKS[options.framework]()
    cases = _lstm_cases(SANITIZED_LSTM, "float32") + _lstm_cases(SANITIZED_LSTM_BFLOAT16, "bfloat16")
    for precision, case in cases:
        arguments, upstream = gpu_reference.lstm_inputs(**case)
        step = framework.compile(_lstm("native", precision)(framework), framework.modes[-1])
        framework.wait(step(framework.tensors(arguments), framework.tensors(upstream)))
    for case in SANITIZED_CROSS_ENTROPIES:
        *arguments, targets, weights = gpu_reference.cross_entropy_inputs(**case)
        step = framework.compile(_cross_entropy("native", targets, "float32")(framework), framework.modes[-1])
        framework.wait(step(framework.tensors(arguments), framework.tensors([weights, np.float32(1.0)])))
    say(step="sanitized", ok=True)


def operations(options):
    """Times of the operations."""
    plan = gpu_timing.Plan(options.cpu, options.quick)
    measure = gpu_timing.Operations(FRAMEWORKS[options.framework](), plan, max_units_in_bfloat16())
    for part in (measure.memory, measure.softmax, measure.lstm, measure.linear_cross_entropy):
        say(begin=f"times of {part.__name__}")
        for row in part():
            say(step="timings", **row)


def pytorch(options):
    """Times of PyTorch's LSTM."""
    import torch  # noqa: PLC0415

    device = "cpu" if options.cpu else "cuda"
    say(
        torch={
            "version": torch.__version__,
            "cuda": torch.version.cuda,
            "cudnn": torch.backends.cudnn.version(),
            "sees_gpu": torch.cuda.is_available(),
        }
    )
    if device == "cuda" and not torch.cuda.is_available():
        return
    for row in gpu_timing.pytorch_lstm(gpu_timing.Plan(options.cpu, options.quick), device):
        say(step="timings", **row)


def _pytorch_step(inputs, steps_per_execution, device, tf32=False, **options):
    import torch  # noqa: PLC0415

    torch.set_float32_matmul_precision("high" if tf32 else "highest")
    torch.backends.cudnn.allow_tf32 = tf32
    return contenders.pytorch(inputs, steps_per_execution=steps_per_execution, device=device, **options)


# The contenders of the training step: name -> (what they need, function of the inputs, the steps that are run between
# two looks at the cost, and PyTorch's device).
STEPS = {
    "kerasptb, native": ("keras", lambda i, n, _: contenders.ours(i, steps_per_execution=n)),
    "kerasptb, native, bfloat16": (
        "bfloat16",
        lambda i, n, _: contenders.ours(i, precision="bfloat16", steps_per_execution=n),
    ),
    "Keras": ("keras", lambda i, n, _: contenders.plain_keras(i, steps_per_execution=n)),
    "Keras, jit": ("tensorflow", lambda i, n, _: contenders.plain_keras(i, jit_compile=True, steps_per_execution=n)),
    "PyTorch, TF32 off": ("torch", _pytorch_step),
    "PyTorch, TF32 on": ("torch", lambda i, n, d: _pytorch_step(i, n, d, tf32=True)),
    "PyTorch, compiled, TF32 off": ("torch", lambda i, n, d: _pytorch_step(i, n, d, compiled=True)),
    "PyTorch, compiled, TF32 on": ("torch", lambda i, n, d: _pytorch_step(i, n, d, tf32=True, compiled=True)),
    "PyTorch, bfloat16 autocast": ("torch", lambda i, n, d: _pytorch_step(i, n, d, tf32=True, autocast=True)),
    "PyTorch, compiled, bfloat16 autocast": (
        "torch",
        lambda i, n, d: _pytorch_step(i, n, d, tf32=True, compiled=True, autocast=True),
    ),
}


def step(options):
    """The time of a training step of the notebook model, of one contender."""
    inputs = contenders.load_inputs(options.inputs)
    _, B, T = inputs["batches"][0].shape
    n = options.steps_per_execution
    clock = STEPS[options.name][1](inputs, n, "cpu" if options.cpu else "cuda")
    seconds = np.diff(clock.times)[WARM_UP * n :].reshape(-1, n).mean(axis=1)
    say(
        step="timings",
        what="step",
        size={"B": B, "T": T, "V": len(inputs["weights"][0])},
        contender=options.name,
        method=f"training loop on the host, which waits for the cost once in {n} steps",
        cost_first=float(clock.costs[0]),
        cost_last=float(clock.costs[-1]),
        **gpu_timing.summarise(seconds),
    )


PARTS = (environment, correctness, determinism, sanitized, operations, pytorch, step)


def main():
    """Runs one part, or several one after the other."""
    parts = {part.__name__: part for part in PARTS}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="+", choices=parts, metavar="PART")
    parser.add_argument("--framework", choices=FRAMEWORKS, default="jax")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--cpu", action="store_true")
    parser.add_argument("--spoil", help="as `benchmarks.gpu_check` has it")
    parser.add_argument("--name", choices=STEPS, help="contender of the training step")
    parser.add_argument("--inputs", help="npz file of the training step")
    parser.add_argument("--steps-per-execution", type=int, default=1)
    options = parser.parse_args()
    for part in options.parts:
        parts[part](options)


if __name__ == "__main__":
    main()
