"""What this machine has, and what kerasptb would use of it and why."""

import os
import platform

import keras
import numpy as np
import tensorflow as tf

import kerasptb
from kerasptb.data.sources import find_local_ptb
from kerasptb.ops import backends


def collect():
    """Returns what there is, as a dict that JSON can hold.

    Keys: "versions", "machine", "devices", "backends" (for each backend and precision what keeps it from being used,
    or None), "lstm" (what `backend="auto"` runs, and why) and "data" (where PTB is, or None).
    """
    gpus = [device.name for device in tf.config.list_physical_devices("GPU")]
    obstacles = {f"native, {precision}": backends.native_obstacle(precision) for precision in backends.PRECISIONS}
    found = find_local_ptb()
    return {
        "versions": {
            "kerasptb": kerasptb.__version__,
            "python": platform.python_version(),
            "tensorflow": tf.__version__,
            "keras": f"{keras.__version__} on {keras.backend.backend()}",
            "numpy": np.__version__,
        },
        "machine": {"platform": platform.platform(), "cpus": len(os.sched_getaffinity(0))},
        "devices": gpus or ["CPU only"],
        "backends": {"reference": None, "keras": None, **obstacles},
        "lstm": _auto_choice(gpus, obstacles["native, float32"]),
        "data": None if found is None else str(found),
    }


def describe(information):
    """Returns what `collect` gave as text for people."""
    lines = [f"{name:<12} {value}" for name, value in information["versions"].items()]
    machine = information["machine"]
    lines += [f"{'machine':<12} {machine['platform']}, {machine['cpus']} CPUs for this process"]
    lines += [f"{'devices':<12} {', '.join(information['devices'])}", "backends"]
    for name, obstacle in information["backends"].items():
        lines.append(f"  {name:<20} {'yes' if obstacle is None else 'no: ' + obstacle}")
    lines.append(f"{'LSTM':<12} {information['lstm']}")
    data = information["data"] or "not here: `--data auto` tries a download, then the built-in sample"
    lines.append(f"{'PTB':<12} {data}")
    return "\n".join(lines)


def _auto_choice(gpus, obstacle):
    if obstacle is None:
        return f'backend="auto" runs the native kernels ({backends.loader.status().reason})'
    if gpus:
        return f'backend="auto" runs cuDNN through keras.layers.LSTM: {obstacle}'
    return f'backend="auto" runs the loop of keras.layers.LSTM: {obstacle}'
