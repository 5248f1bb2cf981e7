"""How long the operations take: many chained calls inside one timed region, so that launching one costs nothing.

With TensorFlow and JAX a region is one compiled program that loops over the calls, and ends when its result is there.
Each call depends on the previous one, through the state, or through the gradient times a zero that the compiler does
not know. Otherwise the compiler would move it out of the loop. With PyTorch a region lies between two CUDA events.
"""

import time

import numpy as np

from benchmarks import gpu_reference

BATCH, STEPS = 60, 20
LSTM_SIZES = ((200, 256), (256, 128), (128, 64))  # features, units
LARGE_LSTM = (200, 512)  # which the kernels for GPUs take in bfloat16 alone
LINEAR_CROSS_ENTROPY = {"N": 1200, "D": 128, "V": 10_000}
SOFTMAX_SIZES = ({"N": 1200, "V": 10_000}, {"N": 256, "V": 200_000})
# A row that fits shared memory is read once and its gradient written once; a longer row is read twice. Every GPU with
# clusters offers a block at least 99 KiB.
ROW_IN_SHARED_MEMORY = 99 * 1024


class Plan:
    """How much is measured: calls in a region, regions, and the sizes.

    Attributes:
        calls: calls in a timed region.
        repeats: timed regions.
        copy_bytes: size of the array whose copying gives the memory's rate.
        lstm_sizes: pairs of features and units, for both precisions.
        large_lstm: a pair of features and units for bfloat16 only, or None.
        softmax_sizes: dicts of N and V.
        linear_cross_entropy: dict of N, D and V.
    """

    def __init__(self, cpu, quick):
        self.calls, self.repeats, self.copy_bytes = (50, 10, 2**28) if quick else (100, 30, 2**30)
        self.lstm_sizes, self.large_lstm = LSTM_SIZES, LARGE_LSTM
        self.softmax_sizes, self.linear_cross_entropy = SOFTMAX_SIZES, LINEAR_CROSS_ENTROPY
        if cpu:
            self.calls, self.repeats, self.copy_bytes = (1, 2, 2**22) if quick else (3, 10, 2**28)
            if quick:
                self.lstm_sizes, self.large_lstm = LSTM_SIZES[-1:], None
                self.softmax_sizes = ({"N": 32, "V": 10_000}, {"N": 2, "V": 200_000})
                self.linear_cross_entropy = LINEAR_CROSS_ENTROPY | {"N": 64}


def softmax_passes(vocabulary_size):
    """Returns how often a row of logits is read from or written to the memory.

    A row that fits shared memory is read once and written once, and a longer one is read twice and written once. Then
    the sums over the rows, for the bias, read the gradient.
    """
    return 3 if 4 * vocabulary_size <= ROW_IN_SHARED_MEMORY else 4


def summarise(seconds):
    """Returns the median and the quantiles of the seconds of a call, in microseconds."""
    low, median, high = 1e6 * np.quantile(seconds, [0.1, 0.5, 0.9])
    return {"us_median": float(median), "us_p10": float(low), "us_p90": float(high), "regions": len(seconds)}


