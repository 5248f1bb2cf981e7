"""Processes of the GPU check: their environment, the facts that they report, and how they end."""

import contextlib
import json
import os
import signal
import subprocess
import tempfile
import threading

from benchmarks.contenders import REPOSITORY
from benchmarks.gpu_work import MARK

ABOUT_CPU = "CPU: nothing here says anything about a GPU"


def run(command, timeout, environment):
    """Runs a command that reports facts as `benchmarks.gpu_work` does, and stops it when its time is over.

    Args:
        command: list of words.
        timeout: seconds.
        environment: dict.

    Returns:
        `(facts, problem, output)`: the reported facts; why it did not end normally, or None; and all other output.
    """
    facts, lines, timed_out = [], [], threading.Event()
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(
            command,
            cwd=REPOSITORY,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            errors="replace",
            start_new_session=True,
        )

        def stop():
            timed_out.set()
            _kill(process)

        timer = threading.Timer(timeout, stop)
        timer.start()
        try:
            for line in process.stdout:
                if line.startswith(MARK):
                    facts.append(json.loads(line.removeprefix(MARK)))
                else:
                    lines.append(line)
            status = process.wait()
        except BaseException:
            _kill(process)
            raise
        finally:
            timer.cancel()
            process.stdout.close()
            process.wait()
        errors.seek(0)
        complaint = errors.read()
    output = "".join(lines) + complaint
    if status == 0:
        return facts, None, output
    last = next((line.strip() for line in reversed(output.splitlines()) if line.strip()), "")
    if timed_out.is_set():
        problem = f"hung, and was stopped after {timeout} s"
    elif status < 0:
        problem = f"died of {signal.Signals(-status).name}: {last}"
    else:
        problem = f"failed: {last}"
    if begun := [fact["begin"] for fact in facts if "begin" in fact]:
        problem = f"{begun[-1]}: {problem}"
    return facts, problem, output


def tail(output, count=15):
    """Returns the last lines of a process's output, indented to distinguish them from the check's own."""
    lines = [line for line in output.splitlines() if line.strip()][-count:]
    return "\n".join(f"  | {line[:200]}" for line in lines)


def _kill(process):
    # The whole process group is stopped, with any compilers that the process has started.
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def environment(framework, cpu):
    """Returns the environment of a process that runs a framework, on the GPU or on the processor."""
    variables = {
        **os.environ,
        "KERAS_BACKEND": framework,
        # Neither may reserve all of the GPU's memory, because several processes follow one another, PyTorch's too.
        "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
        "TF_FORCE_GPU_ALLOW_GROWTH": "true",
    }
    variables.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    # numpy computes small products only, in which its threads would mostly wait for one another.
    variables.setdefault("OPENBLAS_NUM_THREADS", "1")
    variables["CUDA_VISIBLE_DEVICES"] = "-1" if cpu else os.environ.get("CUDA_VISIBLE_DEVICES", "0")
    if cpu:
        variables["JAX_PLATFORMS"] = "cpu"
    return variables
