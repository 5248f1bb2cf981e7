"""A network of the engine against the model in Keras: on the native library and in NumPy, and however it is asked."""

import concurrent.futures
import functools

import keras
import numpy as np
import pytest

from kerasptb.cells import CELLS
from kerasptb.engine import Network, entropies, open_network
from kerasptb.engine.quantized import Quantized, as_float32, quantize_rows
from kerasptb.models import LanguageModel
from kerasptb.models.portable import network_of
from kerasptb.native import NativeUnavailableError, loader

V, E, B, T = 67, 20, 19, 13
LAYERS = {
    "untied": {},
    "tied": {"tie_embeddings": True},
    "projection": {"projection": True},
    "tied projection": {"tie_embeddings": True, "projection": True},
}
# Of sums of some twenty products in float32, in another order; of logarithms of 67 probabilities.
HIDDEN, LOGS = 1e-6, 5e-6
# A norm makes differences of rounding larger, step by step: so far are Keras and NumPy from float64.
TIMES = {"layer_norm_lstm": 20}


class Example:
    """A model, and what it says of some tokens from some states, in plain Keras."""

    def __init__(self, cell, layers):
        units = (17, E if layers == "tied" else 23)
        how = {"backend": "keras", "init_scale": 0.6, "seed": 1, **LAYERS[layers]}
        self.model = LanguageModel(V, E, units, 3, 4, cell=cell, **how)
        random = np.random.default_rng(2)
        self.model.get_layer("logits").bias.assign(random.normal(size=V))
        self.tokens, self.targets = random.integers(0, V, (2, B, T)).astype("int32")
        sizes = CELLS[cell].state_sizes(units)
        self.states = random.uniform(-1, 1, (B, sum(sizes.values()))).astype("float32")
        self.hidden, self.logs, self.after = self._of_keras(list(sizes.values()))

    def _of_keras(self, sizes):
        parts = np.split(self.states, np.cumsum(sizes)[:-1], axis=1)
        state = keras.tree.pack_sequence_as(self.model.get_initial_state(B), parts)
        hidden, state = self.model.stateless_encode(keras.ops.convert_to_tensor(self.tokens), state)
        logits = np.float64(keras.ops.convert_to_numpy(self.model.get_layer("logits")(hidden)))
        logs = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
        after = [keras.ops.convert_to_numpy(each) for each in keras.tree.flatten(state)]
        return keras.ops.convert_to_numpy(hidden), logs, np.concatenate(after, axis=1)

    def network(self, backend="auto", precision="float32"):
        return network_of(self.model, backend=backend, precision=precision)


example = functools.cache(Example)


@pytest.fixture(params=["library", "NumPy"])
def open_example(request, native_library):
    """Returns an example, and its network on either."""

    def open(cell, layers="untied"):
        one = example(cell, layers)
        named = "auto" if CELLS[cell].why_no_kernels else "native"
        return one, one.network(named if request.param == "library" else "reference")

    return open


@pytest.mark.parametrize("layers", LAYERS)
@pytest.mark.parametrize("cell", CELLS)
def test_it_says_what_the_model_in_keras_says(open_example, cell, layers):
    (one, network), times = open_example(cell, layers), TIMES.get(cell, 1)
    assert (network.vocabulary_size, network.state_size) == (V, one.states.shape[1])
    hidden, after = network.encode(one.tokens, one.states)
    assert (hidden.dtype, after.dtype) == ("float32", "float32")
    np.testing.assert_allclose(hidden, one.hidden, atol=times * HIDDEN)
    np.testing.assert_allclose(after, one.after, atol=times * HIDDEN)
    np.testing.assert_allclose(network.hidden_after(after), one.hidden[:, -1], atol=times * HIDDEN)
    logs = network.log_probabilities(hidden.reshape(B * T, -1)).reshape(B, T, V)
    np.testing.assert_allclose(logs, one.logs, atol=times * LOGS)
    likelihoods, after_too = network.log_likelihoods(one.tokens, one.targets, one.states)
    expected = np.take_along_axis(one.logs, one.targets[..., None], 2)[..., 0]
    np.testing.assert_allclose(likelihoods, expected, atol=times * LOGS)
    np.testing.assert_array_equal(after_too, after)


@pytest.mark.parametrize("rows", [1, 2, 7, 8, 9, 16, B])
@pytest.mark.parametrize("pieces", [(1, 1, 11), (5, 8), (12, 1)])
@pytest.mark.parametrize(("cell", "layers"), [("lstm", "tied"), ("gru", "projection"), ("mogrifier", "untied")])
def test_any_rows_and_lengths(open_example, cell, layers, rows, pieces):
    one, network = open_example(cell, layers)
    states, start = one.states[:rows], 0
    for length in pieces:
        piece = slice(start, start + length)
        read, targets = one.tokens[:rows, piece], one.targets[:rows, piece]  # views with gaps
        hidden, after = network.encode(read, states)
        np.testing.assert_allclose(hidden, one.hidden[:rows, piece], atol=HIDDEN)
        values, _ = network.log_likelihoods(read, targets, states)
        expected = np.take_along_axis(one.logs[:rows, piece], targets[..., None], 2)[..., 0]
        np.testing.assert_allclose(values, expected, atol=LOGS)
        np.testing.assert_allclose(network.hidden_after(after), hidden[:, -1], atol=HIDDEN)
        states, start = after, start + length
    np.testing.assert_allclose(states, one.after[:rows], atol=HIDDEN)