class Operations:
    """The measurements of one framework; each method yields rows for the table."""

    def __init__(self, framework, plan, units_in_bfloat16):
        self._framework, self._plan = framework, plan
        # The most units in bfloat16; None: any number, 0: none.
        self._units_in_bfloat16 = units_in_bfloat16
        self._method = f"{plan.calls} chained calls in one {{mode}} program of {framework.name}"

    def memory(self):
        """The rate at which the memory copies: every float is read once and written once."""
        count = self._plan.copy_bytes // 4
        (array,) = self._framework.tensors([np.zeros(count, np.float32)])
        row = self._time(lambda zero, _, a: [a + zero], [], [array], self._framework.modes[-1])
        yield {"what": "copy", "size": {"bytes": self._plan.copy_bytes}, "contender": "memory", **row} | {
            "gigabytes_per_second": 2 * self._plan.copy_bytes / row["us_median"] / 1e3
        }

    def lstm(self):
        """The layer, forward and backward with all six gradients, and its native kernels alone."""
        large = self._plan.large_lstm
        for features, units in [*self._plan.lstm_sizes, *([large] if large else [])]:
            arguments, upstream = gpu_reference.lstm_inputs(BATCH, STEPS, features, units)
            size = {"B": BATCH, "T": STEPS, "D": features, "H": units}
            tensors = [self._framework.tensors(arrays) for arrays in (arguments, upstream)]
            on_gpu, in_float32 = bool(self._framework.gpus()), (features, units) != large
            in_bfloat16 = self._units_in_bfloat16 is None or units <= self._units_in_bfloat16
            contenders = [(f"Keras on {self._framework.name}", "keras", "float32", True)]
            if in_bfloat16:
                contenders.insert(0, ("kerasptb, native, bfloat16", "native", "bfloat16", True))
            if in_float32 and on_gpu:
                contenders.insert(0, ("kerasptb, native, TF32 off", "native", "float32", False))
            if in_float32:
                contenders.insert(0, ("kerasptb, native", "native", "float32", True))
            for name, backend, precision, tf32 in contenders:
                self._framework.set_tf32(tf32)
                yield {"what": "lstm", "size": size, "contender": name, **self._lstm(*tensors, backend, precision)}
            self._framework.set_tf32(True)
            kernels = [("kerasptb, native", "float32")] if in_float32 else []
            # On the CPU the bfloat16 kernels compute the whole layer, so there is no recurrence alone.
            kernels += [("kerasptb, native, bfloat16", "bfloat16")] if in_bfloat16 and on_gpu else []
            for name, kernel in kernels:
                for what, row in self._lstm_kernels(*tensors, kernel):
                    yield {"what": what, "size": size, "contender": name, **row}

    def linear_cross_entropy(self):
        """Cross-entropy of the output layer, forward and backward, including the matrix products."""
        size = self._plan.linear_cross_entropy
        h, kernel, bias, targets, _ = self._framework.tensors(gpu_reference.cross_entropy_inputs(**size, scale=0.1))
        upstream = self._framework.tensors([np.float32(1.0)])
        contenders = [("kerasptb, native", "native", "float32")]
        if self._units_in_bfloat16 != 0:
            contenders.append(("kerasptb, native, bfloat16", "native", "bfloat16"))
        contenders.append((f"kerasptb, keras on {self._framework.name}", "keras", "float32"))
        for name, backend, precision in contenders:
            step = self._framework.with_gradients(_cross_entropy_function(backend, precision, targets))

            def call(zero, constants, h, *_, step=step):
                kernel, bias, upstream = constants
                _, (dh, *gradients) = step([h, kernel, bias], [upstream])
                return [h + zero * dh, *gradients]

            row = self._time(call, [kernel, bias, *upstream], [h, kernel, bias], self._mode(backend))
            yield {"what": "linear_cross_entropy", "size": size, "contender": name, **row}

    def softmax(self):
        """The native softmax cross-entropy alone: loss and gradient of given logits."""
        from kerasptb.ops import calls  # noqa: PLC0415

        random = np.random.default_rng(0)
        for size in self._plan.softmax_sizes:
            N, V = size["N"], size["V"]
            logits = random.standard_normal((N, V), np.float32)
            targets = random.integers(0, V, N).astype(np.int32)
            arrays = [logits, targets, np.ones(N, np.float32), np.zeros(V, np.float32)]
            logits, targets, scale, bias = self._framework.tensors(arrays)

            def call(zero, constants, bias, _, N=N, V=V):
                logits, targets, scale = constants
                # The gradient is written though nothing reads it, because XLA does not remove part of a custom call.
                loss, _, dbias = calls.call(
                    "kerasptb_softmax_cross_entropy_loss_and_gradients_float32",
                    [logits, bias, targets, scale],
                    [(N,), (N, V), (V,)],
                )
                return [bias + zero * dbias, loss]

            row = self._time(call, [logits, targets, scale], [bias, scale], self._framework.modes[-1])
            row |= {"passes": softmax_passes(V), "bytes": 4 * softmax_passes(V) * N * V}
            yield {"what": "softmax", "size": size, "contender": "kerasptb, native", **row}

    def _lstm(self, arguments, upstream, backend, precision):
        step = self._framework.with_gradients(_lstm_function(backend, precision))

        def call(zero, constants, x, h0, c0, *_):
            (_, h_T, c_T), (dx, *gradients) = step([x, h0, c0, *constants[:3]], constants[3:])
            return [x + zero * dx, h_T, c_T, *gradients]

        places = arguments[1:]  # of the shapes of the gradients
        return self._time(call, arguments[3:] + upstream, arguments[:3] + places, self._mode(backend))

    def _lstm_kernels(self, arguments, upstream, kernel):
        from kerasptb.ops import calls  # noqa: PLC0415

        _, h0, c0, _, U, bias = arguments
        B, T, H = upstream[0].shape
        random = np.random.default_rng(0)
        (xz,) = self._framework.tensors([random.standard_normal((B, T, 4 * H), np.float32)])
        outputs = [(B, T, H), (B, H), (B, H), (B, T, 4 * H), (B, T, H)]

        def forward(zero, constants, h0, c0):
            del zero
            xz, U, bias = constants
            return calls.call(f"kerasptb_lstm_recurrence_forward_{kernel}", [xz, U, bias, h0, c0], outputs)[1:3]

        mode = self._framework.modes[-1]
        yield "lstm forward kernel", self._time(forward, [xz, U, bias], [h0, c0], mode)
        gates, c_seq = calls.call(f"kerasptb_lstm_recurrence_forward_{kernel}", [xz, U, bias, h0, c0], outputs)[3:]

        def backward(zero, constants, dc_T, _):
            del zero
            _, dbias, dc0 = calls.call(
                f"kerasptb_lstm_recurrence_backward_{kernel}", [*constants, dc_T], [(B, T, 4 * H), (4 * H,), (B, H)]
            )
            return [dc0, dbias]

        constants = [U, gates, c_seq, c0, *upstream[:2]]
        yield "lstm backward kernel", self._time(backward, constants, [upstream[2], bias], mode)

    def _mode(self, backend):
        return self._framework.keras_mode if backend == "keras" else self._framework.modes[-1]

    def _time(self, call, constants, carry, mode):
        """Times `carry = call(zero, constants, *carry)`."""

        def region(zero, constants, carry):
            return self._framework.loop(self._plan.calls, lambda *carry: call(zero, constants, *carry), carry)

        run = self._framework.compile(region, mode)
        (zero,) = self._framework.tensors([np.float32(0)])
        seconds = []
        for i in range(self._plan.repeats + 2):
            begin = time.perf_counter()
            self._framework.wait(run(zero, constants, carry))
            if i >= 2:  # the first two compile, and touch memory for the first time
                seconds.append((time.perf_counter() - begin) / self._plan.calls)
        return summarise(seconds) | {"method": self._method.format(mode=mode)}


