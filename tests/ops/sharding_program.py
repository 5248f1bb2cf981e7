"""Operations whose rows two devices divide, against one device; test_sharding.py runs it in its own process."""

import jax
import jax.numpy as jnp
import keras
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from kerasptb.ops import linear_cross_entropy, lstm
from kerasptb.ops import platform as platforms
from kerasptb.ops.dropout import dropout

B, T, D, H, V = 6, 5, 7, 8, 11
ALLOWED = {"float32": 5e-6, "bfloat16x3": 1e-4, "bfloat16": 5e-3}
generator = np.random.default_rng(0)


def normal(*shape):
    return jnp.asarray(generator.standard_normal(shape) * 0.5, "float32")


LAYER = [normal(B, T, D), normal(B, H), normal(B, H), normal(D, 4 * H), normal(H, 4 * H), normal(4 * H)]
UPSTREAM = normal(B, T, H), normal(B, H), normal(B, H)
MASKS = {
    "steps": {
        "mask": jnp.asarray(generator.random((B, T)) > 0.2),
        "resets": jnp.asarray(generator.random((B, T)) < 0.2),
    },
    "recurrent": {"recurrent_mask": jnp.asarray(generator.random((B, H)) > 0.3, "float32")},
    "gates": {
        "recurrent_mask": jnp.asarray(generator.random((4, B, H)) > 0.3, "float32"),
        "input_mask": jnp.asarray(generator.random((4, B, D)) > 0.3, "float32"),
    },
}
WORDS = [normal(B * T, D), normal(D, V), normal(V)]
TARGETS = jnp.asarray(generator.integers(0, V, B * T), "int32")


def operations(precision):
    """Pairs of a name and a scalar function of arrays with the arrays; those with rows are the first `rows`."""

    def of_layer(*arrays, **masks):
        outputs = lstm(*arrays, backend="native", precision=precision, **masks)
        return sum(jnp.sum(a * b) for a, b in zip(outputs, UPSTREAM, strict=True))

    yield "lstm", of_layer, LAYER
    for name, masks in MASKS.items():
        if precision != "float32" and name != "gates":
            continue  # their handlers are the same but for the operands of each gate
        yield f"lstm, {name}", lambda *arrays, masks=masks: of_layer(*arrays, **masks), LAYER
    for reduction in ("none", "sum"):

        def of_words(*arrays, reduction=reduction):
            options = {"backend": "native", "precision": precision, "reduction": reduction, "scale": 0.5}
            return jnp.sum(linear_cross_entropy(*arrays, TARGETS, **options) * 3)

        yield f"cross-entropy, {reduction}", of_words, WORDS


def measure(function, arrays, eagerly, shardings=None):
    """Value and all gradients of the compiled program, its text, and the value where no gradient is asked for."""
    differentiated = jax.value_and_grad(function, tuple(range(len(arrays))))
    program = jax.jit(differentiated, in_shardings=shardings).lower(*arrays).compile()
    # A function of its own, which JAX traces anew where the rows are divided.
    inference = function if eagerly else jax.jit(lambda *arrays: function(*arrays))  # noqa: PLW0108
    return jax.tree.leaves(program(*arrays)), program.as_text(), float(inference(*arrays))


def rows_divided(arrays, mesh):
    """Shardings of arrays by which two devices divide the rows."""
    rows = arrays[0].shape[0]
    return tuple(
        NamedSharding(mesh, PartitionSpec("batch") if array.shape[0] == rows else PartitionSpec()) for array in arrays
    )


def dropped(x, seed):
    """What dropout leaves of x, and the gradient."""

    def total(x):
        kept = dropout(x, 0.4, seed)
        return jnp.sum(kept * 2), kept

    gradient, kept = jax.jit(jax.grad(total, has_aux=True))(x)
    return kept, gradient


def main():
    assert len(jax.devices()) == 2
    distribution = keras.distribution.DataParallel(devices=keras.distribution.list_devices())
    mesh = distribution.device_mesh.backend_mesh
    found = 0
    for precision, allowed in ALLOWED.items():
        if platforms.why_not_native(precision) is not None:
            continue
        for name, function, arrays in operations(precision):
            # Step by step, a small program each, only what the others are made of.
            eagerly = precision == "float32" and name in ("lstm", "cross-entropy, none")
            expected, _, value = measure(function, arrays, eagerly)
            with distribution.scope():
                divided, text, divided_value = measure(function, arrays, eagerly, rows_divided(arrays, mesh))
            np.testing.assert_allclose(divided_value, value, rtol=allowed, atol=1e-5, err_msg=name)
            for a, b in zip(divided, expected, strict=True):
                # Sums over the rows are in another order, and fewer words may be computed by another kernel.
                limit = 1e-6 + allowed * float(jnp.abs(b).max())
                np.testing.assert_allclose(a, b, atol=limit, err_msg=f"{name}, {precision}")
            assert "all-gather" not in text, name
            assert text.count(" all-reduce(") <= 1, name
            found += 1
    # Each row is dropped as it is in the whole, wherever it is.
    for shape in ((6, 35), (2, 3, 31), (8, 1, 5), (4, 64)):
        x, seed = normal(*shape), jnp.asarray([1, 2])
        expected = dropped(x, seed)
        with distribution.scope():
            divided = dropped(x, seed)
        for a, b in zip(divided, expected, strict=True):
            np.testing.assert_array_equal(a, b)
    # Rows that do not divide are computed by each replica.
    odd = normal(3, 5)
    with distribution.scope():
        divided = dropout(odd, 0.4, seed)
    np.testing.assert_array_equal(divided, dropout(odd, 0.4, seed))
    assert found >= 6
    print("as on one device")


if __name__ == "__main__":
    main()