@pytest.mark.parametrize("layers", LAYERS)
def test_likelihoods_are_the_probabilities_of_the_targets(open_example, layers):
    one, network = open_example("lstm", layers)
    hidden, _ = network.encode(one.tokens, one.states)
    hidden, targets = np.tile(hidden.reshape(B * T, -1), (3, 1)), np.tile(one.targets.reshape(-1), 3)  # 741 rows
    rows = network.log_probabilities(hidden)
    np.testing.assert_allclose(np.exp(rows, dtype="float64").sum(axis=1), 1, atol=1e-5)
    expected = rows[np.arange(len(rows)), targets]
    np.testing.assert_allclose(network.likelihoods_after(hidden, targets), expected, atol=LOGS)
    for few in (1, 3, 8):
        np.testing.assert_allclose(network.log_probabilities(hidden[:few]), rows[:few], atol=LOGS)
        np.testing.assert_allclose(network.likelihoods_after(hidden[:few], targets[:few]), expected[:few], atol=LOGS)


@pytest.mark.parametrize("layers", LAYERS)
@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("backend", ["auto", "reference"])
def test_matrices_in_8_bits_are_the_same_in_float32(native_library, cell, layers, backend):
    one, times = example(cell, layers), TIMES.get(cell, 1)
    weights = [Quantized(*quantize_rows(each)) if each.ndim > 1 else each for each in one.network().weights]
    if cell == "gru":  # whose biases are two
        weights = [as_float32(each) if each.shape[0] == 2 else each for each in weights]
    how = CELLS[cell], "tied" in layers.split()
    found = Network(how[0], weights, how[1], backend)
    expected = Network(how[0], [as_float32(each) for each in weights], how[1], "reference")
    for here, there in zip(found.weights, expected.weights, strict=True):
        np.testing.assert_array_equal(here, there)
    for rows, steps in ((0, 2), (1, 1), (2, 5), (3, 11), (B, 1), (B, T)):
        tokens, states = one.tokens[:rows, :steps], one.states[:rows]
        (hidden, after), (wanted, wanted_after) = (each.encode(tokens, states) for each in (found, expected))
        np.testing.assert_allclose(hidden, wanted, atol=times * HIDDEN)
        np.testing.assert_allclose(after, wanted_after, atol=times * HIDDEN)
        np.testing.assert_allclose(found.hidden_after(after), expected.hidden_after(after), atol=HIDDEN)
        flat, targets = wanted.reshape(rows * steps, -1 if rows else wanted.shape[2]), one.targets[:rows, :steps]
        np.testing.assert_allclose(found.log_probabilities(flat), expected.log_probabilities(flat), atol=LOGS)
        values, wanted_values = (each.log_likelihoods(tokens, targets, states)[0] for each in (found, expected))
        np.testing.assert_allclose(values, wanted_values, atol=times * LOGS)


@pytest.mark.parametrize("layers", LAYERS)
@pytest.mark.parametrize("shape", [(0, 3), (2, 0), (0, 0)])
def test_without_rows_or_steps(open_example, layers, shape):
    one, network = open_example("lstm", layers)
    rows, steps = shape
    tokens, states = one.tokens[:rows, :steps], one.states[:rows]
    hidden, after = network.encode(tokens, states)
    assert hidden.shape == (*shape, one.hidden.shape[2])
    np.testing.assert_array_equal(after, states)
    values, after = network.log_likelihoods(tokens, tokens, states)
    assert values.shape == shape
    np.testing.assert_array_equal(after, states)
    assert network.log_probabilities(hidden.reshape(0, hidden.shape[2])).shape == (0, V)
    assert network.hidden_after(one.states[:0]).shape == (0, one.hidden.shape[2])


@pytest.mark.parametrize(("precision", "tolerance"), [("bfloat16x3", 4e-5), ("bfloat16", 3e-2)])
@pytest.mark.parametrize("layers", ["untied", "tied"])
@pytest.mark.parametrize("cell", CELLS)
def test_other_precisions_are_near_to_float32(native_library, cell, layers, precision, tolerance):
    if (reason := loader.why_not_precision(precision)) is not None:
        pytest.skip(reason)
    one = example(cell, layers)
    expected, network = one.network("auto"), one.network("auto", precision)
    assert network.precision == precision
    hidden, after = network.encode(one.tokens, one.states)
    errors = [np.abs(hidden - one.hidden).max(), np.abs(after - one.after).max()]
    values, _ = network.log_likelihoods(one.tokens, one.targets, one.states)
    errors.append(np.abs(values - expected.log_likelihoods(one.tokens, one.targets, one.states)[0]).max())
    assert max(errors) < tolerance
    assert errors[-1] > 2e-7  # it is another one
    logs = network.log_probabilities(hidden.reshape(B * T, -1)).reshape(B, T, V)
    gathered = np.take_along_axis(logs, one.targets[..., None], 2)[..., 0]
    np.testing.assert_allclose(values, gathered, atol=tolerance)


