"""What this process can run, and what serves where a GPU is. The tests answer for the devices: none is needed."""

import importlib
from types import SimpleNamespace

import keras
import numpy as np
import pytest

import kerasptb
from kerasptb import info
from kerasptb.arguments import BatchArguments, TrainingArguments
from kerasptb.cells import CELLS
from kerasptb.data import Corpus, Vocabulary
from kerasptb.explanation import Explanation
from kerasptb.layers import FusedLSTM
from kerasptb.native import loader
from kerasptb.ops import linear_cross_entropy, lstm
from kerasptb.ops import platform as platforms
from kerasptb.ops.plan import choose
from kerasptb.ops.recurrence import plan as plan_recurrence
from kerasptb.training import training

OLD = "The CUDA kernels cannot run on GPU 0: needs compute capability 9.0 (thread-block clusters); this GPU has 8.0."


def arguments(units):
    shapes = (2, 3, 4), (2, units), (2, units), (4, 4 * units), (units, 4 * units), (4 * units,)
    return [np.zeros(shape, "float32") for shape in shapes]


def test_no_gpu_is_seen_where_none_is(native_library):
    if platforms.visible_gpus():
        pytest.skip("this machine has a GPU, and its driver answers")
    assert plan_recurrence(CELLS["lstm"], None, 10**6).implementation == "native"


def test_native_serves_a_gpu_that_its_kernels_can_run_on(gpus):
    gpus(None, None)
    assert platforms.why_not_native() is None
    assert choose("auto").implementation == "native"
    assert FusedLSTM(256).supports_jit
    assert "CUDA kernels up to 256 units" in info.collect()["lstm"]


@pytest.mark.parametrize("reasons", [(OLD,), (None, OLD[:-1] + ", the second.")])
def test_auto_passes_over_a_gpu_that_they_cannot_run_on(gpus, reasons):
    gpus(*reasons)
    assert choose("auto").implementation == "keras"
    with pytest.raises(loader.NativeUnavailableError, match=r"needs compute capability 9\.0.*backend='native'"):
        choose("native")
    assert info.collect()["lstm"].startswith('backend="auto" runs cuDNN through keras.layers.LSTM: The CUDA kernels')


def test_with_pytorch_they_are_for_processors(native_library, monkeypatch):
    monkeypatch.setattr(platforms, "ON_TENSORFLOW", False)
    monkeypatch.setattr(platforms, "ON_TORCH", True)
    for device, numbers in (("cpu", []), ("cuda", [0]), ("mps", [0])):
        monkeypatch.setattr(platforms, "torch_device", lambda device=device: device)
        assert platforms.visible_gpus() == numbers
        expected = f"With Keras on PyTorch the native kernels are for processors. Received: {device}."
        assert platforms.why_not_native() == (expected if numbers else None)


def test_bfloat16x3_is_for_processors(gpus):
    gpus(None)
    for backend in ("auto", "native"):
        with pytest.raises(loader.NativeUnavailableError, match=r"bfloat16x3.* is for CPUs"):
            choose(backend, "bfloat16x3")
        with pytest.raises(loader.NativeUnavailableError, match=r"bfloat16x3.* is for CPUs"):
            FusedLSTM(257, backend=backend, precision="bfloat16x3")


def test_bfloat16_takes_as_many_units_as_every_gpu_has_room_for(gpus, monkeypatch):
    most = {0: 512, 1: 256}
    monkeypatch.setattr(
        loader, "cuda_max_units", lambda precision="float32", device=0: 256 if precision == "float32" else most[device]
    )
    gpus(None)
    for backend in ("auto", "native"):
        assert choose(backend, "bfloat16").implementation == "native"
        assert FusedLSTM(512, backend=backend, precision="bfloat16").supports_jit
        # Nothing else has this precision, so "auto" has nothing to choose.
        with pytest.raises(ValueError, match=r'at most 512 units in bfloat16.* units=513\. Use precision="float32"'):
            FusedLSTM(513, backend=backend, precision="bfloat16")
    assert "up to 256 units, cuDNN" in info.collect()["lstm"]
    assert 'with precision="bfloat16" they take up to 512' in info.collect()["lstm"]
    gpus(None, None)
    assert platforms.max_units("bfloat16") == 256
    with pytest.raises(ValueError, match=r"at most 256 units in bfloat16 on this GPU\. Received: units=257"):
        lstm(*arguments(257), precision="bfloat16")
    # What is wrong with the GPU itself comes first.
    gpus(OLD)
    with pytest.raises(loader.NativeUnavailableError, match=r"needs compute capability 9\.0"):
        FusedLSTM(513, backend="auto", precision="bfloat16")


