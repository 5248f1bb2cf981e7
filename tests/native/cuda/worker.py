"""A process that runs the launchers on the emulated GPU.

Called as `worker.py LAUNCHERS [DRIVER]`, it reads pickled (method, arguments) from standard input and writes pickled
(result, None) or (None, error) to standard output. A process of its own keeps the fake driver away from TensorFlow, and
a kernel that crashes away from the tests. Without DRIVER, libcuda.so.1 is whatever the machine has.
"""

import concurrent.futures
import ctypes
import os
import pickle
import sys
import threading

import numpy as np

STREAM = 100  # of the fake driver's first GPU
GUARD = 0 if "KERASPTB_EXACT_ALLOCATIONS" in os.environ else 64  # floats around each array
GUARD_VALUE = np.uint32(0xFFA0FFEE)  # a signalling NaN: results computed from it are NaNs with other bits

FORWARD = ("xz", "recurrent_kernel", "bias", "h0", "c0", "h_seq", "h_T", "c_T", "gates", "c_seq")
BACKWARD = ("recurrent_kernel", "gates", "c_seq", "c0", "dh_seq", "dh_T", "dc_T", "dz", "dbias", "dc0")
SOFTMAX = ("logits", "bias", "targets", "scale", "loss", "dlogits", "dbias")


