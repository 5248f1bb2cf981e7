import collections
import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from benchmarks import gpu_process, gpu_reference, gpu_report, gpu_sanitizer
from kerasptb.ops.platform import why_not_native

REPOSITORY = Path(__file__).parents[2]


def gradient_by_differences(function, array, step=1e-6):
    """Central differences of a scalar function, entry by entry."""
    gradient = np.zeros_like(array)
    for index in np.ndindex(array.shape):
        values = []
        for sign in (1, -1):
            moved = array.copy()
            moved[index] += sign * step
            values.append(function(moved))
        gradient[index] = (values[0] - values[1]) / (2 * step)
    return gradient


def as_float64(arrays):
    return [array.astype(np.float64) for array in arrays]


def test_gradients_of_the_lstm_agree_with_differences():
    arguments, upstream = (as_float64(arrays) for arrays in gpu_reference.lstm_inputs(B=2, T=4, D=3, H=3))
    results = gpu_reference.lstm(*arguments, upstream)

    for i, name in enumerate(gpu_reference.LSTM_ARGUMENTS):

        def objective(moved, i=i):
            outputs = gpu_reference.lstm(*arguments[:i], moved, *arguments[i + 1 :], upstream)
            return sum(np.sum(outputs[n] * u) for n, u in zip(gpu_reference.LSTM_OUTPUTS, upstream, strict=True))

        np.testing.assert_allclose(results[f"d{name}"], gradient_by_differences(objective, arguments[i]), atol=1e-8)


def test_gradients_of_the_cross_entropy_agree_with_differences():
    *arguments, targets, weights = gpu_reference.cross_entropy_inputs(N=4, D=3, V=5, scale=1.0)
    arguments, weights = as_float64(arguments), weights.astype(np.float64)
    results = gpu_reference.linear_cross_entropy(*arguments, targets, weights)

    for i, name in enumerate(("dh", "dkernel", "dbias")):

        def objective(moved, i=i):
            moved_arguments = [*arguments[:i], moved, *arguments[i + 1 :]]
            return np.sum(weights * gpu_reference.linear_cross_entropy(*moved_arguments, targets, weights)["loss"])

        np.testing.assert_allclose(results[name], gradient_by_differences(objective, arguments[i]), atol=1e-8)


@pytest.mark.parametrize("units", [gpu_reference.UNITS, gpu_reference.UNITS_OF_BFLOAT16], ids=["float32", "bfloat16"])
def test_cases_pair_every_size_with_every_other(units):
    cases = gpu_reference.lstm_cases(False, units)
    for letters in ("HB", "HT", "BT"):
        pairs = {tuple(case[letter] for letter in letters) for case in cases}
        assert len(pairs) == np.prod([len({case[letter] for case in cases}) for letter in letters])
    quick = gpu_reference.lstm_cases(True, units)
    for letter in "BTH":
        assert {case[letter] for case in quick} == {case[letter] for case in cases}


TRUE = np.linspace(-2, 1, 7)


@pytest.mark.parametrize(
    ("actual", "framework", "ok"),
    [
        (TRUE.astype(np.float32), TRUE.astype(np.float32), True),
        (TRUE + 3e-6, TRUE, True),  # 1.5e-6 of the largest entry, within the floor
        (TRUE + 5e-6, TRUE, False),
        (TRUE + 5e-6, TRUE + 3e-6, True),  # within twice the framework's error
        (TRUE + 5e-5, TRUE + 1e-3, False),  # which TF32 is not
        (TRUE + 5e-6, TRUE * np.nan, False),
        (np.where(TRUE > 0, np.nan, TRUE), TRUE, False),
        (TRUE[:-1], TRUE, False),
    ],
)
def test_comparison(actual, framework, ok):
    assert gpu_reference.compare("x", actual, TRUE, framework)["ok"] is ok


def test_comparison_allows_for_the_rounding_of_long_sums():
    assert not gpu_reference.compare("x", TRUE + 1e-5, TRUE, TRUE, terms=10_000)["ok"]
    assert gpu_reference.compare("x", TRUE + 1e-5, TRUE, TRUE, terms=200_000)["ok"]