def test_without_a_driver_there_is_no_room_for_more_than_256_units(native_library):
    if loader.why_not_cuda() is None:
        pytest.skip("this machine has a GPU, and its driver answers")
    assert loader.cuda_max_units("bfloat16") == loader.cuda_max_units("float32") == 256


@pytest.mark.parametrize("words", [0, 50])
def test_linear_cross_entropy_in_bfloat16_on_a_gpu_rounds_the_operands_of_its_products(gpus, words):
    import tensorflow as tf

    generator = np.random.default_rng(words)
    h, kernel, bias = (generator.normal(size=shape).astype("float32") for shape in ((words, 12), (12, 70), (70,)))
    targets = generator.integers(0, 70, words)
    gpus(None)

    def loss_and_gradients(h, kernel, **options):
        tensors = [tf.constant(x) for x in (h, kernel, bias)]
        with tf.GradientTape() as tape:
            tape.watch(tensors)
            loss = linear_cross_entropy(*tensors, targets, reduction="sum", **options)
        return [loss, *tape.gradient(loss, tensors)]

    found = loss_and_gradients(h, kernel, precision="bfloat16")
    rounded = (tf.cast(tf.cast(x, "bfloat16"), "float32").numpy() for x in (h, kernel))
    expected = loss_and_gradients(*rounded, backend="reference")
    exact = loss_and_gradients(h, kernel, backend="reference")
    # The gradient of the logits is rounded, too, before the gradients of h and of the kernel are computed from it.
    for value, of_rounded, wanted, tolerance in zip(found, expected, exact, (1e-6, 5e-3, 5e-3, 1e-6), strict=True):
        size = np.linalg.norm(wanted)
        assert np.linalg.norm(value - of_rounded) <= tolerance * size
        assert words == 0 or 1e-5 * size < np.linalg.norm(value - wanted) < 2e-2 * size


def test_more_units_than_the_kernels_take_on_a_gpu(gpus):
    gpus(None)
    most = loader.cuda_max_units()
    assert most == 256
    assert lstm(*arguments(most), backend="native")[0].shape == (2, 3, most)
    for call in (lambda: lstm(*arguments(most + 1), backend="native"), lambda: FusedLSTM(257, backend="native")):
        with pytest.raises(ValueError, match=r"at most 256 units in float32 on this GPU\. Received: units=257"):
            call()
    assert lstm(*arguments(most + 1), backend="auto")[0].shape == (2, 3, most + 1)
    layer = FusedLSTM(most + 1)
    assert layer(np.zeros((2, 3, 4), "float32")).shape == (2, most + 1)


def test_on_a_gpu_masks_of_the_inputs_are_the_framework_s(gpus, monkeypatch):
    """Its kernels take no masks; those of the inputs, of each gate, are factors of the products around them."""
    import tensorflow as tf

    native = importlib.import_module("kerasptb.ops.native_recurrence")
    generator, handed, call = np.random.default_rng(0), [], native.call
    inputs = [tf.constant(generator.normal(size=x.shape), "float32") for x in arguments(5)]
    mask = tf.constant(2 * generator.integers(0, 2, (4, 2, 4)), "float32")
    monkeypatch.setattr(
        native, "call", lambda target, given, *rest, **kw: handed.append(len(given)) or call(target, given, *rest, **kw)
    )
    gpus(None)

    def values_and_gradients(backend):
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            outputs = lstm(*inputs, backend=backend, input_mask=mask)
            total = tf.add_n([tf.reduce_sum(x**2) for x in outputs])
        return [*outputs, *tape.gradient(total, inputs)]

    for found, expected in zip(*map(values_and_gradients, ("native", "reference")), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
    assert handed == [5, 7]  # forward, backward: nothing of `SpecialSteps`
    with pytest.raises(ValueError, match=r"On a GPU the native backend takes no masks\. Received: recurrent_mask"):
        lstm(*inputs, backend="native", recurrent_mask=tf.ones((2, 5)))


def test_on_a_gpu_dropout_of_the_recurrence_is_keras_and_evaluation_native(gpus):
    gpus(None)
    layer = FusedLSTM(5, recurrent_dropout=0.5)
    assert "takes no masks. Received: recurrent_mask." in layer.plan().reason
    assert layer.plan(training=False).implementation == "native_recurrence"
    assert FusedLSTM(5, dropout=0.5).plan().implementation == "native_recurrence"


def test_library_without_cuda_code(native_library, monkeypatch):
    monkeypatch.setattr(platforms, "visible_gpus", lambda: [0])
    monkeypatch.setattr(loader.build, "cuda_problem", lambda path: "No nvcc was found when it was built.")
    reason = "The native library has no CUDA code. No nvcc was found when it was built."
    assert platforms.why_not_native() == reason
    assert choose("auto").implementation == "keras"
    assert info.collect()["cuda"] == reason
    assert reason in info.describe(info.collect())


def test_step_is_compiled_on_a_gpu_if_every_layer_is_native(gpus, monkeypatch):
    from kerasptb.models import LanguageModel

    asked = []
    monkeypatch.setattr(keras.Model, "compile", lambda self, jit_compile, **_: asked.append(jit_compile))
    LanguageModel(9, 4, 4, 2, 3).compile()
    gpus(None)
    model = LanguageModel(9, 4, 4, 2, 3)
    model.compile()
    assert asked == [True, "auto"]  # "auto" asks each layer
    assert all(layer.supports_jit for layer in model.layers)


def test_what_only_keras_serves_is_trained_in_a_step_that_xla_compiles(gpus, monkeypatch):
    # Keras would choose cuDNN, which XLA cannot compile. Without a GPU that choice is an error, too.
    rnn = importlib.import_module("keras.src.backend.tensorflow.rnn")
    monkeypatch.setattr(rnn, "_is_gpu_available", lambda: True)
    gpus(None)
    layers = [keras.layers.Embedding(9, 4, mask_zero=True), FusedLSTM(5), keras.layers.Dense(9)]
    model = keras.Sequential([keras.Input((3,), dtype="int32"), *layers])
    assert layers[1].supports_jit  # only a call shows that it has a mask
    assert not FusedLSTM(5, dtype="float64").supports_jit  # here it is known before
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True), jit_compile=True)
    tokens = np.array([[1, 2, 0], [3, 0, 0]], "int32")
    assert np.isfinite(model.fit(tokens, np.array([1, 2]), verbose=0).history["loss"]).all()