class Memory:
    """Arrays of the emulated GPU. NaNs surround each, so that reads and writes past its ends are noticed."""

    def __init__(self):
        self.allocations = []

    def put(self, array, misaligned=0):
        """A copy of the array, `misaligned` floats off a multiple of 16 bytes."""
        count = array.size
        # Room to move the start to such an address. With the sanitizer, which watches the ends, they must be exact.
        spare = 0 if GUARD == 0 else 4
        words = np.full(count + 2 * GUARD + spare, GUARD_VALUE, np.uint32)
        first = GUARD
        if spare:
            first += -(words.ctypes.data // 4 + GUARD) % 4 + misaligned
        inside = words[first : first + count]
        inside[:] = np.ascontiguousarray(array).reshape(-1).view(np.uint32)
        self.allocations.append((words, first, count))
        return inside.view(array.dtype).reshape(array.shape)

    def empty(self, *shape, misaligned=0):
        return self.put(np.full(shape, np.nan, np.float32), misaligned)

    def check(self):
        for words, first, count in self.allocations:
            if (words[:first] != GUARD_VALUE).any() or (words[first + count :] != GUARD_VALUE).any():
                raise RuntimeError(f"written out of bounds of an array of {count}")


def structure(sizes, names, arrays):
    """The C struct of int64 `sizes` and of pointers, null for arrays that are not given."""
    fields = [(f"size{i}", ctypes.c_int64) for i in range(len(sizes))] + [(name, ctypes.c_void_p) for name in names]
    kind = type("Arguments", (ctypes.Structure,), {"_fields_": fields})
    return kind(*sizes, *(arrays[name].ctypes.data if name in arrays else None for name in names))


class Worker:
    def __init__(self, launchers, driver=None):
        self.driver = ctypes.CDLL(driver, ctypes.RTLD_GLOBAL) if driver else None
        self.launchers = ctypes.CDLL(launchers)
        passes = [f"lstm_{direction}{suffix}" for direction in ("forward", "backward") for suffix in ("", "_bfloat16")]
        for name in (*passes, "softmax_cross_entropy", "why_not", "launch"):
            getattr(self.launchers, name).restype = ctypes.c_char_p
        self.launchers.max_units.restype = ctypes.c_longlong
        if driver:
            self.driver.fake_driver_launches.restype = ctypes.c_char_p

    def configure(self, version=13000, devices=1, major=9, minor=0, shared_bytes=232448, cluster_blocks=16):
        self.driver.fake_driver_configure(version, devices, major, minor, ctypes.c_int64(shared_bytes), cluster_blocks)

    def schedule(self, seed):
        self.driver.fake_driver_schedule(seed)

    def capture(self, begin):
        """Begin or end the capture of the streams; returns this thread's mode: 1 unchanged, 2 may load code."""
        self.driver.fake_driver_capture(int(begin))
        return self.driver.fake_driver_capture_mode()

    def launches(self):
        """(kernel, blocks, threads, shared bytes) of each launch since this was last asked."""
        lines = self.driver.fake_driver_launches().decode().splitlines()
        self.driver.fake_driver_forget()
        return [(line.split()[0], *map(int, line.split()[1:])) for line in lines]

    def contexts(self):
        return self.driver.fake_driver_contexts()

    def granted(self):
        """The GPUs on which a kernel was allowed more shared memory."""
        return [device for device in range(8) if self.driver.fake_driver_granted(device)]

    def why_not(self, device=0):
        report = (ctypes.c_int * 4)()
        message = self.launchers.why_not(device, report).decode()
        return message, dict(zip(("driver_version", "devices", "major", "minor"), report, strict=True))

    def max_units(self, bfloat16=True, device=0):
        return self.launchers.max_units(int(bfloat16), device)

    def reasons_at_once(self, threads):
        """Ask from several threads, none of which has asked before."""
        with concurrent.futures.ThreadPoolExecutor(threads) as pool:
            barrier = threading.Barrier(threads)
            asked = [pool.submit(lambda: (barrier.wait(), self.launchers.why_not(0, None))[1]) for _ in range(threads)]
            return [answer.result().decode() for answer in asked]

    def launch(self, kernel, blocks, threads, shared_bytes, stream=STREAM):
        arguments = (ctypes.c_char_p(kernel.encode()), *map(ctypes.c_longlong, (blocks, threads, shared_bytes)))
        self._run(self.launchers.launch(*arguments, ctypes.c_void_p(stream)))

    def lstm_forward(self, inputs, keep=True, bfloat16=False, stream=STREAM):
        memory = Memory()
        arrays = {name: memory.put(array) for name, array in inputs.items()}
        (B, T), H = inputs["xz"].shape[:2], inputs["h0"].shape[1]
        outputs = {"h_seq": (B, T, H), "h_T": (B, H), "c_T": (B, H)}
        if keep:
            outputs |= {"gates": (B, T, 4 * H), "c_seq": (B, T, H)}
        name = "lstm_forward_bfloat16" if bfloat16 else "lstm_forward"
        return self._call(name, memory, (B, T, H), FORWARD, arrays, outputs, stream)

    def lstm_backward(self, inputs, bfloat16=False, stream=STREAM):
        memory = Memory()
        arrays = {name: memory.put(array) for name, array in inputs.items()}
        B, T, H = inputs["dh_seq"].shape
        outputs = {"dz": (B, T, 4 * H), "dbias": (4 * H,), "dc0": (B, H)}
        name = "lstm_backward_bfloat16" if bfloat16 else "lstm_backward"
        return self._call(name, memory, (B, T, H), BACKWARD, arrays, outputs, stream)

    def softmax_cross_entropy(self, inputs, gradient=True, in_place=False, misaligned=None, stream=STREAM):
        memory = Memory()
        arrays = {name: memory.put(array, int(name == misaligned)) for name, array in inputs.items()}
        N, V = inputs["logits"].shape
        outputs = {"loss": (N,)}
        if gradient:
            outputs |= {"dlogits": (N, V), "dbias": (V,)}
        else:
            del arrays["scale"]
        if in_place:
            del outputs["dlogits"]
            arrays["dlogits"] = arrays["logits"]
        return self._call("softmax_cross_entropy", memory, (N, V), SOFTMAX, arrays, outputs, stream, misaligned)

    def _call(self, name, memory, sizes, names, arrays, outputs, stream, misaligned=None):
        arrays = arrays | {
            key: memory.empty(*shape, misaligned=int(key == misaligned)) for key, shape in outputs.items()
        }
        self._run(getattr(self.launchers, name)(ctypes.byref(structure(sizes, names, arrays)), ctypes.c_void_p(stream)))
        memory.check()
        return {key: arrays[key] for key in (*outputs, *(["dlogits"] if "dlogits" in arrays else []))}

    def _run(self, error):
        if error:
            raise RuntimeError(error.decode())


def main():
    source, sink = sys.stdin.buffer, sys.stdout.buffer
    worker = Worker(*sys.argv[1:])
    while True:
        try:
            method, arguments, keywords = pickle.load(source)
        except EOFError:
            return
        try:
            answer = (getattr(worker, method)(*arguments, **keywords), None)
        except RuntimeError as error:
            answer = (None, str(error))
        pickle.dump(answer, sink)
        sink.flush()


if __name__ == "__main__":
    main()
