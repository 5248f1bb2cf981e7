"""An emulated GPU: the shipped kernels compiled as C++, a fake driver that runs them, the shipped launchers on top."""

import concurrent.futures
import contextlib
import functools
import os
import pickle
import platform
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from kerasptb.native import build

HERE = Path(__file__).parent
LAUNCHERS = ("driver.cc", "column_sums_launcher.cc", "lstm_launcher.cc", "softmax_cross_entropy_launcher.cc")
HOST_SOURCES = (*(build.SOURCES / "cuda" / name for name in LAUNCHERS), HERE / "launchers.cc")
DRIVER_SOURCES = (HERE / "emulator.cc", HERE / "fake_driver.cc")
FLAGS = ("-std=c++17", "-fPIC", "-pthread", "-fvisibility=hidden", "-Wall", "-Wextra", "-Werror")


class EmulatedGpu:
    """The methods of `worker.Worker`, in a process of their own. What goes wrong there is a RuntimeError here."""

    def __init__(self, launchers, driver=None, environment=None):
        command = [sys.executable, str(HERE / "worker.py"), str(launchers), *([str(driver)] if driver else [])]
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=os.environ | (environment or {}),
        )

    def __getattr__(self, method):
        def call(*arguments, **keywords):
            try:
                pickle.dump((method, arguments, keywords), self._process.stdin)
                self._process.stdin.flush()
                result, error = pickle.load(self._process.stdout)
            except (BrokenPipeError, EOFError, pickle.UnpicklingError):
                _, message = self._process.communicate()
                raise RuntimeError(f"the process ended ({self._process.returncode}): {message.decode()}") from None
            if error is not None:
                raise RuntimeError(error)
            return result

        return call

    def close(self):
        """Everything that the process said on standard error."""
        with contextlib.suppress(BrokenPipeError, ValueError):  # a process that died was waited for already
            return self._process.communicate(timeout=60)[1].decode()
        return ""


def compile_emulated(source, folder, *flags):
    """The object file of one of `DRIVER_SOURCES` or of a file of device code."""
    # Loop pragmas are nvcc's.
    roots = [f"-I{HERE}", f"-I{source.parents[1]}"]  # the second for device code, perhaps in a copy of the sources
    command = ["-DKERASPTB_EMULATE", "-Wno-unknown-pragmas", *roots, *flags]
    return _compile([*command, "-c", "-x", "c++", source], folder / f"{source.name}.o")


def link_driver(folder, objects, *flags):
    return _compile(["-shared", "-Wl,-soname,libcuda.so.1", *flags, *objects], folder / "libcuda.so.1")


def compile_driver(folder, *flags):
    """The fake driver with all kernels in it."""
    sources = [*DRIVER_SOURCES, build.SOURCES / "cuda" / "kernels.cu"]
    return link_driver(folder, [compile_emulated(source, folder, *flags) for source in sources], *flags)


def compile_host(source, folder, *flags):
    """The object file of one of `HOST_SOURCES`, or of a copy of it."""
    return _compile([f"-I{build.SOURCES}", *flags, "-c", source], folder / f"{source.name}.o")


def link_launchers(folder, objects, *flags):
    return _compile(["-shared", *flags, *objects, "-ldl"], folder / "launchers.so")


def compile_launchers(folder, *flags):
    return link_launchers(folder, [compile_host(source, folder, *flags) for source in HOST_SOURCES], *flags)


