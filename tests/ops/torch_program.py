"""The native operations on PyTorch's tensors, against their references; see test_torch.py."""

import threading

import keras
import numpy as np
import torch

from kerasptb.cells import CELLS
from kerasptb.ops import calls, clipped_adamw, clipped_sgd, gru, linear_cross_entropy, lstm
from kerasptb.ops import platform as platforms
from kerasptb.ops.clipped_step import plan_of
from kerasptb.ops.dropout import dropout
from kerasptb.ops.plan import choose
from kerasptb.ops.recurrence import recur

PRECISIONS = {"float32": 2e-6, "bfloat16x3": 4e-5, "bfloat16": 2e-2}
generator = np.random.default_rng(0)


def normal(*shape):
    return torch.tensor(generator.standard_normal(shape) * 0.5, dtype=torch.float32)


def compare(function, inputs, backend, precision, allowed):
    """Outputs and every gradient, relative to the largest number of each tensor of the reference."""
    results = []
    for named in ((backend, precision), ("reference", "float32")):
        leaves = [x.clone().requires_grad_() for x in inputs]
        outputs = function(*leaves, named)
        sum((a * (1 + i) * torch.cos(a.detach())).sum() for i, a in enumerate(outputs)).backward()
        results.append([*outputs, *[leaf.grad for leaf in leaves]])
        with torch.no_grad():
            for with_gradient, without in zip(outputs, function(*leaves, named), strict=True):
                assert (with_gradient - without).abs().max() <= 1e-6
    for found, expected in zip(*results, strict=True):
        assert (found - expected).abs().max() <= allowed * expected.abs().max(), (backend, precision)


def raises(kind, text, call):
    try:
        call()
    except kind as error:
        assert text in str(error), error
        assert "\n" not in str(error), error
    else:
        raise AssertionError("nothing was raised")


B, T, D, H, N, V = 5, 4, 17, 18, 130, 500
of_lstm = normal(B, T, D), normal(B, H), normal(B, H), normal(D, 4 * H), normal(H, 4 * H), normal(4 * H)
masks = {
    "mask": generator.random((B, T)) < 0.7,
    "resets": generator.random((B, T)) < 0.3,
    "recurrent_mask": 2 * (generator.random((B, H)) < 0.5).astype("float32"),
    "input_mask": 2 * (generator.random((4, B, D)) < 0.5).astype("float32"),
}
masks_of_gru = {**masks, "input_mask": masks["input_mask"][:3]}
targets = torch.tensor(generator.integers(0, V, N))
of_losses = normal(N, D), normal(D, V), normal(V)


def total_loss(h, kernel, bias, named, **options):
    return [linear_cross_entropy(h, kernel, bias, targets, "sum", backend=named[0], precision=named[1], **options)]


def losses_of_words(h, kernel, bias, named):
    kernel = kernel.T.contiguous().T  # in another order in memory
    return [linear_cross_entropy(h, kernel, bias, targets, scale=0.5, backend=named[0], precision=named[1])]


def of_tied(h, kernel, bias, named):
    return total_loss(h, kernel.T, bias, named, transpose_kernel=True)


assert choose("auto").implementation == "native"
for precision, allowed in PRECISIONS.items():
    if platforms.why_not_native(precision) is not None:
        print(f"left out: {platforms.why_not_native(precision)}")
        continue
    for given in ({}, masks):
        compare(lambda *x, given=given: lstm(*x[:-1], *x[-1], **given), of_lstm, "native", precision, allowed)
    for function in (total_loss, losses_of_words, of_tied):
        compare(function, of_losses, "native", precision, allowed)
x, h0, c0 = of_lstm[:3]
weights_of_gates = normal(D, 3 * H), normal(H, 3 * H), normal(3 * H)
of_gru = x, h0, *weights_of_gates[:2], normal(2, 3 * H)
compare(lambda *x: gru(*x[:-1], *x[-1], **masks_of_gru), of_gru, "native", "float32", 2e-6)


def cifg(x, h0, c0, kernel, recurrent_kernel, bias, named):
    return recur(CELLS["cifg"], x, (h0, c0), (kernel, recurrent_kernel, bias), *named)


compare(cifg, (x, h0, c0, *weights_of_gates), "native", "float32", 2e-6)
compare(total_loss, of_losses, "keras", "float32", 2e-6)
wide = normal(N, 700), normal(700, V) / 9, normal(V)
compare(total_loss, wide, "native", "float32", 2e-5)  # the framework's products around a native softmax

x, seed = torch.ones((40, 50), requires_grad=True), torch.tensor([1, -2], dtype=torch.int32)
dropped = dropout(x, 0.25, seed, "native")
assert torch.equal(dropped, dropout(x, 0.25, seed, "reference"))
(gradient,) = torch.autograd.grad(dropped, x, torch.ones_like(x), create_graph=True)
assert torch.equal(gradient, dropped)


def after_step(module, backend, state, *arguments):
    weights = [x.clone() for x in of_lstm[3:]]
    slots = [[(x * factor).abs() for x in of_lstm[3:]] for factor in state]
    rows = torch.tensor([3, 0, 3]), normal(3, 4 * H) * 0 + 2
    gradients = [rows, *(2 * x for x in of_lstm[4:])]
    options = {"weight_decays": [0.1, 0, 0], "averages": [x / 2 for x in weights], "average_momentum": 0.3}
    plan = plan_of(weights, gradients, backend)
    results = module.run(plan, weights, *slots, gradients, 0.5, *arguments, 1.5, **options)
    assert backend == "reference" or all(a is b for a, b in zip(results[0], weights, strict=True))  # in place
    return [x for of_one in results for x in of_one]


for module, state, numbers in ((clipped_sgd, (), ()), (clipped_adamw, (0.1, 0.2), (3, 0.9, 0.99, 1e-7))):
    for found, expected in zip(*(after_step(module, b, state, *numbers) for b in ("native", "reference")), strict=True):
        assert (found - expected).abs().max() < 1e-6

leaves = [x.clone().requires_grad_() for x in of_lstm]
outputs, _, _ = lstm(*leaves, backend="native")
(gradient,) = torch.autograd.grad(outputs.sum(), leaves[0], create_graph=True)
raises(NotImplementedError, "no gradients of its gradients", gradient.sum().backward)
raises(ValueError, f"must be in [0, {V})", lambda: linear_cross_entropy(*of_losses, targets + V))
raises(ValueError, "do not fit", lambda: calls.call("kerasptb_global_norm_float32", [seed], [()]))
loss = linear_cross_entropy(*(x.requires_grad_() for x in of_losses), targets, "sum", backend="native")
with torch.no_grad():
    of_losses[1].add_(1)
loss.backward()  # its gradients were computed with it
outputs, _, _ = lstm(*leaves, backend="native")
with torch.no_grad():
    leaves[3].add_(1)
try:
    outputs.sum().backward()
except RuntimeError as error:
    assert "modified by an inplace operation" in str(error), error
else:
    raise AssertionError("a gradient of other weights than those of the call")

# Shapes alone, and several threads at once.
with keras.device("meta"):
    assert lstm(*(x.to("meta") for x in of_lstm))[0].shape == (B, T, H)
expected, found = lstm(*of_lstm)[0], {}
threads = [threading.Thread(target=lambda i=i: found.update({i: lstm(*of_lstm)[0]})) for i in range(4)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
assert all(torch.equal(found[i], expected) for i in range(4))
print("as the reference")
