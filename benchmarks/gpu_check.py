"""Are the CUDA kernels right on this GPU, and how fast are they? One command, no network, nothing to install.

    python -m benchmarks.gpu_check [--framework tensorflow|jax] [--json FILE] [--quick] [--cpu] [--only STEP …]

Run it in the folder that holds `kerasptb/` and `benchmarks/`, on a machine with an NVIDIA GPU, nvcc, a C++ compiler,
and either TensorFlow or JAX (with Keras, numpy and lazy-loader); PyTorch with CUDA joins the comparison if it is
there. The native library is built first. The exit status is 0 if the results are right. It is 1 if they are not, or if
this machine cannot run the check, and a line says why. Speed targets are reported as met or missed and do not affect
it.

Steps: `environment` (always), `correctness` (against the float64 reference in `benchmarks/gpu_reference.py`),
`determinism`, `sanitizer` (compute-sanitizer, if it is installed), `operations`, `pytorch` and `step` (times). All GPU
work runs in separate processes, one at a time, so that a kernel that hangs or crashes is reported and the other steps
still run. With `--json` the file is rewritten after each step.

`--cpu` runs the same steps on the processor's kernels, to test the check itself. `--spoil TENSOR`, for example
"dkernel", runs only the first case of each operation and adds an error to that result: the check must then fail.
"""

import argparse
import datetime
import json
import math
import platform
import shutil
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from benchmarks import gpu_process, gpu_report, gpu_sanitizer, machine
from benchmarks.contenders import REPOSITORY
from benchmarks.gpu_work import STEPS, WARM_UP
from benchmarks.training import save_inputs

STEP_NAMES = ("correctness", "determinism", "sanitizer", "operations", "pytorch", "step")
# Results that the framework's matrix products compute from the results of our kernels.
PRODUCTS = {"dx", "dh0", "dkernel", "drecurrent_kernel", "dh"}
BATCH, STEPS_OF_BATCH, VOCABULARY = 60, 20, 10_000
STEPS_OF_EXECUTION, EXECUTIONS, QUICK_EXECUTIONS = 43, 18, 4  # 18 × 43 steps are an epoch


class CannotCheckError(Exception):
    """This machine lacks something; the message says in one line what it is."""


class Check:
    """One run of the check: holds the growing report, and runs the parts."""

    def __init__(self, options):
        self.options = options
        self.torch_sees_gpu = True  # until PyTorch's part reports otherwise
        self.report = {
            "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "cpu": options.cpu,
            "quick": options.quick,
            "framework": None,
            "label": gpu_process.ABOUT_CPU if options.cpu else "",
            "environment": {},
            "steps": [],
            "correctness": [],
            "determinism": [],
            "sanitizer": [],
            "timings": [],
            "targets": [],
            "passed": None,
        }

    def wants(self, step):
        """Returns whether a step was asked for."""
        return step in self.options.only

    def conclude(self, step, verdict, detail=""):
        """Records and prints how a step ended: "pass", "FAIL", "not present", "left out" or "incomplete"."""
        self.report["steps"].append({"step": step, "verdict": verdict, "detail": detail})
        print(f"{verdict:<12}{step:<14}{detail}", flush=True)
        self.save()

    def save(self):
        """Writes the report to the file given with `--json`."""
        if self.options.json:
            temporary = self.options.json.with_name(self.options.json.name + ".part")
            temporary.write_text(json.dumps(_finite(self.report), indent=1) + "\n")
            temporary.replace(self.options.json)

    def run(self, parts, timeout, words=(), wrapper=(), **variables):
        """Runs parts of `benchmarks.gpu_work` in a process of their own.

        Returns:
            The result of `gpu_process.run`.
        """
        options = self.options
        command = [*wrapper, sys.executable, "-m", "benchmarks.gpu_work", *parts, *words]
        command += ["--framework", self.report["framework"]]
        command += [f"--{name}" for name in ("quick", "cpu") if getattr(options, name)]
        if options.spoil:
            command += ["--spoil", options.spoil]
        environment = gpu_process.environment(self.report["framework"], options.cpu)
        return gpu_process.run(command, timeout, environment | variables)