def test_a_gpu_takes_a_training_step_as_one_chunk(gpus, monkeypatch):
    module, chunks = importlib.import_module("kerasptb.ops.chunked_cross_entropy"), []
    chunking = module._chunking
    monkeypatch.setattr(module, "_chunking", lambda *args: chunks.append(chunking(*args)) or chunks[-1])
    h, bias = np.zeros((1200, 1), "float32"), np.zeros(10_000, "float32")
    for see in (None, lambda: gpus(None)):
        if see:
            see()
        linear_cross_entropy(h, np.zeros((1, 10_000), "float32"), bias, np.zeros(1200, "int32"), backend="keras")
    assert [count for _, count, _ in chunks] == [6, 1]


@pytest.mark.parametrize(("level", "slow"), [("avx512bf16", True), ("amx", False)])
def test_precision_that_brings_nothing_is_said_to(native_library, monkeypatch, capsys, tmp_path, level, slow):
    monkeypatch.setattr(loader, "cpu_level", lambda: level)
    note = "slower than float32 on this processor, which has AVX512-BF16 but no AMX"
    assert platforms.drawback("bfloat16x3") == (note if slow else None)
    assert platforms.drawback("bfloat16") is None
    assert (f"native, bfloat16x3   yes, but {note}\n" in info.describe(info.collect())) == slow
    arguments = {"backend": "auto", "precision": "bfloat16x3", "layers": [FusedLSTM(1)], "seed": 1}
    model = SimpleNamespace(**arguments, count_params=lambda: 1)
    ids = np.zeros(3, "int32")
    corpus = Corpus(ids, ids, ids, Vocabulary(["a"]), "text", "a text")
    training_arguments = TrainingArguments(preset="notebook", epochs=1)
    settings = SimpleNamespace(training=training_arguments, batches=BatchArguments(), choices=[])
    run = SimpleNamespace(settings=settings, folder=tmp_path)
    monkeypatch.setattr(training, "explain", lambda model: Explanation())
    training._explain(run, SimpleNamespace(corpus=corpus, model=model), print)
    assert (f"Precision bfloat16x3 is {note}." in capsys.readouterr().out) == slow


def test_the_operations_stand_under_their_names_whatever_is_imported(monkeypatch):
    module = importlib.import_module("kerasptb.ops.lstm")
    assert kerasptb.ops.lstm is module.lstm is lstm
    assert {"gru", "lstm", "linear_cross_entropy"} <= set(dir(kerasptb.ops))
    monkeypatch.setattr(kerasptb.ops, "lstm", len)
    assert kerasptb.ops.lstm is len
    with pytest.raises(AttributeError, match=r"'kerasptb\.ops' has no attribute 'rnn'"):
        _ = kerasptb.ops.rnn
