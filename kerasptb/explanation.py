"""What runs in a model, and why nothing faster does, as a table."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import keras
from keras import ops

from kerasptb.acceleration import Accelerated, why_not
from kerasptb.compat.keras import compiled_metrics, get_keras_mask
from kerasptb.ops.logits import LogitFactors, factors_of
from kerasptb.ops.plan import Plan
from kerasptb.utils.types import Tensor


class Row(NamedTuple):
    """What one part of a model runs on."""

    name: str  # of the layer; "cost" for the loss, "step" for the step of `fit`
    kind: str  # name of the class
    implementation: str  # as in `kerasptb.ops.plan.Plan`; of the step "XLA", "graph" or "eager"
    precision: str | None = None  # of the matrix products; None for the step
    reason: str | None = None  # one line on why nothing faster runs; None if this is the fastest
    before: str | None = None  # what ran before `kerasptb.accelerate`


class Explanation(list[Row]):
    """A list of `Row`s; as a string it is a table."""

    def __str__(self) -> str:
        """Returns the table, a line for each row."""
        lines = [("layer", "class", "runs", "why nothing faster")]
        for row in self:
            is_native = row.implementation.startswith("native")
            runs = f"{row.implementation}, {row.precision}" if is_native else row.implementation
            runs += f" (before: {row.before})" if row.before else ""
            lines.append((row.name, row.kind, runs, row.reason or ""))
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        return "\n".join("  ".join(map(str.ljust, line, widths)).rstrip() for line in lines)


def explain(model: keras.Model, batch_shape: tuple[int, int] | None = None) -> Explanation:
    """Returns what each layer of this package in a model runs on, what its cost does, and why nothing faster runs.

    Layers in other layers, such as in `Bidirectional`, `TimeDistributed` or a model, are found too; of Keras' own those
    that are recurrent, with what `kerasptb.accelerate` would do or did. The layers' own plans are asked; a layer that
    is called several times is asked once. The plan of a layer over the vocabulary is that of its logits'
    cross-entropy, which runs if the loss reads what the logits were made of: the row "cost" says so.

    Args:
        model: a `keras.Model`, built; of a compiled one the step is explained too, and the cost if it is of words' ids.
        batch_shape: (B, T) of the batches, for sizes that the model's inputs leave open; `None` for the model's
            `batch_size` and `num_steps`, if it is a `LanguageModel`. Sizes that stay open count as unknown.

    Returns:
        An `Explanation`, a list of `Row`s that prints as a table.

    Raises:
        ValueError: if the model is not built, or a layer has a named backend that cannot serve its calls.
        NativeUnavailableError: if a layer has a named backend or precision that cannot be used here.

    Example:
        >>> print(kerasptb.explain(model))
        layer   class                 runs             why nothing faster
        lstm_0  StatefulLSTM          native, float32
        logits  Dense                 native, float32
        cost    SequenceCrossEntropy  native, float32  The metrics accuracy read the logits.
        step    fit                   graph            In a script, compile(jit_compile=True) lets XLA compile it: ...
    """
    if not model.built:
        raise ValueError(f"Expected a model that is built, as by a call or an Input. Received: {model.name}, not built")
    sizes = batch_shape or (getattr(model, "batch_size", None), getattr(model, "num_steps", None))
    plans = {}
    for layer, x, mask in _layers(model):
        if hasattr(layer, "plan") and layer.built:
            plans[layer] = _plan(layer, x, mask, sizes)
        elif isinstance(layer, keras.layers.RNN):
            reason = why_not(layer) or "`kerasptb.accelerate(model)` has it run on native kernels."
            plans[layer] = Plan("keras", reason=reason)
    rows = [
        Row(
            layer.name,
            type(layer).__name__,
            plan.implementation,
            plan.precision,
            plan.reason,
            "keras" if isinstance(layer, Accelerated) else None,
        )
        for layer, plan in plans.items()
    ]
    if model.compiled:
        of_words = _last(model) in plans or any(map(_is_of_words, keras.tree.flatten(model.loss)))
        rows += [_cost(model, plans)] if of_words else []
        step = _step(model, rows)
        rows.append(step if of_words else step._replace(reason=None))  # which is what language models gain
    return Explanation(rows)


def _layers(layer: keras.Layer, mask: bool = False) -> Iterator[tuple[keras.Layer, Any, bool]]:
    """Yields each inner layer, the symbolic tensor that it was called on, or None, and whether that has a mask."""
    for inner in layer._flatten_layers(include_self=False, recursive=False):
        x, masked = None, mask  # an outer layer hands its mask on
        with contextlib.suppress(AttributeError, ValueError):  # an Input, or one not in Keras' graph
            x, *_ = keras.tree.flatten(inner.input)
            masked = mask or get_keras_mask(x) is not None
        yield inner, x, masked
        yield from _layers(inner, masked)


def _plan(layer: keras.Layer, x: Any, mask: bool, sizes: Sequence[int | None]) -> Plan:
    shape = (layer.get_build_config() or {}).get("input_shape") if x is None else x.shape
    if shape is not None:
        sizes = [*sizes, *[None] * len(shape)]
        shape = (*(a if isinstance(a, int) else b for a, b in zip(shape[:-1], sizes, strict=False)), shape[-1])
    return layer.plan(shape, mask=mask) if isinstance(layer, keras.layers.RNN) else layer.plan(shape)


def _last(model: keras.Model) -> keras.Layer:
    """Returns the layer that makes the first output."""
    last = model
    while isinstance(last, keras.Model) and last.layers:
        output = (getattr(last, "outputs", None) or [None])[0]
        last = last.layers[-1] if output is None else output._keras_history.operation
    return last


def _is_of_words(loss: Any) -> bool:
    """Whether a loss is of the ids of words, as far as its name says so: a model may end in a layer of Keras."""
    return any(name in _name(loss).lower() for name in ("sparse", "sequence"))


def _cost(model: keras.Model, plans: dict[keras.Layer, Plan]) -> Row:
    """Tries loss and metrics on the logits of one word: do they read these, or what they were made of?"""
    losses, last = [loss for loss in keras.tree.flatten(model.loss) if loss is not None], _last(model)
    kind = ", ".join(map(_name, losses)) or "no loss"
    read = Row("cost", kind, "keras", "float32")
    if last not in plans or not hasattr(last, "factors"):
        return read._replace(reason="The model does not end in `kerasptb.layers.Dense` or `TiedDense`.")
    with keras.StatelessScope():
        shape = keras.tree.flatten(last.get_build_config()["input_shape"])
        logits = last(ops.zeros((*[1] * (len(shape) - 1), shape[-1]), last.compute_dtype))
        targets = ops.zeros(logits.shape[:-1], "int32")
        if (factors := factors_of(logits)) is None:
            return read._replace(reason=f"The logits of {last.name} carry no factors (see `kerasptb.ops.logits`).")
        factors.plan = Plan("reference")  # nothing native for one word
        errors: list[str] = []
        loss_reads = [
            loss for loss in losses if not _asks(factors, "cross_entropy", _function(loss), targets, logits, errors)
        ]
        metrics = [
            metric if isinstance(metric, str) else getattr(metric, "name", _name(metric))
            for metric in compiled_metrics(model)
            if isinstance(metric, str)  # a metric of Keras
            or not _asks(factors, "losses_of", getattr(metric, "update_state", metric), targets, logits, errors)
        ]
    if loss_reads:
        reason = f"{kind} reads the logits; `kerasptb.losses.SequenceCrossEntropy` does not."
        return read._replace(reason=" ".join([reason, *errors]))
    reasons = [f"The metrics {', '.join(metrics)} read the logits."] if metrics else []
    reasons += errors
    if type(model).compute_loss.__module__.partition(".")[0] not in ("keras", "kerasptb"):
        reasons.append("The model's own `compute_loss` may read them too.")
    plan = plans[last]
    reasons += [plan.reason] if plan.reason else []
    return Row("cost", kind, plan.implementation, plan.precision, " ".join(reasons) or None)


def _asks(
    factors: LogitFactors, name: str, function: Callable[..., Any], targets: Tensor, logits: Tensor, errors: list[str]
) -> bool:
    """Whether the function, of a loss or a metric, has an answer from the factors' method of this name; adds errors."""
    method, answers = getattr(factors, name), []

    def answer(*args: Any, **kwargs: Any) -> Any:
        answers.append(method(*args, **kwargs))
        return answers[-1]

    setattr(factors, name, answer)
    try:
        function(targets, logits)
    except Exception as error:  # of any type: it may be the user's, for other targets than the ids of words
        line = str(error).partition("\n")[0].rstrip(".")
        of = _name(getattr(function, "__self__", function))
        errors.append(f"Tried on one word, {of} raised {type(error).__name__}: {line}.")
    setattr(factors, name, method)
    return any(answer is not None for answer in answers)


def _function(loss: Any) -> Any:
    return keras.losses.get(loss) if isinstance(loss, str) else loss


def _name(part: Any) -> str:
    return part if isinstance(part, str) else getattr(part, "__name__", type(part).__name__)


def _step(model: keras.Model, rows: list[Row]) -> Row:
    if model.run_eagerly:
        return Row("step", "fit", "eager", reason="`compile` was called with `run_eagerly=True`.")
    if keras.backend.backend() == "torch":
        return Row("step", "fit", "torch.compile" if model.jit_compile else "eager")
    if model.jit_compile:
        return Row("step", "fit", "XLA")
    if refused := [layer.name for layer in model._flatten_layers() if not layer.supports_jit]:
        return Row("step", "fit", "graph", reason=f"XLA cannot compile {', '.join(refused)} (`supports_jit`).")
    alone = all(row.implementation == "native" and row.reason is None for row in rows)
    gain = "1 to 3 % faster." if alone else "slower on a processor, until the rows above are native, without a reason."
    return Row("step", "fit", "graph", reason=f"In a script, compile(jit_compile=True) lets XLA compile it: {gain}")
