"""The operations under JAX, compiled and in float32 also eagerly, against their references; see test_jax.py."""

import jax
import jax.numpy as jnp
import numpy as np

from kerasptb.ops import linear_cross_entropy, lstm
from kerasptb.ops import platform as platforms
from kerasptb.ops.calls import call
from kerasptb.ops.dropout import dropout
from kerasptb.ops.global_norm import global_norm
from kerasptb.ops.plan import choose

PRECISIONS = {"float32": 2e-6, "bfloat16x3": 4e-5, "bfloat16": 2e-2}
generator = np.random.default_rng(0)
references = {}


def normal(*shape):
    return jnp.asarray(generator.standard_normal(shape) * 0.5, "float32")


def compare(function, inputs, backend, precision, allowed):
    """Value and every gradient, relative to the largest number of each tensor in the reference."""
    numbers = tuple(i for i, x in enumerate(inputs) if x.dtype == jnp.float32)
    if function not in references:  # each is always compared on the same inputs
        references[function] = jax.jit(jax.value_and_grad(function("reference", "float32"), numbers))(*inputs)
    expected = references[function]
    # Eagerly each small operation is a program, which takes longer to compile than the whole.
    for wrap in (jax.jit, lambda f: f) if (backend, precision) == ("native", "float32") else (jax.jit,):
        found = wrap(jax.value_and_grad(function(backend, precision), numbers))(*inputs)
        without_gradient = wrap(function(backend, precision))(*inputs)
        tensors = [(found[0], expected[0]), (without_gradient, expected[0]), *zip(found[1], expected[1], strict=True)]
        for a, b in tensors:
            assert jnp.abs(a - b).max() <= allowed * jnp.abs(b).max(), (function.__name__, backend, precision)


def total_of_lstm(backend, precision):
    def total(*inputs):
        outputs = lstm(*inputs, backend=backend, precision=precision)
        return sum(jnp.sum(a * b) for a, b in zip(outputs, upstream, strict=True))

    return total


def total_of_masked_lstm(backend, precision):
    def total(*inputs):
        outputs = lstm(*inputs, backend=backend, precision=precision, **masks)
        return sum(jnp.sum(a * b) for a, b in zip(outputs, upstream, strict=True))

    return total


def total_of_losses(backend, precision, reduction="none"):
    def total(h, kernel, bias, targets):
        options = {"backend": backend, "precision": precision, "reduction": reduction}
        return jnp.sum(linear_cross_entropy(h, kernel, bias, targets, scale=0.5, **options) * 3)

    return total


def total_of_losses_of_a_transposed_kernel(backend, precision):
    def total(h, kernel, bias, targets):
        options = {"backend": backend, "precision": precision, "transpose_kernel": True}
        return jnp.sum(linear_cross_entropy(h, kernel.T, bias, targets, **options))

    return total


def summed_losses(backend, precision):
    return total_of_losses(backend, precision, "sum")


B, T, D, H = 5, 4, 17, 18
upstream = normal(B, T, H), normal(B, H), normal(B, H)
of_lstm = normal(B, T, D), normal(B, H), normal(B, H), normal(D, 4 * H), normal(H, 4 * H), normal(4 * H)
masks = {
    "mask": generator.random((B, T)) < 0.7,
    "resets": generator.random((B, T)) < 0.3,
    "recurrent_mask": jnp.asarray(2 * (generator.random((B, H)) < 0.5), "float32"),
}
N, V = 130, 500
targets = jnp.asarray(generator.integers(0, V, N), "int32")
of_losses = normal(N, D), normal(D, V), normal(V), targets

assert choose("auto").implementation == "native"
for precision, allowed in PRECISIONS.items():
    if platforms.why_not_native(precision) is not None:
        print(f"left out: {platforms.why_not_native(precision)}")
        continue
    compare(total_of_lstm, of_lstm, "native", precision, allowed)
    if precision != "bfloat16x3":
        compare(total_of_masked_lstm, of_lstm, "native", precision, allowed)
    for function in (total_of_losses, summed_losses, total_of_losses_of_a_transposed_kernel):
        compare(function, of_losses, "native", precision, allowed)