def test_comparison_in_bfloat16():
    assert gpu_reference.compare_bfloat16("x", TRUE * (1 + 2**-9), TRUE)["ok"]
    for wrong in (TRUE * 1.03, TRUE * np.nan, TRUE[:-1]):
        assert not gpu_reference.compare_bfloat16("x", wrong, TRUE)["ok"]


def run_check(*words):
    # As from a folder that was copied: nothing but the working directory says where the modules are.
    environment = {name: value for name, value in os.environ.items() if name != "KERAS_BACKEND"}
    environment["PYTHONPATH"] = str(REPOSITORY / "tests" / "programs")
    environment["KERASPTB_THREADS"] = "1"  # other tests run beside it, and threads wait for each other
    command = [sys.executable, "-m", "benchmarks.gpu_check", "--cpu", "--quick", *map(str, words)]
    return subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture
def installed(request, native_library):
    if find_spec(request.param) is None:
        pytest.skip(f"{request.param} is not installed")
    return request.param


# Each measures a part of the times: together they take what all of them with one framework would.
@pytest.mark.slow
@pytest.mark.parametrize(("installed", "part"), [("tensorflow", "operations"), ("jax", "step")], indirect=["installed"])
def test_whole_check_on_the_processor(installed, part, tmp_path):
    path = tmp_path / "report.json"
    only = ("correctness", "determinism", "sanitizer", "pytorch", part)

    result = run_check("--framework", installed, "--json", path, "--only", *only)

    assert result.returncode == 0, result.stdout + result.stderr
    assert gpu_process.ABOUT_CPU in result.stdout
    report = json.loads(path.read_text())
    assert report["passed"] is True
    assert report["framework"] == installed
    assert gpu_process.ABOUT_CPU in report["label"]
    assert {"keras", "numpy", "platform", "commit", "library", "gpus", installed} <= set(report["environment"])
    verdicts = {step["step"]: step["verdict"] for step in report["steps"]}
    assert verdicts == {
        "environment": "pass",
        "correctness": "pass",
        "determinism": "pass",
        "sanitizer": "left out",
        "pytorch": "left out",
        part: "pass",
    }
    assert {result["operation"] for result in report["correctness"]} == {"lstm", "cross-entropy"}
    in_bfloat16 = why_not_native("bfloat16") is None
    counts = {"float32": 6 * 9 + 5 * 8} | ({"bfloat16": 6 * 9 + 4 * 8} if in_bfloat16 else {})
    tensors = [(r["precision"], tensor) for r in report["correctness"] for tensor in r["tensors"]]
    assert collections.Counter(precision for precision, _ in tensors) == counts
    assert all(0 <= tensor["error"] <= tensor["bound"] for _, tensor in tensors)
    assert {result["precision"] for result in report["determinism"]} == set(counts)
    assert all(result["runs"] == 20 for result in report["determinism"])
    measured = {row["what"] for row in report["timings"]}
    operations = {"copy", "softmax", "lstm", "lstm forward kernel", "lstm backward kernel", "linear_cross_entropy"}
    assert measured == (operations if part == "operations" else {"step"})
    for row in report["timings"]:
        assert 0 < row["us_p10"] <= row["us_median"] <= row["us_p90"]
        assert row["method"]
    if part == "step":
        costs = {row["contender"]: row["cost_first"] for row in report["timings"]}
        assert len(costs) == 2 + in_bfloat16
        assert costs == pytest.approx(dict.fromkeys(costs, costs["Keras"]), rel=1e-3)  # they train the same model
    assert {target["verdict"] for target in report["targets"]} == {gpu_report.NOT_HERE}


@pytest.mark.slow
@pytest.mark.parametrize("installed", ["jax" if find_spec("jax") else "tensorflow"], indirect=True)
def test_wrong_result_fails_the_check(installed, tmp_path):
    path = tmp_path / "report.json"

    result = run_check(
        "--framework", installed, "--json", path, "--only", "correctness", "--spoil", "drecurrent_kernel"
    )

    assert result.returncode == 1
    assert "FAIL        correctness" in result.stdout
    report = json.loads(path.read_text())
    assert report["passed"] is False
    assert len(report["correctness"]) == 2
    wrong = {t["tensor"] for r in report["correctness"] for t in r["tensors"] if not t["ok"]}
    assert wrong == {"drecurrent_kernel"}


