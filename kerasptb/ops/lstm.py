"""An LSTM over a batch of sequences; equations: `kerasptb.cells.lstm`."""

from kerasptb.cells import CELLS
from kerasptb.ops.recurrence import recur
from kerasptb.utils.types import Backend, Precision, Tensor


def lstm(
    x: Tensor,
    h0: Tensor,
    c0: Tensor,
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
) -> tuple[Tensor, Tensor, Tensor]:
    """Runs an LSTM over a batch of sequences.

    Shape letters: B batch, T steps, D features, H units.

    Args:
        x: tensor [B, T, D], float32; any float type with the `"reference"` and `"keras"` backends.
        h0: tensor [B, H], the output before the first step.
        c0: tensor [B, H], the cell state before the first step.
        kernel: tensor [D, 4H], as `keras.layers.LSTM` has it.
        recurrent_kernel: tensor [H, 4H].
        bias: tensor [4H].
        backend: `"auto"`, `"reference"`, `"keras"` or `"native"`; see `kerasptb.ops.plan`.
        precision: precision of the matrix products: `"float32"` or, with the native backend only, `"bfloat16"`, on
            processors with AVX512-BF16 or AMX and on GPUs, or `"bfloat16x3"` (each operand as the sum of two bfloat16,
            three products; about float32's accuracy), on those processors. Cell state, gates and sums are always
            float32. On a processor `"bfloat16"` stores the gates for the gradient in steps of 1/32767, which is coarse
            for gates below 1e-4 or above 0.9999.
        mask: bool [B, T], false for steps that a row skips, such as padding; `None` for no such step.
        resets: bool [B, T], true for steps that a row begins with a state of zeros; `None` for no such step.
        recurrent_mask: factors of h[t-1] in its product with the recurrent kernel at every step, such as those of
            dropout; [B, H], or [4, B, H] for one for each of the gates i, f, g, o. No gradient goes through them.
        input_mask: likewise factors of x[t] in its product with the kernel, [B, D] or [4, B, D].

    Returns:
        `(h_seq, h_T, c_T)`: the outputs [B, T, H], the last of them [B, H], and the last cell state [B, H].

    Raises:
        ValueError: for shapes that do not fit, unknown names, or a call that the named backend cannot serve.
        NativeUnavailableError: if the native backend was named and cannot be used; the message says why.

    Example:
        >>> x, state = np.zeros((2, 5, 3), "float32"), np.zeros((2, 4), "float32")
        >>> weights = np.zeros((3, 16), "float32"), np.zeros((4, 16), "float32"), np.zeros(16, "float32")
        >>> h_seq, h_T, c_T = lstm(x, state, state, *weights)
        >>> tuple(h_seq.shape)
        (2, 5, 4)
    """
    masks = {"mask": mask, "resets": resets, "recurrent_mask": recurrent_mask, "input_mask": input_mask}
    weights = (kernel, recurrent_kernel, bias)
    h_seq, h_T, c_T = recur(CELLS["lstm"], x, (h0, c0), weights, backend, precision, **masks)
    return h_seq, h_T, c_T
