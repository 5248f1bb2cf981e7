"""The plan of an operation's call: what runs, and why nothing faster does.

| backend | what runs |
|---|---|
| `"reference"` | a few plain lines of `keras.ops`: the specification |
| `"keras"` | what Keras itself would run, cuDNN included |
| `"native"` | the native library's kernels: for processors, and for NVIDIA GPUs of compute capability 9.0 and later |
| `"auto"` | `"native"` where it can serve the call, else `"keras"` |

A backend asked for by name is used or raises; only `"auto"` chooses. Each operation has two functions:

    plan(shape, ..., dtype, *, backend, ..., platform) -> Plan      shapes have None for sizes that are not known
    run(plan, tensors ...)                                          asks nothing again

The operation itself is one after the other. A layer plans where it first knows the shapes, and hands the plan down.
"""

import warnings
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple, get_args

import keras

from kerasptb.compat.keras import in_symbolic_scope, is_exported
from kerasptb.native.loader import NativeUnavailableError
from kerasptb.ops import platform as platforms
from kerasptb.utils.types import Backend

BACKENDS = get_args(Backend)
PRECISIONS = platforms.PRECISIONS
_KERAS_NAMED = '`backend="keras"` was named.'
_reported: set[str] = set()


class Plan(NamedTuple):
    """What runs for a call."""

    # "reference", "keras", "native"; or, with the framework's products around a native kernel, "native_recurrence" of
    # the LSTM and "native_softmax" of the cross-entropy.
    implementation: str
    precision: str = "float32"  # of the products
    platform: Literal["cpu", "gpu"] = "cpu"  # what it is for
    reason: str | None = None  # why nothing faster runs, one line; None if this is the fastest

    @property
    def is_native(self) -> bool:
        """Whether native kernels run."""
        return self.implementation.startswith("native")

    @property
    def backend(self) -> str:
        """The backend that the implementation belongs to: "reference", "keras" or "native"."""
        return "native" if self.is_native else self.implementation


def check_names(backend: str, precision: str) -> None:
    """Raises ValueError unless both are names of the tables above."""
    if backend not in BACKENDS:
        raise ValueError(f"`backend` must be one of {BACKENDS}. Received: backend={backend!r}")
    if precision not in PRECISIONS:
        raise ValueError(f"`precision` must be one of {PRECISIONS}. Received: precision={precision!r}")
    if precision != "float32" and backend in ("reference", "keras"):
        raise ValueError(
            f'`precision={precision!r}` is available only with backend="native" or "auto". '
            f"Received: backend={backend!r}, precision={precision!r}"
        )


def choose(
    backend: str,
    precision: str | keras.DTypePolicy = "float32",
    *,
    limits: Mapping[str, Any] | None = None,
    limit: str | None = None,
    platform: platforms.Platform | None = None,
    precisions: Sequence[str] = PRECISIONS,
) -> Plan:
    """Returns the `Plan` of a call from what limits it: the rule of every operation's `plan`.

    The first sentence of `limits` that holds keeps the native library from serving the call, and `limit` all but Keras'
    own. A dtype policy as precision stands for its `default_precision`, and names none. The kernels have `precisions`.
    """
    platform = platform or platforms.this_process()
    named = backend != "auto" or (isinstance(precision, str) and precision != "float32")
    if not isinstance(precision, str):
        precision = default_precision(backend, precision, platform)
        precision = precision if precision in precisions else "float32"
    check_names(backend, precision)
    where: Literal["cpu", "gpu"] = "gpu" if platform.gpu else "cpu"
    if backend == "keras":
        return Plan("keras", platform=where, reason=_KERAS_NAMED)
    others = 'backend="auto" or "keras"' if precision == "float32" else 'precision="float32"'
    if limit is None and backend != "reference":
        limit = next((sentence for sentence, holds in (limits or {}).items() if holds), None)
    if limit is not None and named:
        raise ValueError(f"{limit} Use {others}. Received: backend={backend!r}, precision={precision!r}")
    if limit is None and backend == "reference":
        return Plan("reference", platform=where, reason='`backend="reference"` was named.')
    if limit is None:
        limit = platform.why_not_native(precision)
        if limit is None and precision not in precisions:
            limit = f"Of what this is, the kernels compute in {', '.join(precisions)}."
        if limit is None:
            return Plan("native", precision, where)
    if named:
        raise NativeUnavailableError(f"{limit} Use {others}. Received: backend={backend!r}, precision={precision!r}")
    return Plan("keras", platform=where, reason=limit)


def default_precision(
    backend: str = "auto", policy: keras.DTypePolicy | None = None, platform: platforms.Platform | None = None
) -> Literal["float32", "bfloat16"]:
    """Returns "bfloat16" where a dtype policy (`None`: the global one) and the backend allow it, else "float32"."""
    policy = keras.config.dtype_policy() if policy is None else policy
    if policy.name != "mixed_bfloat16" or backend not in ("auto", "native"):
        return "float32"
    if backend == "auto" and (platform or platforms.this_process()).why_not_native("bfloat16") is not None:
        return "float32"
    return "bfloat16"


def dtype_limit(policy: keras.DTypePolicy) -> str | None:
    """Returns one line on why the native kernels cannot serve layers of a dtype policy, or None if they can."""
    # The weights must be float32; what is computed in fewer bits is cast around the kernels.
    if policy.variable_dtype == "float32" and policy.compute_dtype in ("float32", "bfloat16", "float16"):
        return None
    return f"The native backend takes float32. Received: dtype policy {policy.name}."


def note_as_reported(reason: str | None) -> None:
    """Notes that the user has been told a plan's reason, so that no warning tells it again in this process."""
    _reported.add(_essence(reason))


def warn_if_slower(plan: Plan) -> None:
    """Warns, once a process and reason, if "auto" is about to run Keras' own for a reason that the user can change."""
    if plan.implementation != "keras" or plan.platform == "gpu" or _essence(plan.reason) in (_KERAS_NAMED, *_reported):
        return
    if in_symbolic_scope() or is_exported():
        return
    note_as_reported(plan.reason)
    warnings.warn(
        f"Slower than it could be, without the native kernels: {plan.reason} (If Keras' own is meant, "
        'backend="keras" or Keras\' layer says so, and ends this warning.)',
        stacklevel=3,
    )


def _essence(reason: str | None) -> str:
    """What a reason says without what was received, which may be another shape each time."""
    return (reason or "").partition(" Received:")[0]


def available_here(config: dict[str, Any]) -> dict[str, Any]:
    """Returns a saved config with "backend" and "precision" replaced, with a warning, where this process lacks them."""
    backend = config.get("backend", "auto")
    precision = config.get("precision") or default_precision(backend, keras.dtype_policies.get(config.get("dtype")))
    replaced = {}
    if precision != "float32" and (reason := platforms.why_not_native(precision)) is not None:
        replaced["precision"] = "float32"
    if backend == "native" and (missing := platforms.why_not_native()) is not None:
        replaced["backend"], reason = "auto", missing
    if replaced:
        values = ", ".join(f"{argument}={value!r}" for argument, value in replaced.items())
        warnings.warn(f"Loaded with {values}: {reason}", stacklevel=3)
    return {**config, **replaced}