def _compile(arguments, output):
    command = [*build.find_compiler(), *FLAGS, *map(str, arguments), "-o", str(output)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return output


class Recurrence:
    """The LSTM layer of one shape (B, T, D, H) with its gradients, as `ops.native_recurrence` puts them together."""

    NAMES = ("x", "h0", "c0", "kernel", "recurrent_kernel", "bias")

    def __init__(self, shape):
        B, T, D, H = self.shape = shape
        generator = np.random.default_rng(shape)

        def normal(*size, stddev=1.0):
            return (generator.standard_normal(size) * stddev).astype(np.float32)

        self.x, self.h0, self.c0 = normal(B, T, D), normal(B, H, stddev=0.5), normal(B, H)
        self.kernel = normal(D, 4 * H, stddev=D**-0.5)
        self.recurrent_kernel, self.bias = normal(H, 4 * H, stddev=H**-0.5), normal(4 * H, stddev=0.2)
        self.upstream = normal(B, T, H), normal(B, H), normal(B, H)

    def forward_inputs(self):
        B, T, D, H = self.shape
        xz = (self.x.reshape(-1, D) @ self.kernel).reshape(B, T, 4 * H)
        return {"xz": xz} | {name: getattr(self, name) for name in ("recurrent_kernel", "bias", "h0", "c0")}

    def backward_inputs(self, forward):
        inputs = {"recurrent_kernel": self.recurrent_kernel, "c0": self.c0}
        inputs |= {name: forward[name] for name in ("gates", "c_seq")}
        return inputs | dict(zip(("dh_seq", "dh_T", "dc_T"), self.upstream, strict=True))

    def on(self, gpu):
        """Every value and every gradient, by name."""
        _, _, D, H = self.shape
        forward = gpu.lstm_forward(self.forward_inputs())
        backward = gpu.lstm_backward(self.backward_inputs(forward))
        dz = backward["dz"].reshape(-1, 4 * H)
        h_previous = np.concatenate([self.h0[:, None], forward["h_seq"][:, :-1]], axis=1)
        return {name: forward[name] for name in ("h_seq", "h_T", "c_T")} | {
            "dx": (dz @ self.kernel.T).reshape(self.x.shape),
            "dh0": backward["dz"][:, 0] @ self.recurrent_kernel.T,
            "dc0": backward["dc0"],
            "dkernel": self.x.reshape(-1, D).T @ dz,
            "drecurrent_kernel": h_previous.reshape(-1, H).T @ dz,
            "dbias": backward["dbias"],
        }

    def by_framework(self, dtype):
        """The same by TensorFlow's plain operations and their derivatives."""
        import tensorflow as tf

        from kerasptb.ops.lstm import lstm

        inputs = [tf.constant(getattr(self, name), dtype) for name in self.NAMES]
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            outputs = lstm(*inputs, backend="reference")
            total = tf.add_n(
                [tf.reduce_sum(a * tf.constant(b, dtype)) for a, b in zip(outputs, self.upstream, strict=True)]
            )
        named = dict(zip(("h_seq", "h_T", "c_T"), outputs, strict=True))
        named |= {f"d{name}": gradient for name, gradient in zip(self.NAMES, tape.gradient(total, inputs), strict=True)}
        return {name: tensor.numpy().astype(np.float64) for name, tensor in named.items()}

    @functools.cached_property
    def exact(self):
        return self.by_framework("float64")

    @functools.cached_property
    def framework(self):
        return self.by_framework("float32")

    def check(self, gpu):
        """Assert that nothing is more than twice as wrong as TensorFlow in float32."""
        for name, tensor in self.on(gpu).items():
            # The floor where TensorFlow is exact by luck: 4 roundings for a value, 16 for a gradient, a sum.
            floor = (16 if name.startswith("d") else 4) * 2.0**-24
            allowed = max(2 * largest_error(self.framework[name], self.exact[name]), floor)
            assert largest_error(tensor, self.exact[name]) <= allowed, name


class Bfloat16Recurrence(Recurrence):
    """The same with the operands of every product rounded to bfloat16."""

    # Bound of float32's errors, in units of a tensor's largest number, where a step's operands are known to the bit.
    STEP_ERROR = 16 * 2.0**-24
    # Bound of bfloat16's errors, as a ratio of norms: an operand errs by at most 2^-9, and the steps add up.
    ERROR = 1e-2

    def forward_inputs(self):
        B, T, D, H = self.shape
        xz = (bfloat16(self.x.reshape(-1, D)) @ bfloat16(self.kernel)).reshape(B, T, 4 * H)
        return super().forward_inputs() | {"xz": xz}

    def on(self, gpu):
        _, _, D, H = self.shape
        forward = gpu.lstm_forward(self.forward_inputs(), bfloat16=True)
        backward = gpu.lstm_backward(self.backward_inputs(forward), bfloat16=True)
        self.check_steps(forward, backward)
        dz, x = bfloat16(backward["dz"]).reshape(-1, 4 * H), bfloat16(self.x).reshape(-1, D)
        h_previous = np.concatenate([self.h0[:, None], forward["h_seq"][:, :-1]], axis=1)
        return {name: forward[name] for name in ("h_seq", "h_T", "c_T")} | {
            "dx": (dz @ bfloat16(self.kernel).T).reshape(self.x.shape),
            "dh0": bfloat16(backward["dz"][:, 0]) @ bfloat16(self.recurrent_kernel).T,
            "dc0": backward["dc0"],
            "dkernel": x.T @ dz,
            "drecurrent_kernel": bfloat16(h_previous).reshape(-1, H).T @ dz,
            "dbias": backward["dbias"],
        }

    def check_steps(self, forward, backward):
        """Assert that each step is right to float32, given the rounded results of the one before it."""
        T, inputs = self.shape[1], {name: array.astype(np.float64) for name, array in self.forward_inputs().items()}
        U = bfloat16(self.recurrent_kernel).astype(np.float64)
        dh_seq, dh_T, dc_T = (array.astype(np.float64) for array in self.upstream)
        c, expected = inputs["c0"], {name: np.zeros(array.shape) for name, array in (forward | backward).items()}
        for t in range(T):
            h = bfloat16(self.h0 if t == 0 else forward["h_seq"][:, t - 1]).astype(np.float64)
            z = np.split(inputs["xz"][:, t] + h @ U + inputs["bias"], 4, axis=1)
            i, f, g, o = (np.tanh(part) if n == 2 else 1 / (1 + np.exp(-part)) for n, part in enumerate(z))
            c = f * c + i * g
            expected["gates"][:, t], expected["c_seq"][:, t] = np.concatenate([i, f, g, o], axis=1), c
            expected["h_seq"][:, t] = o * np.tanh(c)
        expected["h_T"], expected["c_T"] = expected["h_seq"][:, -1], c
        dh, dc = dh_T, dc_T
        for t in reversed(range(T)):
            i, f, g, o = np.split(expected["gates"][:, t], 4, axis=1)
            tanh_c, c_before = np.tanh(expected["c_seq"][:, t]), expected["c_seq"][:, t - 1] if t else inputs["c0"]
            dh = dh + dh_seq[:, t]
            dc = dc + dh * o * (1 - tanh_c**2)
            slopes = [dc * g * i * (1 - i), dc * c_before * f * (1 - f), dc * i * (1 - g**2), dh * tanh_c * o * (1 - o)]
            expected["dz"][:, t] = np.concatenate(slopes, axis=1)
            dh, dc = bfloat16(backward["dz"][:, t]).astype(np.float64) @ U.T, dc * f
        expected["dc0"], expected["dbias"] = dc, expected["dz"].sum(axis=(0, 1))
        for name, tensor in (forward | backward).items():
            assert largest_error(tensor, expected[name]) <= self.STEP_ERROR, name

    def check(self, gpu):
        """Assert that each step is right, and that rounding to bfloat16 is all that is wrong with the results."""
        for name, tensor in self.on(gpu).items():
            error = np.linalg.norm(tensor - self.exact[name]) / np.linalg.norm(self.exact[name])
            # In a tensor of few numbers, all of them may be differences of larger numbers.
            assert error <= self.ERROR * (3 if tensor.size < 8 else 1), name


def bfloat16(array):
    """A float32 array rounded to bfloat16, to nearest and ties to even."""
    bits = np.ascontiguousarray(array).view(np.uint32)
    return ((bits + 0x7FFF + (bits >> 16 & 1)) & np.uint32(0xFFFF0000)).view(np.float32)


def largest_error(found, exact):
    """The largest error, in units of the tensor's largest number; infinite for NaN."""
    error = np.max(np.abs(found - exact)) / np.max(np.abs(exact))
    return np.inf if np.isnan(error) else error


class SoftmaxRows:
    """Logits, bias, targets and scales of a shape (rows, vocabulary), and the expected results."""

    def __init__(self, shape, scale=3.0):
        generator = np.random.default_rng(shape)
        self.inputs = {
            "logits": (generator.standard_normal(shape) * scale).astype(np.float32),
            "bias": generator.standard_normal(shape[1]).astype(np.float32),
            "targets": generator.integers(shape[1], size=shape[0]).astype(np.int32),
            "scale": generator.uniform(0.5, 2.0, shape[0]).astype(np.float32),
        }

    @functools.cached_property
    def exact(self):
        z = self.inputs["logits"].astype(np.float64) + self.inputs["bias"]
        z -= z.max(axis=1, keepdims=True)
        total = np.exp(z).sum(axis=1, keepdims=True)
        there = np.arange(len(z)), self.inputs["targets"]
        dlogits = np.exp(z) / total
        dlogits[there] -= 1
        dlogits *= self.inputs["scale"][:, None]
        return {"loss": np.log(total[:, 0]) - z[there], "dlogits": dlogits, "dbias": dlogits.sum(axis=0)}

    def check(self, found):
        for name, tensor in found.items():
            # A loss near 10 is rounded to 5e-7; a gradient is at most 2.
            np.testing.assert_allclose(tensor, self.exact[name], rtol=2e-6, atol=1e-6, err_msg=name)


@pytest.fixture(scope="session")
def toolchain():
    """Skips where the emulator cannot be compiled."""
    if platform.system() != "Linux" or platform.machine() != "x86_64":
        pytest.skip("the emulator of CUDA is for Linux on x86-64")
    try:
        build.find_compiler()
    except build.NativeBuildError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def compiled(toolchain, tmp_path_factory):
    """(launchers, driver): the two libraries."""
    folder = tmp_path_factory.mktemp("emulated")
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        driver = pool.submit(compile_driver, folder, "-O2")
        launchers = pool.submit(compile_launchers, folder, "-O1")
        return launchers.result(), driver.result()


@pytest.fixture(scope="session")
def _shared_gpu(compiled):
    gpu = EmulatedGpu(*compiled)
    yield gpu
    assert gpu.close() == ""


@pytest.fixture
def gpu(_shared_gpu):
    """An emulated H100 whose warps run in turns."""
    _shared_gpu.configure()
    _shared_gpu.schedule(0)
    _shared_gpu.launches()
    return _shared_gpu


@pytest.fixture(scope="session")
def recurrence():
    """`Recurrence` of a shape; each is made once."""
    return functools.cache(Recurrence)


@pytest.fixture(scope="session")
def bfloat16_recurrence():
    """`Bfloat16Recurrence` of a shape; each is made once."""
    return functools.cache(Bfloat16Recurrence)


@pytest.fixture(scope="session")
def softmax_rows():
    return SoftmaxRows


@pytest.fixture(scope="session")
def toolkit(toolchain):
    """How this folder makes its emulated GPUs, for tests that make others."""
    return SimpleNamespace(
        sources=build.SOURCES,
        driver_sources=DRIVER_SOURCES,
        host_sources=HOST_SOURCES,
        compile_emulated=compile_emulated,
        link_driver=link_driver,
        compile_driver=compile_driver,
        compile_host=compile_host,
        link_launchers=link_launchers,
        compile_launchers=compile_launchers,
        EmulatedGpu=EmulatedGpu,
    )
