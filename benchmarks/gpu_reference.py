"""The right results of the operations, in float64 numpy with the gradients written out, and the comparison with them.

Neither the package nor a framework is used here, so the reference cannot share their errors. Shape letters: B batch,
T steps, D input features, H units, N words, V vocabulary. Gates are in Keras' order i, f, g, o.
"""

import numpy as np

# An error here is the largest error in a tensor, divided by the largest entry of the true tensor. A float32 result is
# right if its error is at most TIMES the error of the framework's own float32 operations on the same numbers, or at
# most FLOOR. The floor is for cases in which the framework happens to be nearly exact: rounding in another order of
# summation is not a fault. The rounding error of a sum grows about as the square root of the number of its terms, so
# the floor does too above FLOOR_TERMS terms. The bound is never more than CEILING floors: a framework with such an
# error has computed in TF32.
TIMES = 2.0
FLOOR, FLOOR_TERMS, CEILING = 2e-6, 10_000, 10
# For a bfloat16 result the framework has no counterpart. Its operands err by up to 2^-9 of themselves, which the steps
# of a recurrence increase. An error above this bound, relative to the largest entry, must have another cause.
BFLOAT16_BOUND = 2e-2

LSTM_ARGUMENTS = ("x", "h0", "c0", "kernel", "recurrent_kernel", "bias")
LSTM_OUTPUTS = ("h_seq", "h_T", "c_T")
UNITS, BATCHES, STEPS = (1, 50, 64, 128, 200, 256), (1, 3, 60, 61), (1, 7, 20, 35)
UNITS_OF_BFLOAT16 = (37, 128, 200, 256, 300, 512)
QUICK_BATCHES = (0, 0, 1, 2, 3, 1)  # an index for each of UNITS, so that every batch and every number of steps occurs
VOCABULARIES = (2, 1000, 10000, 10007)


def lstm(x, h0, c0, kernel, recurrent_kernel, bias, upstream):
    """Computes an LSTM over a batch of sequences, and the gradients of `sum(upstream * outputs)`.

        z[t] = x[t] W + h[t-1] U + bias;  i, f, o = sigmoid(z), g = tanh(z)
        c[t] = f c[t-1] + i g;            h[t] = o tanh(c[t])

    Args:
        x: [B, T, D].
        h0: [B, H].
        c0: [B, H].
        kernel: W [D, 4H].
        recurrent_kernel: U [H, 4H].
        bias: [4H].
        upstream: gradients of h_seq [B, T, H], h_T [B, H] and c_T [B, H].

    Returns:
        dict of float64 arrays: the outputs by the names of `LSTM_OUTPUTS`, and "d" + name for each of `LSTM_ARGUMENTS`.
    """
    x, h0, c0, W, U, bias = (np.asarray(array, np.float64) for array in (x, h0, c0, kernel, recurrent_kernel, bias))
    dh_seq, dh, dc = (np.array(array, np.float64) for array in upstream)
    T = x.shape[1]
    h, c, kept, outputs = h0, c0, [], []
    for t in range(T):
        z_i, z_f, z_g, z_o = np.split(x[:, t] @ W + h @ U + bias, 4, axis=1)
        i, f, g, o = _sigmoid(z_i), _sigmoid(z_f), np.tanh(z_g), _sigmoid(z_o)
        h_before, c_before, c = h, c, f * c + i * g
        tanh_c = np.tanh(c)
        h = o * tanh_c
        outputs.append(h)
        kept.append((h_before, c_before, i, f, g, o, tanh_c))
    results = {"h_seq": np.stack(outputs, axis=1), "h_T": h, "c_T": c}

    dx, dW, dU, dbias = np.zeros_like(x), np.zeros_like(W), np.zeros_like(U), np.zeros_like(bias)
    for t in reversed(range(T)):
        h_before, c_before, i, f, g, o, tanh_c = kept[t]
        dh = dh + dh_seq[:, t]
        dc = dc + dh * o * (1 - tanh_c**2)
        dz = np.concatenate(
            [dc * g * i * (1 - i), dc * c_before * f * (1 - f), dc * i * (1 - g**2), dh * tanh_c * o * (1 - o)], axis=1
        )
        dx[:, t] = dz @ W.T
        dW += x[:, t].T @ dz
        dU += h_before.T @ dz
        dbias += dz.sum(axis=0)
        dh, dc = dz @ U.T, dc * f
    gradients = (dx, dh, dc, dW, dU, dbias)
    return results | {f"d{name}": value for name, value in zip(LSTM_ARGUMENTS, gradients, strict=True)}


