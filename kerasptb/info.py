"""Reports what this machine has, and what kerasptb would use of it and why."""

import importlib.metadata
import platform
from pathlib import Path

import keras

import kerasptb
from kerasptb.data.sources.raw_corpus import find_local_ptb
from kerasptb.layers import StatefulLSTM
from kerasptb.ops import platform as platforms
from kerasptb.ops.native import loader
from kerasptb.utils.processors import available_processors


def collect():
    """Returns the information as a dict that JSON can represent: reasons why something cannot be used, or None."""
    gpus = [f"GPU {number}" for number in platforms.visible_gpus()]
    missing = {f"native, {precision}": platforms.why_not_native(precision) for precision in platforms.PRECISIONS}
    found = find_local_ptb()
    return {
        "versions": {
            "kerasptb": kerasptb.__version__,
            "python": platform.python_version(),
            **{package: _version(package) for package in ("tensorflow", "jax")},
            "keras": f"{keras.__version__} on {keras.backend.backend()}",
            "numpy": _version("numpy"),
        },
        "machine": {"platform": platform.platform(), "cpus": available_processors()},
        "devices": gpus or ["CPU only"],
        "backends": {"reference": None, "keras": None, **missing},
        "notes": {  # drawbacks of what can be used
            name: note
            for (name, reason), precision in zip(missing.items(), platforms.PRECISIONS, strict=True)
            if reason is None and (note := platforms.drawback(precision)) is not None
        },
        "cuda": _why_not_cuda(),
        "lstm": _auto_choice(gpus),
        "data": None if found is None else str(found),
    }


def describe(information):
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


def _version(package):
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _why_not_cuda():
    state = loader.status()
    return loader.why_not_cuda() if state.available else state.reason


def _auto_choice(gpus):
    planned = StatefulLSTM(1).plan()
    if planned.is_native and gpus:
        limits = {precision: platforms.max_units(precision) for precision in ("float32", "bfloat16")}
        return (
            f'backend="auto" runs the native CUDA kernels up to {limits["float32"]} units, cuDNN through '
            f'keras.layers.LSTM above; with precision="bfloat16" they take up to {limits["bfloat16"]}'
        )
    if planned.is_native:
        return f'backend="auto" runs the native kernels ({loader.status().reason})'
    runs = "cuDNN through keras.layers.LSTM" if gpus else "the loop of keras.layers.LSTM"
    return f'backend="auto" runs {runs}: {planned.reason}'
