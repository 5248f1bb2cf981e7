"""Arrays as C has them."""

import math

import numpy as np

_A_LINE = 32
_TYPES = {"int8": "int8_t", "uint8": "uint8_t", "int32": "int32_t", "uint32": "uint32_t", "float32": "float"}


def array_in_c(name: str, array: np.ndarray) -> str:
    """Returns a static array of a name."""
    texts = list(map(float_in_c if array.dtype == "float32" else str, array.ravel().tolist()))
    lines = [",".join(texts[i : i + _A_LINE]) for i in range(0, len(texts), _A_LINE)]
    return f"static const {_TYPES[array.dtype.name]} {name}[] = {{\n" + ",\n".join(lines) + "};\n"


def float_in_c(value: float) -> str:
    """Returns a float32 in C, whose nine digits are enough to be read as the same."""
    if not math.isfinite(value):
        return "NAN" if math.isnan(value) else "INFINITY" if value > 0 else "-INFINITY"
    text = f"{value:.9g}"
    return f"{text}f" if "." in text or "e" in text else f"{text}.0f"
