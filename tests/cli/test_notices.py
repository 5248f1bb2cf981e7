import subprocess
import sys

import pytest

NOTICES = (
    "WARNING: All log messages before absl::InitializeLog() is called are written to STDERR\n"
    "I0000 00:00:1.5 7 port.cc:153] oneDNN custom operations are on.\n"
    "W0000 00:00:1.5 7 x.cc:1] already registered\n"
    "E0000 00:00:1.5 7 cuda_platform.cc:52] failed call to cuInit: INTERNAL: UNKNOWN ERROR (303)\n"
    "2026-11-26 10:09:34.553166: E external/local_xla/cuda_platform.cc:51] failed call to cuInit: UNKNOWN ERROR (303)\n"
    "2026-11-26 10:09:34.553166: I tensorflow/core/port.cc:153] oneDNN custom operations are on.\n"
)
ERRORS = (
    "E0000 00:00:1.5 7 cuda_platform.cc:52] failed call to cuInit: INTERNAL: CUDA_ERROR_NO_DEVICE (100)\n"
    "F0000 00:00:1.5 7 cpu_feature_guard.cc:1] compiled to use AVX instructions\n"
)


def standard_error_of(code, *environment, status=0):
    code = f"import os, sys\nfrom kerasptb.cli.notices import *\n{code}"
    result = subprocess.run(
        ["env", *environment, sys.executable, "-c", code], stderr=subprocess.PIPE, text=True, check=False
    )
    assert result.returncode == status, result.stderr
    return result.stderr


def test_errors_are_shown_and_notices_are_not():
    code = f"""
with without_notices():
    os.write(2, {NOTICES + ERRORS!r}.encode())
    print("a warning of Python", file=sys.stderr)
print("afterwards I0000 ", file=sys.stderr)
os.write(2, b"I0000 the file descriptor is as it was")
"""
    assert standard_error_of(code) == (
        f"{ERRORS}a warning of Python\nafterwards I0000 \nI0000 the file descriptor is as it was"
    )


def test_the_last_words_of_a_crash_are_shown():
    code = f"with without_notices():\n    os.write(2, {ERRORS!r}.encode())\n    os.abort()"
    assert standard_error_of(code, status=-6) == ERRORS


def test_an_exception_passes():
    code = "try:\n    with without_notices():\n        raise OSError\nexcept OSError:\n    sys.exit(3)"
    assert standard_error_of(code, status=3) == ""


@pytest.mark.slow
def test_importing_keras_is_quiet_unless_the_variable_asks():
    assert standard_error_of("import_keras(); assert 'keras' in sys.modules", "-u", "TF_CPP_MIN_LOG_LEVEL") == ""
    assert standard_error_of("import_keras()", "TF_CPP_MIN_LOG_LEVEL=2") == ""
    assert "I0000" in standard_error_of("import_keras()", "TF_CPP_MIN_LOG_LEVEL=0")


def test_no_command_imports_tensorflow_in_another_way(run, texts, tmp_path):
    """Where Keras and TensorFlow cannot be imported, those that need them get as far as where notices are kept away."""
    commands = [
        ["evaluate", run, "--dynamic"], ["export", run, "--to", str(tmp_path / "export")],
        ["tune", "--data", str(texts)], ["train", "--data", str(texts), "--out", str(tmp_path / "run")],
    ]  # fmt: skip
    code = f"""
for name in ("keras", "tensorflow", "jax"):
    sys.modules[name] = None
import kerasptb.cli.notices
from importlib import import_module
from kerasptb.cli import main

def reached(**_):
    raise KeyboardInterrupt

for command in {commands}:
    import_module(f"kerasptb.cli.{{command[0]}}").import_keras = reached
    status = main(command)
    assert status == 130, (command, status)
"""
    assert standard_error_of(code) == "kerasptb: interrupted\n" * len(commands)


@pytest.mark.slow
def test_a_closed_standard_error_is_no_error():
    code = "from kerasptb.cli.notices import import_keras; import_keras(); print('done')"
    command = f'unset TF_CPP_MIN_LOG_LEVEL; exec "{sys.executable}" -c "{code}" 2>&-'
    assert subprocess.run(["sh", "-c", command], stdout=subprocess.PIPE, text=True, check=True).stdout == "done\n"
