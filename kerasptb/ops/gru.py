"""A GRU over a batch of sequences; equations: `kerasptb.cells.gru`."""

from kerasptb.cells import CELLS
from kerasptb.cells.gru import GRU
from kerasptb.ops.recurrence import recur
from kerasptb.ops.tensors import as_tensor
from kerasptb.utils.types import Backend, Precision, Tensor


def gru(
    x: Tensor,
    h0: Tensor,
    kernel: Tensor,
    recurrent_kernel: Tensor,
    bias: Tensor,
    backend: Backend = "auto",
    precision: Precision = "float32",
    *,
    mask: Tensor | None = None,
    resets: Tensor | None = None,
    recurrent_mask: Tensor | None = None,
    input_mask: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Runs a GRU over a batch of sequences.

    Shape letters: B batch, T steps, D features, H units.

    Args:
        x: tensor [B, T, D], float32; any float type with the `"reference"` and `"keras"` backends.
        h0: tensor [B, H], the output before the first step.
        kernel: tensor [D, 3H], as `keras.layers.GRU` has it.
        recurrent_kernel: tensor [H, 3H].
        bias: tensor [2, 3H], of the two products, with the reset gate after the recurrent one (Keras' default); [3H]
            with the reset gate before it.
        backend: `"auto"`, `"reference"`, `"keras"` or `"native"`; see `kerasptb.ops.plan`.
        precision: precision of the matrix products, as in `kerasptb.ops.lstm`.
        mask: bool [B, T], false for steps that a row skips, such as padding; `None` for no such step.
        resets: bool [B, T], true for steps that a row begins with a state of zeros; `None` for no such step.
        recurrent_mask: factors of h[t-1] in its product with the recurrent kernel at every step, such as those of
            dropout; [B, H], or [3, B, H] for one for each of the gates z, r, g. No gradient goes through them.
        input_mask: likewise factors of x[t] in its product with the kernel, [B, D] or [3, B, D].

    Returns:
        `(h_seq, h_T)`: the outputs [B, T, H], and the last of them [B, H].

    Raises:
        ValueError: for shapes that do not fit, unknown names, or a call that the named backend cannot serve.
        NativeUnavailableError: if the native backend was named and cannot be used; the message says why.

    Example:
        >>> weights = np.zeros((3, 12), "float32"), np.zeros((4, 12), "float32"), np.zeros((2, 12), "float32")
        >>> h_seq, h_T = gru(np.zeros((2, 5, 3), "float32"), np.zeros((2, 4), "float32"), *weights)
        >>> tuple(h_seq.shape)
        (2, 5, 4)
    """
    bias = as_tensor(bias)
    cell = CELLS["gru"] if len(bias.shape) == 2 else GRU(reset_after=False)
    masks = {"mask": mask, "resets": resets, "recurrent_mask": recurrent_mask, "input_mask": input_mask}
    h_seq, h_T = recur(cell, x, (h0,), (kernel, recurrent_kernel, bias), backend, precision, **masks)
    return h_seq, h_T
