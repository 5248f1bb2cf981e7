"""A recurrent cell over a batch of sequences, by several backends behind one signature.

A step is `Cell.step` (`kerasptb.cells`). With masks, at a row of the batch and a step t, in this order:

    resets:          the state before the step is zero
    recurrent_mask:  h[t-1] U becomes (m h[t-1]) U, and by input_mask x[t] W becomes (m x[t]) W
    mask:            the state stays as it was before the step where it is false
"""

import contextlib
from collections.abc import Mapping, Sequence

import keras
from keras import ops

from kerasptb.cells import Cell
from kerasptb.compat.keras import gru_loop, lstm_loop, rnn_loop
from kerasptb.ops import native_recurrence as native
from kerasptb.ops import platform as platforms
from kerasptb.ops.plan import Plan, choose
from kerasptb.ops.tensors import as_tensor, check_one_dtype, check_shape, do_not_convert
from kerasptb.ops.types import Mask, Shape, Tensors
from kerasptb.utils.types import Backend, Precision, Tensor

# What of Keras' backend runs a cell over a sequence, by cuDNN where it can.
_LOOPS = {"lstm": lstm_loop, "gru": gru_loop}


@do_not_convert
def recur(
    cell: Cell,
    x: Tensor,
    state: Tensors,
    weights: Tensors,
    backend: Backend = "auto",
    precision: Precision = "float32",
    **masks: Mask,
) -> tuple[Tensor, ...]:
    """Plans and runs a call as `kerasptb.ops.lstm` says; returns the outputs [B, T, H] and the state's tensors."""
    x, *tensors = (as_tensor(tensor) for tensor in (x, *state, *weights))
    state, weights = tensors[: len(cell.states)], tensors[len(cell.states) :]
    _check_shapes(cell, x, state, weights)
    dtype = keras.backend.standardize_dtype(x.dtype)
    batch = next((size for size in (x.shape[0], *(tensor.shape[0] for tensor in state)) if size is not None), None)
    shape, units = (batch, *x.shape[1:]), cell.units_of(weights)
    given = {name: as_tensor(value) for name, value in masks.items() if value is not None}
    check_masks(cell, given, shape, units)
    each_gate = any(len(value.shape) == 3 for value in given.values())
    planned = plan(
        cell, shape, units, dtype, backend=backend, precision=precision, masks=tuple(given), each_gate=each_gate
    )
    return run(planned, cell, x, state, weights, **given)


def plan(
    cell: Cell,
    shape: Shape | None,
    units: int,
    dtype: str = "float32",
    *,
    backend: Backend = "auto",
    precision: Precision | keras.DTypePolicy = "float32",
    masks: Sequence[str] = (),
    each_gate: bool = False,
    limit: str | None = None,
    platform: platforms.Platform | None = None,
) -> Plan:
    """Returns the `Plan` of a call; x is (B, T, D), with None for unknown sizes, or `None` if all will be known.

    `masks` names those that are given, `each_gate` says whether one is of each gate, and `limit` why only Keras' loop
    serves the caller.
    """
    platform = platform or platforms.this_process()
    # While Keras builds a model on JAX, an unknown size is a symbolic expression.
    known = [isinstance(size, int) and size > 0 for size in shape or (1, 1, 1)]
    if backend == "reference" and limit is None and not known[1]:
        limit = f"The reference backend needs a static number of steps. Received: x of shape {shape}."
    # With TensorFlow the batch may be open, and on a processor the number of steps.
    for dimension in (0,) if platform.gpu else (0, 1):
        known[dimension] = known[dimension] or (shape is not None and shape[dimension] is None)
    known[0] = known[0] or (shape is not None and shape[0] == 0)  # no rows are nothing to do
    of_steps = [name for name in masks if name != "input_mask"]  # factors of x are the framework's there
    limits = {
        str(cell.why_no_kernels): cell.why_no_kernels is not None,
        f"On a GPU {cell.title} has no kernels of ours.": platform.gpu and not cell.on_gpu,
        f"The native backend takes float32. Received: dtype={dtype}.": dtype != "float32",
        f"The native backend needs static shapes without zeros. Received: shape={shape}.": not all(known),
        f"On a GPU the native backend takes no masks. Received: {', '.join(of_steps)}.": platform.gpu and of_steps,
    }
    base = choose(backend, precision, limits=limits, limit=limit, platform=platform, precisions=cell.precisions)
    if not base.is_native:
        return base
    if platform.gpu:
        # Sizes that fit in float32 also fit in bfloat16 on every GPU, so the driver need not be asked.
        most = platform.max_units("float32")
        most = platform.max_units(base.precision) if units > most else most
        if units > most:
            wide = f"The native backend takes at most {most} units in {base.precision} on this GPU."
            return choose(backend, precision, limit=f"{wide} Received: units={units}.", platform=platform)
        reason = "On a GPU the framework computes the products."
    elif each_gate and base.precision == "float32":
        reason = "In float32 the framework computes the products of masks of each gate."
    else:
        return base
    return base._replace(implementation="native_recurrence", reason=reason)


