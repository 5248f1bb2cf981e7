"""Runs the CUDA kernels under NVIDIA's compute-sanitizer, with a small case of each."""

import os
import re
import shutil
import subprocess
from pathlib import Path

from benchmarks import gpu_process

TOOLS = ("memcheck", "racecheck", "synccheck")
ERROR_STATUS = 99


def sanitize(check):
    """Runs step 4 of a `gpu_check.Check`: every kernel under compute-sanitizer."""
    if check.options.cpu:
        check.conclude("sanitizer", "left out", gpu_process.ABOUT_CPU)
        return
    program = _find()
    if program is None:
        check.conclude("sanitizer", "not present", "compute-sanitizer was not found")
        return
    help_text = subprocess.run([program, "--help"], capture_output=True, text=True, check=False).stdout
    only_ours = "--kernel-name" if "--kernel-name " in help_text else "--kernel-regex"
    for tool in TOOLS:
        wrapper = [program, "--tool", tool, "--error-exitcode", f"{ERROR_STATUS}", only_ours, "kns=kerasptb"]
        # Each tensor gets its own allocation: in a pool a write beyond a tensor would not be detected. Failed driver
        # calls are not reported, because every framework makes some.
        wrapper += ["--report-api-errors", "no"] if tool == "memcheck" else []
        facts, problem, output = check.run(
            ["sanitized"],
            timeout=300,
            wrapper=wrapper,
            XLA_PYTHON_CLIENT_ALLOCATOR="platform",
            TF_GPU_ALLOCATOR="cuda_malloc_async",
        )
        ran = any(fact.get("step") == "sanitized" for fact in facts)
        verdict, summary = judge(output, ran and problem is None)
        check.report["sanitizer"].append({"tool": tool, "verdict": verdict, "summary": summary, "problem": problem})
        if verdict != "pass":
            print(gpu_process.tail(output))
        check.conclude("sanitizer", verdict, f"{tool}: {summary or problem}")


def judge(output, ended_well):
    """Returns the verdict on compute-sanitizer's output, and its summary line.

    The verdict is "incomplete" if it found nothing but could not run the program to its end.
    """
    found = re.search(r"SUMMARY: (\d+).*", output)
    if found and int(found[1]):
        return "FAIL", found[0]
    return "pass" if ended_well else "incomplete", found[0] if found else ""


def _find():
    from kerasptb.native import nvcc  # noqa: PLC0415

    folders = [Path(entry) for entry in os.environ.get("PATH", "").split(os.pathsep) if entry]
    if (compiler := nvcc.find()) is not None:
        for folder in (Path(compiler).parent, Path(compiler).resolve().parent):
            folders += [folder, folder.parent / "compute-sanitizer"]
    folders += [Path("/usr/local/cuda/bin"), Path("/usr/local/cuda/compute-sanitizer")]
    return shutil.which("compute-sanitizer", path=os.pathsep.join(str(folder) for folder in folders))