def linear_cross_entropy(h, kernel, bias, targets, weights):
    """Computes the cross-entropy of `softmax(h W + bias)` in nats, and the gradients of `sum(weights * loss)`.

        loss = logsumexp(z) - z_target;  dz = weights (softmax(z) - onehot(target))

    Args:
        h: [N, D].
        kernel: W [D, V].
        bias: [V].
        targets: int [N].
        weights: [N].

    Returns:
        dict of float64 arrays: "loss" [N], "dh", "dkernel", "dbias".
    """
    h, kernel, bias, weights = (np.asarray(array, np.float64) for array in (h, kernel, bias, weights))
    words = np.arange(len(targets))
    z = h @ kernel + bias
    z -= z.max(axis=1, keepdims=True)
    loss = -z[words, targets]
    e = np.exp(z)
    total = e.sum(axis=1)
    loss += np.log(total)
    dz = e * (weights / total)[:, np.newaxis]
    dz[words, targets] -= weights
    return {"loss": loss, "dh": dz @ kernel.T, "dkernel": h.T @ dz, "dbias": dz.sum(axis=0)}


def lstm_cases(quick=False, all_units=UNITS):
    """Returns the sizes to check, dicts of B, T, D and H.

    Every pair of units and batch, units and steps, and batch and steps occurs; with `quick` every value of each occurs.
    """
    cases = []
    for u, units in enumerate(all_units):
        for b, batch in enumerate(BATCHES):
            if not quick or b == QUICK_BATCHES[u]:
                features = 200 if units == 256 else units + 3  # the model's own, and odd ones
                cases.append({"B": batch, "T": STEPS[(b + u) % len(STEPS)], "D": features, "H": units})
    return cases


def cross_entropy_cases(quick=False):
    """Returns the sizes to check, dicts of N, D, V and the scale of the weights, which decides that of the logits."""
    cases = [
        {"N": words, "D": 64, "V": V, "scale": 0.1} for words, V in zip((61, 3, 60, 61), VOCABULARIES, strict=True)
    ]
    # A row too long for shared memory; logits far above the largest argument of exp in float32.
    cases.append({"N": 7, "D": 16, "V": 200_000, "scale": 0.1})
    cases.append({"N": 20, "D": 64, "V": 1000, "scale": 50.0})
    if quick:
        return [case for case in cases if case["V"] != 10_000]
    return [*cases, {"N": 1200, "D": 128, "V": 10_000, "scale": 0.1}]  # the model's own


def lstm_inputs(B, T, D, H):
    """Returns float32 arguments of `lstm`, and upstream gradients of its outputs."""
    random = np.random.default_rng([B, T, D, H])

    def normal(*shape, scale=1.0):
        return (scale * random.standard_normal(shape)).astype(np.float32)

    arguments = [normal(B, T, D), normal(B, H, scale=0.5), normal(B, H)]
    # With these scales the gates are neither all open nor all closed.
    arguments += [normal(D, 4 * H, scale=D**-0.5), normal(H, 4 * H, scale=H**-0.5), normal(4 * H, scale=0.5)]
    return arguments, [normal(B, T, H), normal(B, H), normal(B, H)]


def cross_entropy_inputs(N, D, V, scale):
    """Returns float32 h, kernel and bias, int32 targets and float32 weights for `linear_cross_entropy`."""
    random = np.random.default_rng([N, D, V])
    h, kernel, bias = (random.standard_normal(shape).astype(np.float32) for shape in ((N, D), (D, V), (V,)))
    targets = random.integers(0, V, N).astype(np.int32)
    targets[0], targets[-1] = 0, V - 1  # the ends of a row
    return h, np.float32(scale) * kernel, bias, targets, random.uniform(-1, 1, N).astype(np.float32)


def error(actual, true):
    """Returns the largest error over the largest entry of the true tensor; infinite for another shape, or NaN."""
    actual, true = np.asarray(actual), np.asarray(true)
    if actual.shape != true.shape:
        return np.inf
    difference = np.max(np.abs(actual.astype(np.float64) - true), initial=0.0)
    largest = np.max(np.abs(true), initial=0.0)
    return float(difference / largest if largest > 0 else difference) if np.isfinite(difference) else np.inf


def compare(name, actual, true, framework, terms=1):
    """Compares a tensor with the true one, allowing for what float32 costs the framework's own operations.

    Args:
        name: of the tensor.
        actual: the array to judge.
        true: float64 array.
        framework: the result of the framework's own operations in float32.
        terms: number of terms of the longest sum in the operation.

    Returns:
        dict: "tensor", "error", "framework_error", "bound" and "ok".
    """
    own, others = error(actual, true), error(framework, true)
    floor = FLOOR * max(1.0, terms / FLOOR_TERMS) ** 0.5
    # If the framework's own result is not finite, only the floor is allowed.
    bound = min(max(TIMES * others, floor), CEILING * floor) if np.isfinite(others) else floor
    return {"tensor": name, "error": own, "framework_error": others, "bound": bound, "ok": bool(own <= bound)}


def compare_bfloat16(name, actual, true):
    """Compares a tensor that was computed in bfloat16 with the true one; returns what `compare` does."""
    its = error(actual, true)
    return {"tensor": name, "error": its, "framework_error": None, "bound": BFLOAT16_BOUND, "ok": its <= BFLOAT16_BOUND}


def _sigmoid(z):
    return 0.5 * (1 + np.tanh(0.5 * z))