def run(plan: Plan, cell: Cell, x: Tensor, state: Tensors, weights: Tensors, **masks: Tensor) -> tuple[Tensor, ...]:
    """Runs a cell as planned, on the tensors and masks of `recur`."""
    for name in ("recurrent_mask", "input_mask"):
        if name in masks:
            # Those of a layer's policy may have fewer bits.
            masks[name] = ops.stop_gradient(ops.cast(masks[name], x.dtype))
    if "input_mask" in masks and len(masks["input_mask"].shape) == 2:
        x = x * masks.pop("input_mask")[:, None]
    if plan.implementation == "reference":
        return _reference(cell, x, state, weights, **masks)
    if plan.implementation == "keras":
        return _keras(cell, x, state, weights, **masks)
    return native.run(plan, cell, x, state, weights, **masks)


def _reference(
    cell: Cell, x: Tensor, state: Tensors, weights: Tensors, mask: Mask = None, resets: Mask = None, **constant: Tensor
) -> tuple[Tensor, ...]:
    outputs = []
    for t in range(x.shape[1]):
        of_step = [None if m is None else m[:, t, None] for m in (mask, resets)]
        state = _step(cell, x[:, t], state, weights, *of_step, **constant)
        outputs.append(state[0])
    return ops.stack(outputs, axis=1), *state


def _step(
    cell: Cell, x_t: Tensor, state: Tensors, weights: Tensors, mask: Mask = None, reset: Mask = None, **constant: Tensor
) -> list[Tensor]:
    if reset is not None:
        state = [ops.where(reset, ops.zeros_like(tensor), tensor) for tensor in state]
    after = cell.step(x_t, state, weights, **constant, ops=ops)
    return after if mask is None else [ops.where(mask, *pair) for pair in zip(after, state, strict=True)]


def _keras(cell: Cell, x: Tensor, state: Tensors, weights: Tensors, **masks: Tensor) -> tuple[Tensor, ...]:
    """Runs the loop of Keras' own layer."""
    if not masks and cell.name in _LOOPS:
        activations = {"activation": keras.activations.tanh, "recurrent_activation": keras.activations.sigmoid}
        named = dict(zip(cell.weight_shapes(1, 1), weights, strict=True))
        with contextlib.suppress(NotImplementedError):  # Keras raises this where cuDNN cannot be used
            _, h_seq, after = _LOOPS[cell.name](x, *state, None, **named, **activations, return_sequences=True)
            return h_seq, *after

    constant = {name: masks.pop(name) for name in ("recurrent_mask", "input_mask") if name in masks}
    by_step = list(masks)
    D = x.shape[2]

    def step(inputs: Tensor, states: Tensors) -> tuple[Tensor, Tensors]:
        masks_of_step = {name: inputs[:, D + i, None] > 0 for i, name in enumerate(by_step)}
        of_step = (masks_of_step.get("mask"), masks_of_step.get("resets"))
        after = _step(cell, inputs[:, :D], list(states), weights, *of_step, **constant)
        return after[0], after

    # Keras' loop takes one tensor if its number of steps is open.
    inputs = ops.concatenate([x, *(ops.cast(masks[name], x.dtype)[:, :, None] for name in by_step)], axis=2)
    _, h_seq, after = rnn_loop(step, inputs, list(state), input_length=x.shape[1], return_all_outputs=True)
    return h_seq, *after


def check_masks(
    cell: Cell, masks: Mapping[str, Tensor], shape: Shape, units: int, resets_of_rows: bool = False
) -> None:
    """Raises a ValueError for masks, by names, that do not fit x, (B, T, D). With `resets_of_rows` they may be [B]."""
    (B, T, D), G = shape, len(cell.gates)
    expected = {
        "mask": {"[B, T]": (B, T)},
        "resets": {"[B, T]": (B, T), **({"[B]": (B,)} if resets_of_rows else {})},
        "recurrent_mask": {"[B, H]": (B, units), f"[{G}, B, H]": (G, B, units)},
        "input_mask": {"[B, D]": (B, D), f"[{G}, B, D]": (G, B, D)},
    }
    for name, value in masks.items():
        check_shape(name, value, expected[name])


def _check_shapes(cell: Cell, x: Tensor, state: Tensors, weights: Tensors) -> None:
    of_state = dict(zip((f"{name}0" for name in cell.states), state, strict=True))
    named = dict(zip(cell.weight_shapes(1, 1), weights, strict=True))
    if len(x.shape) != 3:
        raise ValueError(f"`x` must be [B, T, D]. Received: x of shape {tuple(x.shape)}")
    if x.shape[1] == 0:
        raise ValueError(f"`x` must have at least one step. Received: x of shape {tuple(x.shape)}")
    recurrent_kernel, G = named["recurrent_kernel"], len(cell.gates)
    if len(recurrent_kernel.shape) != 2 or recurrent_kernel.shape[1] != G * recurrent_kernel.shape[0]:
        raise ValueError(
            f"`recurrent_kernel` must be [H, {G}H]. Received: recurrent_kernel of shape {tuple(recurrent_kernel.shape)}"
        )
    B, _, D = x.shape
    H = recurrent_kernel.shape[0]
    for name, tensor in of_state.items():
        check_shape(name, tensor, {"[B, H]": (B, H)})
    for name, (letters, shape) in cell.weight_shapes(D, H).items():
        check_shape(name, named[name], {letters: shape})
    check_one_dtype({"x": x, **of_state, **named})