for function, inputs in ((total_of_lstm, of_lstm), (summed_losses, of_losses)):
    compare(function, inputs, "keras", "float32", 2e-6)

for wrap in (lambda f: f, jax.jit):
    found = wrap(lambda *x: global_norm(x, "native"))(*of_lstm)
    expected = global_norm(of_lstm, "reference")
    assert jnp.abs(found - expected) <= 2e-6 * expected, (found, expected)

x, seed = jnp.ones((40, 50)), jnp.array([1, -2])
value, pull_back = jax.vjp(lambda x: dropout(x, 0.25, seed), x)
assert (jax.jit(dropout, static_argnums=1)(x, 0.25, seed) == value).all()
assert (pull_back(x)[0] == value).all()
assert jnp.abs((value > 0).mean() - 0.75) < 0.05
of_reference, pull_back = jax.vjp(jax.jit(lambda x: dropout(x, 0.25, seed, "reference")), x)
assert (of_reference == value).all()
assert (pull_back(x)[0] == value).all()

together = jax.vmap(lambda h: linear_cross_entropy(h, *of_losses[1:]))(jnp.stack([of_losses[0], -of_losses[0]]))
each = [linear_cross_entropy(h, *of_losses[1:]) for h in (of_losses[0], -of_losses[0])]
assert (together == jnp.stack(each)).all()
of_examples = jax.vmap(jax.grad(total_of_lstm("native", "float32"), 3), (0, 0, 0, None, None, None))
one = lambda x: x[:, None]  # noqa: E731
upstream = upstream[0][:1], upstream[1][:1], upstream[2][:1]
gradients = of_examples(*map(one, of_lstm[:3]), *of_lstm[3:])
of_row = jax.jit(jax.grad(total_of_lstm("reference", "float32"), 3))
for i in range(B):
    row = [x[i : i + 1] for x in of_lstm[:3]]
    expected = of_row(*row, *of_lstm[3:])
    assert jnp.abs(gradients[i] - expected).max() <= 2e-6 * jnp.abs(expected).max()
upstream = normal(B, T, H), normal(B, H), normal(B, H)

program = jax.jit(jax.grad(total_of_lstm("auto", "float32"))).lower(*of_lstm).as_text()
assert program.count("custom_call @kerasptb_lstm_forward_float32") == 1
assert program.count("custom_call @kerasptb_lstm_backward_float32") == 1
assert "while" not in program
assert "dot_general" not in program

try:
    linear_cross_entropy(*of_losses[:3], targets + V)
except ValueError as error:
    assert f"must be in [0, {V})" in str(error), error
else:
    raise AssertionError("invalid targets were taken")
invalid = targets.at[7].set(-1)
losses = jax.jit(lambda targets: linear_cross_entropy(*of_losses[:3], targets))(invalid)
assert jnp.isnan(losses[7])
assert jnp.isfinite(jnp.delete(losses, 7)).all()

try:
    call("kerasptb_softmax_cross_entropy_loss_float32", [normal(3, 5), normal(4), targets[:3]], [(3,)])
except Exception as error:
    assert "the shapes of the buffers do not fit" in str(error), error
else:
    raise AssertionError("shapes that do not fit were taken")
# More words than a chunk holds: their indices are of one type with 64 bits, too.
jax.config.update("jax_enable_x64", True)
h, *matrix_and_bias = (jnp.asarray(generator.normal(size=shape)) for shape in ((300, 8), (8, 40_000), (40_000,)))


def loss_of(h, backend):
    return linear_cross_entropy(h, *matrix_and_bias, jnp.arange(300), "sum", backend=backend)


found, expected = (jax.value_and_grad(loss_of)(h, backend) for backend in ("keras", "reference"))
assert h.dtype == found[1].dtype == jnp.float64
assert abs(found[0] - expected[0]) <= 1e-9 * expected[0]
assert jnp.abs(found[1] - expected[1]).max() <= 1e-9
print("as the reference")