def pytorch_lstm(plan, device="cuda"):
    """Yields rows of PyTorch's LSTM, forward and backward with all gradients: on a GPU that is cuDNN.

    As a CUDA graph, the time that PyTorch takes to launch kernels is not included.
    """
    import torch  # noqa: PLC0415

    for features, units in [*plan.lstm_sizes, *([plan.large_lstm] if plan.large_lstm else [])]:
        for tf32 in (False, True):
            torch.set_float32_matmul_precision("high" if tf32 else "highest")
            torch.backends.cudnn.allow_tf32 = tf32
            step = _pytorch_step(torch, features, units, device)
            name = f"PyTorch, cuDNN, TF32 {'on' if tf32 else 'off'}"
            runs = [(name, lambda step=step: step)]
            if device == "cuda":
                runs.append((f"{name}, CUDA graph", lambda step=step: _in_cuda_graph(torch, step)))
            for contender, make in runs:
                row = {
                    "what": "lstm",
                    "size": {"B": BATCH, "T": STEPS, "D": features, "H": units},
                    "contender": contender,
                    "method": f"{plan.calls} calls between two CUDA events",
                }
                try:
                    yield row | summarise(_pytorch_seconds(torch, make(), plan, device))
                except RuntimeError as error:
                    yield row | {"failed": str(error).splitlines()[0]}


def _pytorch_step(torch, features, units, device):
    arguments, upstream = gpu_reference.lstm_inputs(BATCH, STEPS, features, units)
    x, h0, c0, dh_seq, dh_T, dc_T = (torch.from_numpy(array).to(device) for array in (*arguments[:3], *upstream))
    lstm = torch.nn.LSTM(features, units, batch_first=True).to(device)
    # The model has one bias, PyTorch two.
    lstm.bias_hh_l0.requires_grad_(False)
    h0, c0, dh_T, dc_T = (tensor[None] for tensor in (h0, c0, dh_T, dc_T))
    inputs = [tensor.requires_grad_() for tensor in (x, h0, c0)]
    wanted = [*inputs, *(parameter for parameter in lstm.parameters() if parameter.requires_grad)]

    def step():
        h_seq, (h_T, c_T) = lstm(inputs[0], (inputs[1], inputs[2]))
        return torch.autograd.grad([h_seq, h_T, c_T], wanted, [dh_seq, dh_T, dc_T])

    return step


def _in_cuda_graph(torch, step):
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):  # cuDNN chooses its algorithms here; it may not during the capture of a graph
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    return graph.replay


def _pytorch_seconds(torch, run, plan, device):
    seconds = []
    for i in range(plan.repeats + 2):
        if device == "cuda":
            begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            begin.record()
        else:
            start = time.perf_counter()
        for _ in range(plan.calls):
            run()
        if device == "cuda":
            end.record()
            end.synchronize()
            elapsed = begin.elapsed_time(end) / 1e3
        else:
            elapsed = time.perf_counter() - start
        if i >= 2:
            seconds.append(elapsed / plan.calls)
    return seconds


def _lstm_function(backend, precision):
    from kerasptb import ops  # noqa: PLC0415

    return lambda *arguments: ops.lstm(*arguments, backend=backend, precision=precision)


def _cross_entropy_function(backend, precision, targets):
    from kerasptb import ops  # noqa: PLC0415

    def function(h, kernel, bias):
        options = {"backend": backend, "precision": precision}
        return [ops.linear_cross_entropy(h, kernel, bias, targets, reduction="sum", **options)]

    return function