def examine(check):
    """Runs step 1: finds out what this machine has, and builds the library.

    Raises:
        CannotCheckError: something is missing.
    """
    options, report = check.options, check.report
    wanted = [options.framework] if options.framework else ["tensorflow", "jax"]
    installed = [name for name in wanted if find_spec(name) is not None]
    if not installed:
        raise CannotCheckError(f"{' and '.join(wanted)} not installed: the check needs TensorFlow or JAX.")
    found = report["environment"]
    found |= machine.describe() | {"platform": platform.platform(), "commit": _commit()}
    report["framework"] = installed[0]
    if not options.cpu:
        found["gpu"] = machine.gpu()
        if found["gpu"] is None:
            raise CannotCheckError(
                "No GPU: the CUDA driver (libcuda.so.1) is not there or shows none. --cpu does without."
            )
        found["nvidia_smi"] = machine.nvidia_smi()
    report["label"] = f"{machine.processor()}. {gpu_process.ABOUT_CPU}" if options.cpu else _name_of(found["gpu"])

    from kerasptb.native import build  # noqa: PLC0415  (imports no framework)

    print("building the native library, unless it is there", flush=True)
    try:
        library = build.build()
    except build.NativeBuildError as error:
        raise CannotCheckError(f"The native library cannot be built. {str(error).splitlines()[0]}") from error
    found["library"] = library.name
    if not options.cpu and (problem := build.cuda_problem(library)) is not None:
        raise CannotCheckError(f"The native library has no CUDA code. {problem}")
    problems = []
    for name in installed:
        report["framework"] = name
        facts, problem, _ = check.run(["environment"], timeout=300)
        found |= facts[-1] if facts else {}
        if problem is None and not options.cpu and not found["gpus"]:
            version = found.get("jaxlib" if name == "jax" else name)
            problem = f"{name} {version} sees no GPU: is it the one for CUDA?"
        problem = problem or found["why_not_native"]
        if problem is None:
            break
        problems.append(problem)
    else:
        raise CannotCheckError(" ".join(problems))
    check.conclude("environment", "pass", f"{report['label']}; {report['framework']} {found[report['framework']]}")
    print("".join(f"  {name} {value}\n" for name, value in found.items()), end="", flush=True)


def verify(check):
    """Runs steps 2 and 3: whether results are right, and the same each time."""
    steps = [name for name in ("correctness", "determinism") if check.wants(name)]
    # Each step has its own process, so that a crash in one does not affect the other. On the CPU no crash is expected.
    for group in [steps] if check.options.cpu and steps else [[name] for name in steps]:
        facts, problem, output = check.run(group, timeout=300 if check.options.quick else 900)
        for name in group:
            results = [fact for fact in facts if fact.get("step") == name]
            check.report[name] = results
            wrong = [result for result in results if not result["ok"]]
            for result in wrong:
                print(f"  {_explain(name, result)}")
            if problem:
                print(gpu_process.tail(output))
            detail = f"{len(results) - len(wrong)} of {len(results)} cases"
            if name == "correctness":
                for precision in dict.fromkeys(result["precision"] for result in results):
                    errors = [t["error"] for r in results if r["precision"] == precision for t in r["tensors"]]
                    detail += f", largest error in {precision} {max(errors):.1e}"
            ok = results and not wrong and problem is None
            check.conclude(name, "pass" if ok else "FAIL", detail + (f"; {problem}" if problem else ""))


def measure(check):
    """Runs step 5: measures times."""
    quick, cpu = check.options.quick, check.options.cpu
    clocks = check.report["environment"]
    if check.wants("operations"):
        _take_times(check, "operations", ["operations"])
        if not cpu:
            clocks["nvidia_smi_after_operations"] = machine.nvidia_smi()
    if check.wants("pytorch"):
        if cpu or find_spec("torch") is None:
            check.conclude("pytorch", "left out", gpu_process.ABOUT_CPU if cpu else "PyTorch is not installed")
        else:
            _take_times(check, "pytorch", ["pytorch"])
    if not check.wants("step"):
        return
    n, executions = (2, 2) if cpu else (STEPS_OF_EXECUTION, QUICK_EXECUTIONS if quick else EXECUTIONS)
    batch, vocabulary = (6, 1000) if cpu and quick else (BATCH, VOCABULARY)
    with tempfile.TemporaryDirectory() as folder:
        inputs = str(Path(folder, "inputs.npz"))
        save_inputs(inputs, *_random_batches((WARM_UP + executions) * n, batch, vocabulary), vocabulary)
        for name, (needs, _) in STEPS.items():
            if needs not in ("keras", "torch", "bfloat16", check.report["framework"]):
                continue
            if needs == "bfloat16" and check.report["environment"]["why_not_bfloat16"] is not None:
                continue
            if needs == "torch" and (cpu or find_spec("torch") is None or not check.torch_sees_gpu):
                continue
            if cpu and quick and name == "Keras, jit":
                continue
            words = ["--name", name, "--inputs", inputs, "--steps-per-execution", f"{n}"]
            _take_times(check, "step", ["step"], name, words)


