"""What the processes do together that train one model, with Keras on JAX; a process alone does it by itself.

All of them must call these functions in the same order: each is an exchange that waits for the others.
"""

import contextlib
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras
import numpy as np

from kerasptb.ops.backend import ON_JAX, jax

if ON_JAX:
    from jax.experimental import multihost_utils

# Seconds after which a process that does not answer is given up, and for which one that ends waits for the others.
# JAX's own would be 100 and 300.
_HEARTBEAT_SECONDS = 30
_SHUTDOWN_SECONDS = 10


def join() -> None:
    """Joins the processes, if any, that Keras' variables `KERAS_DISTRIBUTION_...` name, and sets `DataParallel`.

    As `keras.distribution.initialize`, but a process that dies is noticed within a minute, and on this machine's own
    address no other machine is listened to.
    """
    names = [f"KERAS_DISTRIBUTION_{name}" for name in ("NUM_PROCESSES", "PROCESS_ID", "JOB_ADDRESSES")]
    number, process, addresses = map(os.environ.get, names)
    if number is None or number == "1":
        return
    if not ON_JAX:
        raise ValueError(
            f"Several processes train together with Keras on JAX alone: set KERAS_BACKEND=jax. Received: {names[0]}="
            f"{number} with Keras on {keras.backend.backend()}"
        )
    if not (number.isdigit() and process and process.isdigit() and addresses):
        raise ValueError(
            f"Expected {', '.join(names[:2])}, two numbers, and {names[2]}, a host and port. "
            f"Received: {number}, {process}, {addresses}"
        )
    coordinator = addresses.partition(",")[0]
    is_local = coordinator.rpartition(":")[0] in ("127.0.0.1", "localhost", "[::1]")
    jax.distributed.initialize(
        coordinator,
        int(number),
        int(process),
        heartbeat_timeout_seconds=_HEARTBEAT_SECONDS,
        shutdown_timeout_seconds=_SHUTDOWN_SECONDS,
        coordinator_bind_address=coordinator if is_local else None,
    )
    keras.distribution.set_distribution(keras.distribution.DataParallel(auto_shard_dataset=False))
    with _without_output():  # gloo says on standard output that it is connected
        gathered([0])


@contextlib.contextmanager
def _without_output() -> Iterator[None]:
    if sys.stdout is not None:
        sys.stdout.flush()
    output, nowhere = os.dup(1), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    try:
        yield
    finally:
        os.dup2(output, 1)
        os.close(output)
        os.close(nowhere)


def count() -> int:
    """Returns the number of processes that train together: those of the `keras.distribution` that is set."""
    if not ON_JAX or keras.distribution.distribution() is None:
        return 1
    return jax.process_count()


def is_first() -> bool:
    """Returns whether this is the process that writes and speaks for all."""
    return count() == 1 or jax.process_index() == 0


def gathered(values: Sequence[float]) -> np.ndarray:
    """Returns the numbers of all P processes, float32 [P, n], of a list of n from each."""
    local = np.asarray(values, "float32")
    if count() == 1:
        return local[None]
    return multihost_utils.process_allgather(local)


def by_first(function: Callable[[], Any]) -> Any:
    """Calls a function in the first process, as if that were alone; all get its result, which JSON can hold."""
    if count() == 1:
        return function()
    raised, message = None, b""
    if is_first():
        distribution = keras.distribution.distribution()
        # A variable that is made under it, also one that Keras makes to look at it, is made by all.
        keras.distribution.set_distribution(None)
        try:
            message = json.dumps(function()).encode()
        except Exception as error:
            raised = error
        finally:
            keras.distribution.set_distribution(distribution)
    length = int(gathered([len(message)])[0, 0])
    if not length:
        raise raised or SystemExit(1)  # the first one says why
    # All must give an array of the same size.
    padded = np.resize(np.frombuffer(message, "uint8"), length)
    return json.loads(multihost_utils.broadcast_one_to_all(padded).tobytes())


def whole(variable: keras.Variable) -> np.ndarray:
    """Returns the value of a variable as a numpy array, also if its rows lie in several processes."""
    value = variable.value
    if count() == 1 or value.is_fully_replicated:
        return keras.ops.convert_to_numpy(value)
    return multihost_utils.process_allgather(value, tiled=True)


class Agreement:
    """What any of the processes wants between two steps, such as a checkpoint, at the same step in all.

    An exchange takes as long as some steps. So it is every other second, after a number of calls that they agree on, as
    their clocks may differ. The first call is an exchange.
    """

    def __init__(self, seconds: float = 2.0) -> None:
        self._seconds = seconds
        self._calls = self._left = 1
        self._last = time.monotonic()

    def of_any(self, *wishes: float) -> tuple[float, ...]:
        """Returns the largest of the processes' numbers for each wish; zeros while it is not time to ask."""
        if count() == 1:
            return wishes
        self._left -= 1
        if self._left:
            return (0,) * len(wishes)
        now = time.monotonic()
        *found, seconds = gathered([*wishes, now - self._last]).max(axis=0).tolist()
        self._calls = self._left = max(int(self._calls * self._seconds / max(seconds, 1e-3)), 1)
        self._last = now
        return tuple(found)
