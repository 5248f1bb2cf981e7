"""Reports what this machine has, and what kerasptb would use of it and why."""

import importlib.metadata
import platform
from pathlib import Path
from typing import Any, get_args

import numpy as np

import kerasptb
from kerasptb.data.sources.published import find_local_ptb
from kerasptb.engine.network import why_not
from kerasptb.native import loader
from kerasptb.utils.processors import available_processors
from kerasptb.utils.registration import keras_backend
from kerasptb.utils.types import Precision


def collect() -> dict[str, Any]:
    """Returns the information as a dict that JSON can represent: reasons why something cannot be used, or None."""
    gpus = _Gpus() if loader.count_gpus() else None  # what a framework sees of them, only it knows
    missing = {each: why_not(each) if gpus is None else gpus.why_not(each) for each in get_args(Precision)}
    found = find_local_ptb()
    return {
        "versions": {
            "kerasptb": kerasptb.__version__,
            "python": platform.python_version(),
            **{package: _version(package) for package in ("tensorflow", "jax", "torch")},
            "keras": _keras(),
            "numpy": np.__version__,
        },
        "machine": {"platform": platform.platform(), "cpus": available_processors()},
        "devices": (gpus and gpus.names) or ["CPU only"],
        "backends": {
            "reference": None,
            "keras": None,
            **{f"native, {precision}": reason for precision, reason in missing.items()},
        },
        "notes": {  # drawbacks of what can be used
            f"native, {precision}": note
            for precision, reason in missing.items()
            if reason is None and gpus is None and (note := loader.drawback(precision)) is not None
        },
        "cuda": _why_not_cuda(),
        "lstm": _auto_choice(missing["float32"]) if gpus is None else gpus.auto_choice(),
        "data": None if found is None else str(found),
    }


class _Gpus:
    """What Keras' backend would use of the GPUs of this machine; it imports that."""

    def __init__(self) -> None:
        from kerasptb.ops import platform as platforms  # noqa: PLC0415  (needs Keras)

        self._platforms = platforms
        self.names = [f"GPU {number}" for number in platforms.visible_gpus()]

    def why_not(self, precision: Precision) -> str | None:
        return self._platforms.why_not_native(precision)

    def auto_choice(self) -> str:
        from kerasptb.layers import StatefulLSTM  # noqa: PLC0415  (needs Keras)

        planned = StatefulLSTM(1).plan()
        if not self.names:
            return _auto_choice(None if planned.is_native else planned.reason)
        if not planned.is_native:
            return f'backend="auto" runs cuDNN through keras.layers.LSTM: {planned.reason}'
        limits = {precision: self._platforms.max_units(precision) for precision in ("float32", "bfloat16")}
        return (
            f'backend="auto" runs the native CUDA kernels up to {limits["float32"]} units, cuDNN through '
            f'keras.layers.LSTM above; with precision="bfloat16" they take up to {limits["bfloat16"]}'
        )


def _keras() -> str | None:
    """Returns Keras' version and its backend."""
    return None if (version := _version("keras")) is None else f"{version} on {keras_backend()}"


def describe(information: dict[str, Any]) -> str:
    """Returns the result of `collect` as readable text."""
    lines = [f"{name:<12} {value or 'not installed'}" for name, value in information["versions"].items()]
    machine = information["machine"]
    lines += [f"{'machine':<12} {machine['platform']}, CPUs for this process: {machine['cpus']}"]
    lines += [f"{'devices':<12} {', '.join(information['devices'])}", "backends"]
    for name, reason in information["backends"].items():
        note = f", but {information['notes'][name]}" if name in information["notes"] else ""
        lines.append(f"  {name:<20} {'yes' + note if reason is None else 'no: ' + reason}")
    cuda = information["cuda"]
    lines.append(f"{'CUDA kernels':<12} {'can run here' if cuda is None else cuda}")
    lines.append(f"{'LSTM':<12} {information['lstm']}")
    data = information["data"] or "not here: `--data auto` tries a download, then the built-in sample"
    if information["data"] and not Path(data).exists():
        data += ", which does not exist"
    lines.append(f"{'PTB':<12} {data}")
    return "\n".join(lines)


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _why_not_cuda() -> str | None:
    state = loader.status()
    return loader.why_not_cuda() if state.available else state.reason


def _auto_choice(reason: str | None) -> str:
    """Returns what runs an LSTM on a processor; the reason is why not the library."""
    if reason is None:
        return f'backend="auto" runs the native kernels ({loader.status().reason})'
    return f'backend="auto" runs the loop of keras.layers.LSTM: {reason}'