def tell(*facts, then=""):
    """A program that tells facts as `benchmarks.gpu_work` does."""
    lines = [f"print({'gpu_work: ' + json.dumps(fact)!r}, flush=True)" for fact in facts]
    return [sys.executable, "-c", "\n".join(["import os, sys, time", *lines, then])]


def test_process_that_hangs_is_stopped_and_what_it_was_at_is_told():
    facts, problem, _ = gpu_process.run(
        tell({"step": "correctness"}, {"begin": "lstm B=3"}, then="time.sleep(60)"), 2, dict(os.environ)
    )
    assert facts[0] == {"step": "correctness"}
    assert problem == "lstm B=3: hung, and was stopped after 2 s"


@pytest.mark.parametrize(
    ("then", "problem"),
    [
        ("os.abort()", "linear_cross_entropy: died of SIGABRT: "),
        ("sys.exit('no such kernel')", "linear_cross_entropy: failed: no such kernel"),
        ("", None),
    ],
)
def test_process_that_dies_is_told(then, problem):
    assert gpu_process.run(tell({"begin": "linear_cross_entropy"}, then=then), 60, dict(os.environ))[1] == problem


@pytest.mark.parametrize(
    ("output", "ended_well", "verdict"),
    [
        ("========= ERROR SUMMARY: 0 errors", True, "pass"),
        ("========= ERROR SUMMARY: 2 errors", False, "FAIL"),
        ("========= RACECHECK SUMMARY: 1 hazard displayed (0 errors, 1 warning)", True, "FAIL"),
        ("========= ERROR SUMMARY: 0 errors", False, "incomplete"),
        ("the driver is too old for this tool", False, "incomplete"),
    ],
)
def test_verdict_on_what_the_sanitizer_prints(output, ended_well, verdict):
    assert gpu_sanitizer.judge(output, ended_well)[0] == verdict


def row(what, size, contender, microseconds, **more):
    return {"what": what, "size": size, "contender": contender, "us_median": microseconds, **more}


def test_targets():
    layer, model = {"B": 60, "T": 20, "D": 200, "H": 256}, {"B": 60, "T": 20, "V": 10_000}
    rows = [
        row("copy", {}, "memory", 1.0, gigabytes_per_second=2000.0),
        row("softmax", {"N": 1200, "V": 10_000}, "kerasptb, native", 60.0, bytes=96_000_000),  # the floor is 48
        row("lstm", layer, "kerasptb, native", 200.0),
        row("lstm", layer, "PyTorch, cuDNN, TF32 off", 500.0),
        row("lstm", layer, "PyTorch, cuDNN, TF32 on", 390.0),
        row("step", model, "kerasptb, native", 700.0),
        row("step", model, "Keras", 3500.0),
        row("step", model, "PyTorch, compiled, TF32 on", 1750.0),
        row("step", model, "PyTorch, compiled, bfloat16 autocast", 100.0),
    ]
    found = {
        target["target"].split(":")[0]: (target["verdict"], target["value"])
        for target in gpu_report.targets(rows, False)
    }
    steps = [(t["verdict"], t["value"]) for t in gpu_report.targets(rows, False) if t["target"].startswith("training")]
    assert found["recurrence, forward + backward, 256 units"] == ("missed", pytest.approx(200 / 390))
    assert found["recurrence, forward + backward, 128 units"] == ("not measured", None)
    assert found["softmax cross-entropy, N 1200, V 10000"] == ("met", pytest.approx(1.25))
    assert steps == [("met", pytest.approx(5.0)), ("missed", pytest.approx(2.5))]
    assert {t["verdict"] for t in gpu_report.targets([], False)} == {"not measured"}
    assert found["an epoch of the Penn Treebank"] == ("missed", pytest.approx(0.5423, abs=1e-4))