def test_a_backend_that_is_named_is_the_one_that_runs(native_library):
    one = example("lstm", "untied")
    assert one.network("native").on_library and one.network("auto").on_library
    for backend in ("keras", "reference"):
        assert not one.network(backend).on_library
    for cell in ("mogrifier", "layer_norm_lstm"):
        with pytest.raises(NativeUnavailableError, match=CELLS[cell].why_no_kernels[:40]):
            example(cell, "untied").network("native")


def test_without_the_library_it_runs_in_numpy_unless_the_library_is_named(monkeypatch, tmp_path):
    for name in ("_open", "_load"):
        monkeypatch.setattr(loader, name, loader.Once(getattr(loader, name).do))
    monkeypatch.setenv("KERASPTB_CACHE", str(tmp_path))
    one = example("lstm", "tied")
    with pytest.raises(NativeUnavailableError, match=r'is not built\. .* Use backend="auto"\.'):
        one.network("native")
    with pytest.raises(NativeUnavailableError, match="is not built"):
        one.network("auto", "bfloat16")
    network = one.network()
    assert not network.on_library
    np.testing.assert_allclose(network.encode(one.tokens, one.states)[0], one.hidden, atol=HIDDEN)


def test_a_processor_without_a_precision_is_told(native_library, monkeypatch):
    monkeypatch.setattr(loader, "cpu_level", lambda: "avx2")
    with pytest.raises(NativeUnavailableError, match="needs a processor with AVX512-BF16 or AMX"):
        example("lstm", "untied").network("auto", "bfloat16")


@pytest.mark.parametrize("cell", ["lstm", "layer_norm_lstm"])
def test_several_threads_at_once_get_the_same(open_example, cell):
    one, network = open_example(cell, "projection")

    def ask(_):
        results = []
        for rows in (1, 5, B):
            tokens, targets, states = one.tokens[:rows], one.targets[:rows], one.states[:rows]
            hidden, after = network.encode(tokens, states)
            results += [hidden, after, network.hidden_after(after), network.log_probabilities(hidden[:, -1])]
            results.append(network.log_likelihoods(tokens, targets, states)[0])
            results.append(network.encode(tokens[:, :1], states)[1])
        return results

    expected = ask(None)
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        for found in pool.map(ask, range(12)):
            for here, there in zip(found, expected, strict=True):
                np.testing.assert_array_equal(here, there)


@pytest.mark.parametrize("layers", LAYERS)
def test_a_network_is_the_model_as_it_was(layers):
    model = LanguageModel(V, E, (5, E), 3, 4, seed=1, **LAYERS[layers])
    network, tokens = open_network(model), np.arange(12, dtype="int32").reshape(3, 4)
    states = np.zeros((3, network.state_size), "float32")
    before = network.log_likelihoods(tokens, tokens, states)[0]
    model.set_weights([weight + 1 for weight in model.get_weights()])
    np.testing.assert_array_equal(network.log_likelihoods(tokens, tokens, states)[0], before)
    assert np.abs(open_network(model).log_likelihoods(tokens, tokens, states)[0] - before).max() > 0.01
    assert open_network(network) is network


def test_its_parts_are_those_of_the_weights():
    one = example("cifg", "tied projection")
    network = one.network()
    assert isinstance(network, Network)
    assert network.units == [17, 23]
    assert network.state_sizes == {"h0": 17, "c0": 17, "h1": 23, "c1": 23}
    assert [[weight.shape for weight in layer] for layer in network.layers] == [
        [(E, 51), (17, 51), (51,)],
        [(17, 69), (23, 69), (69,)],
    ]
    assert [(kernel.shape, bias.shape) for kernel, bias in network.dense] == [((23, E), (E,)), ((E, V), (V,))]
    np.testing.assert_array_equal(network.kernel, network.embeddings.T)
    parts = [network.embeddings, *network.layers[0], *network.layers[1], *network.projection, network.kernel]
    for part, weight in zip([*parts, network.bias], network.weights, strict=True):
        np.testing.assert_array_equal(part, weight)


def test_entropies_are_in_bits():
    rows = np.log(np.array([[0.25] * 4, [0.5, 0.25, 0.125, 0.125]], "float32"))
    np.testing.assert_allclose(entropies(rows), [2, 1.75], rtol=1e-6)