def _take_times(check, step, parts, name="", words=()):
    facts, problem, output = check.run(parts, timeout=400, words=words)
    rows = [{key: value for key, value in fact.items() if key != "step"} for fact in facts if "what" in fact]
    check.report["timings"] += rows
    for fact in facts:
        if "torch" in fact:
            check.report["environment"]["pytorch"] = fact["torch"]
            check.torch_sees_gpu = fact["torch"]["sees_gpu"]
            if not check.torch_sees_gpu:
                problem = "PyTorch sees no GPU"
    if problem:
        print(gpu_process.tail(output))
    # This is no verdict on the kernels: the other steps show their errors.
    detail = problem or f"{len(rows)} rows"
    check.conclude(step, "incomplete" if problem else "pass", f"{name}: {detail}" if name else detail)


def _random_batches(count, batch, vocabulary):
    """Returns batches of random words with natural frequencies, so that the Penn Treebank's text is not needed."""
    frequency = 1 / np.arange(1, vocabulary + 1)
    shape = (count, batch, STEPS_OF_BATCH + 1)
    words = np.random.default_rng(0).choice(vocabulary, shape, p=frequency / frequency.sum()).astype(np.int32)
    return words[:, :, :-1], words[:, :, 1:]


def _finite(value):
    """Returns the value with None for numbers that JSON lacks, such as the infinite error of a NaN result."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _explain(step, result):
    case = " ".join(f"{name}={value}" for name, value in result["case"].items()) + f" {result['precision']}"
    if step == "determinism":
        of_framework = all(name.removeprefix("sum's ") in PRODUCTS for name in result["differing"])
        whose = " (matrix products of the framework alone)" if of_framework else ""
        return f"{result['operation']} {case}: other bits in {', '.join(result['differing'])}{whose}"
    wrong = [
        f"{t['tensor']} errs by {t['error']:.1e}, allowed are {t['bound']:.1e}"
        for t in result["tensors"]
        if not t["ok"]
    ]
    return f"{result['operation']} {case}, {result['mode']}: {'; '.join(wrong)}"


def _name_of(gpu):
    return f"{gpu['name']} (compute capability {gpu['compute_capability']}, driver of CUDA {gpu['driver_cuda']})"


def _commit():
    """Returns the commit of this folder, with "+" if files differ from it; None if git does not know."""
    if shutil.which("git") is None:
        return None
    git = ["git", "-C", str(REPOSITORY)]
    head = subprocess.run([*git, "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True, check=False)
    changes = subprocess.run([*git, "status", "--porcelain"], capture_output=True, text=True, check=False)
    return None if head.returncode else head.stdout.strip() + ("+" if changes.stdout.strip() else "")


def main(arguments=None):
    """Runs the check; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--framework", choices=("tensorflow", "jax"), help="default: the first that sees the GPU")
    parser.add_argument("--json", type=Path, metavar="FILE", help="file to write the report to")
    parser.add_argument("--quick", action="store_true", help="fewer cases, fewer repetitions")
    parser.add_argument("--cpu", action="store_true", help="the processor's kernels in place of the GPU's")
    parser.add_argument("--only", nargs="+", choices=STEP_NAMES, default=STEP_NAMES, metavar="STEP")
    parser.add_argument("--spoil", metavar="TENSOR", help="add an error to this result, to see the check fail")
    check = Check(parser.parse_args(arguments))
    report = check.report
    try:
        examine(check)
    except CannotCheckError as error:
        report["passed"] = False
        check.conclude("environment", "FAIL", " ".join(str(error).split()))
        return 1
    verify(check)
    if check.wants("sanitizer"):
        gpu_sanitizer.sanitize(check)
    measure(check)
    if report["timings"]:
        report["targets"] = gpu_report.targets(report["timings"], report["cpu"])
        print(gpu_report.table(report))
    verdicts = [step for step in report["steps"] if step["step"] in ("correctness", "determinism", "sanitizer")]
    failed = sorted({step["step"] for step in verdicts if step["verdict"] == "FAIL"})
    passed = sorted({step["step"] for step in verdicts if step["verdict"] == "pass"} - set(failed))
    # None: no step that can pass or fail was run.
    report["passed"] = False if failed else True if passed else None
    check.save()
    for word, steps in (("passed", passed), ("FAILED", failed)):
        if steps:
            print(f"\n{word}: {', '.join(steps)}. {report['label']}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
