"""What runs, as tables: plans are functions of shapes, dtypes, precision, backend and platform."""

import functools
import importlib
import inspect
import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerasptb.cells import CELLS
from kerasptb.layers import Dense, Dropout, FusedLSTM, StatefulLSTM
from kerasptb.native import NativeUnavailableError, loader
from kerasptb.ops.clipped_adamw import plan as plan_clipped_adamw
from kerasptb.ops.clipped_sgd import plan as plan_clipped_sgd
from kerasptb.ops.dropout import plan as plan_dropout
from kerasptb.ops.global_norm import plan as plan_global_norm
from kerasptb.ops.linear_cross_entropy import plan as plan_cross_entropy
from kerasptb.ops.logits import LogitFactors
from kerasptb.ops.plan import Plan, check_names, choose, default_precision
from kerasptb.ops.platform import Platform, this_process
from kerasptb.ops.recurrence import plan as plan_recurrence

plan_lstm = functools.partial(plan_recurrence, CELLS["lstm"])
WITHOUT = "The library is not built."
recurrence_module, cross_entropy_module, dropout_module, global_norm_module, sgd_module = (
    importlib.import_module(f"kerasptb.ops.{name}")
    for name in ("recurrence", "linear_cross_entropy", "dropout", "global_norm", "clipped_sgd")
)


def platform(gpu=False, missing=(), max_units=(256, 512), few_words=39):
    """A platform that lacks some precisions, or all of them if it is a string."""

    def why_not_native(precision):
        return missing if isinstance(missing, str) else f"No {precision}." if precision in missing else None

    return Platform(
        gpu,
        why_not_native,
        max_units=lambda precision: max_units[precision == "bfloat16"],
        few_words_limit=lambda features, vocabulary_size: few_words,
    )


CPU, GPU, BARE = platform(), platform(gpu=True), platform(missing=WITHOUT)
AVX2 = platform(missing=("bfloat16", "bfloat16x3"), few_words=18)
EACH_GATE = {"each_gate": True}
MIXED = keras.dtype_policies.get("mixed_bfloat16")

# (shape, units, options, platform) -> implementation, what the reason says
LSTM = [
    ((60, 20, 200), 256, {}, CPU, "native", None),
    ((None, 20, 200), 256, {}, CPU, "native", None),
    (None, 256, {"precision": "bfloat16x3"}, CPU, "native", None),
    ((60, None, 200), 256, {}, CPU, "native", None),
    ((None, None, 200), 256, {"precision": "bfloat16"}, CPU, "native", None),
    ((60, None, 200), 256, {}, GPU, "keras", "static shapes"),
    ((60, 20, None), 256, {}, CPU, "keras", "static shapes"),
    ((60, 20, 200), 256, {"masks": ("mask", "resets", "recurrent_mask")}, CPU, "native", None),
    ((60, 20, 200), 256, {"masks": ("recurrent_mask",), **EACH_GATE}, CPU, "native_recurrence", "of each gate"),
    ((60, 20, 200), 256, {"masks": ("mask", "input_mask"), **EACH_GATE}, CPU, "native_recurrence", "of each gate"),
    ((60, 20, 200), 256, {"masks": ("mask", "input_mask"), **EACH_GATE, "precision": "bfloat16"}, CPU, "native", None),
    ((60, 20, 200), 256, {}, GPU, "native_recurrence", "On a GPU"),
    ((60, 20, 200), 256, {"masks": ("input_mask",), **EACH_GATE}, GPU, "native_recurrence", "On a GPU"),
    ((60, 20, 200), 256, {"masks": ("input_mask", "recurrent_mask"), **EACH_GATE}, GPU, "keras", ": recurrent_mask"),
    ((60, 20, 200), 256, {"masks": ("mask", "resets")}, GPU, "keras", "no masks. Received: mask, resets"),
    (
        (60, 20, 200),
        256,
        {"masks": ("recurrent_mask",), **EACH_GATE, "backend": "reference"},
        CPU,
        "reference",
        "was named",
    ),
    ((60, 20, 0), 256, {}, CPU, "keras", "without zeros"),
    ((60, 20, 200), 256, {"dtype": "float16"}, CPU, "keras", "takes float32"),
    ((60, 20, 200), 256, {}, BARE, "keras", WITHOUT),
    ((60, 20, 200), 256, {"backend": "keras"}, CPU, "keras", "was named"),
    ((60, 20, 200), 256, {"backend": "reference", "dtype": "float64"}, BARE, "reference", "was named"),
    ((60, 20, 200), 256, {"limit": "Not this layer."}, CPU, "keras", "Not this layer."),
    ((None, 20, 200), 256, {"precision": "bfloat16"}, GPU, "native_recurrence", "On a GPU"),
    (None, 257, {}, GPU, "keras", "at most 256 units in float32"),
    (None, 512, {"precision": "bfloat16"}, GPU, "native_recurrence", "On a GPU"),
    (None, 513, {"precision": MIXED}, GPU, "keras", "at most 512 units in bfloat16"),  # no precision was named
    ((60, 20, 0), 256, {"precision": MIXED}, CPU, "keras", "without zeros"),
]

LSTM_ERRORS = [
    ((60, 20, 200), 256, {"backend": "native"}, BARE, NativeUnavailableError, WITHOUT),
    ((60, 20, 200), 256, {"precision": "bfloat16"}, AVX2, NativeUnavailableError, "No bfloat16"),
    ((None, 20, None), 256, {"precision": "bfloat16"}, CPU, ValueError, "static shapes"),
    ((60, None, 200), 256, {"backend": "reference"}, CPU, ValueError, "static number of steps"),
    ((60, 20, 0), 256, {"backend": "native"}, CPU, ValueError, 'Use backend="auto" or "keras"'),
    (None, 513, {"precision": "bfloat16"}, GPU, ValueError, 'at most 512 units.*Use precision="float32"'),
    (None, 4, {"backend": "keras", "precision": "bfloat16"}, CPU, ValueError, "only with backend"),
    (None, 4, {"backend": "reference", "limit": "Not this layer."}, CPU, ValueError, "Not this layer. Use"),
    (None, 4, {"backend": "native", "precision": MIXED}, AVX2, NativeUnavailableError, "No bfloat16"),
]

CROSS_ENTROPY = [
    ((1200, 128), {}, CPU, "native", None),
    ((1200, 650), {}, CPU, "native", None),
    ((1200, 651), {}, CPU, "native_softmax", "above 650 features. Received: 651"),
    ((39, 1500), {}, CPU, "native", None),
    ((40, 1500), {}, CPU, "native_softmax", "above 650"),
    ((18, 1500), {}, AVX2, "native", None),
    ((19, 1500), {}, AVX2, "native_softmax", "above 650"),  # the limit of that processor's registers, not of AVX-512's
    ((1200, 1500), {"precision": "bfloat16"}, CPU, "native", None),
    ((1200, 128), {}, GPU, "native_softmax", "On a GPU"),
    ((None, 128), {}, CPU, "native", None),
    ((60, None, 1500), {"precision": "bfloat16"}, CPU, "native", None),
    ((None, 1500), {}, CPU, "native", None),
    ((None, 128), {}, GPU, "keras", "static shapes"),
    ((1200, None), {}, CPU, "keras", "static shapes"),
    ((1200, 128), {"dtype": "float64"}, CPU, "keras", "takes float32"),
    ((1200, 128), {}, BARE, "keras", WITHOUT),
    ((1200, 128), {"backend": "reference"}, BARE, "reference", "was named"),
    ((None, 128), {"precision": MIXED}, GPU, "keras", "static shapes"),  # no precision was named
]


def x(*shape, dtype="float32"):
    return np.zeros(shape, dtype)


def check(plan, implementation, reason):
    assert plan.implementation == implementation
    assert (plan.reason is None) == (reason is None)
    assert reason is None or reason in plan.reason
    assert plan.is_native == implementation.startswith("native")
    assert plan.backend == implementation.partition("_")[0]


@pytest.mark.parametrize(("shape", "units", "options", "where", "implementation", "reason"), LSTM)
def test_lstm(shape, units, options, where, implementation, reason):
    plan = plan_lstm(shape, units, **options, platform=where)
    check(plan, implementation, reason)
    assert plan.platform == ("gpu" if where is GPU else "cpu")
    if options.get("precision") is MIXED:
        assert plan.precision == "float32"


def test_the_precision_of_a_policy_is_planned():
    assert plan_lstm(None, 4, precision=MIXED, platform=CPU) == Plan("native", "bfloat16")
    assert plan_lstm(None, 4, precision=MIXED, platform=AVX2) == Plan("native")
    assert plan_cross_entropy((1200, 1500), 9, precision=MIXED, platform=CPU) == Plan("native", "bfloat16")
    softmax = plan_cross_entropy((1200, 1500), 9, precision=MIXED, platform=AVX2)
    assert softmax[:3] == ("native_softmax", "float32", "cpu")


@pytest.mark.parametrize(("shape", "units", "options", "where", "error", "message"), LSTM_ERRORS)
def test_a_named_lstm_never_falls_back(shape, units, options, where, error, message):
    with pytest.raises(error, match=message):
        plan_lstm(shape, units, **options, platform=where)


@pytest.mark.parametrize(("shape", "options", "where", "implementation", "reason"), CROSS_ENTROPY)
def test_linear_cross_entropy(shape, options, where, implementation, reason):
    check(plan_cross_entropy(shape, 10_000, **options, platform=where), implementation, reason)


@pytest.mark.parametrize(
    ("plan", "arguments", "where", "implementation", "reason"),
    [
        (plan_dropout, [(60, 20, 200)], CPU, "native", None),
        (plan_dropout, [(60, 20, 200), "bfloat16"], CPU, "native", None),
        (plan_dropout, [(60, 20, 200), "float64"], CPU, "keras", "float32"),
        (plan_dropout, [(None, None, 200)], CPU, "native", None),
        (plan_dropout, [(60, 20, None)], CPU, "keras", "static"),
        (plan_dropout, [(None,)], CPU, "keras", "static"),
        (plan_dropout, [None], GPU, "keras", "for processors"),
        (plan_dropout, [None], BARE, "keras", WITHOUT),
        (plan_global_norm, [[(3, 4), ()]], CPU, "native", None),
        (plan_global_norm, [[(3, 4), (None, 4)]], CPU, "keras", "static"),
        (plan_global_norm, [[(3, 4)]], GPU, "keras", "for processors"),
        (plan_clipped_sgd, [[(3, 4)], ["float32"], [True]], CPU, "native", None),
        (plan_clipped_sgd, [[(3,), (3,)], ["float32"] * 2, [True, False]], CPU, "keras", "rows of matrices"),
        (plan_clipped_sgd, [[(3,)], ["float64"], [False]], CPU, "keras", "float32 weights"),
        (plan_clipped_sgd, [[(3,)], ["float32"], [False]], GPU, "keras", "for processors"),
        (plan_clipped_adamw, [[(3, 4), ()], ["float32"] * 2, [True, False]], CPU, "native", None),
        (plan_clipped_adamw, [[(3, 4), (3,)], ["float32"] * 2, [False, True]], CPU, "keras", "rows of matrices"),
        (plan_clipped_adamw, [[(3,), ()], ["float32", "float64"], [False] * 2], CPU, "keras", "float32 weights"),
        (plan_clipped_adamw, [[(3,)], ["float32"], [False]], GPU, "keras", "for processors"),
        (plan_clipped_adamw, [[(3,)], ["float32"], [False]], BARE, "keras", WITHOUT),
    ],
)
def test_others(plan, arguments, where, implementation, reason):
    check(plan(*arguments, platform=where), implementation, reason)


@pytest.mark.parametrize(
    "plan", [plan_dropout, plan_global_norm, plan_clipped_sgd, plan_clipped_adamw, plan_lstm, plan_cross_entropy]
)
def test_plans_are_asked_alike(plan):
    first, *others = inspect.signature(plan).parameters.values()
    assert first.name in ("shape", "shapes")
    named = {parameter.name: parameter for parameter in others if parameter.kind is parameter.KEYWORD_ONLY}
    assert (named["backend"].default, named["platform"].default) == ("auto", None)
    assert list(named)[-1] == "platform"


@pytest.mark.parametrize("where", ["cpu", "gpu"])
def test_who_runs_a_plan_asks_nothing(native_library, monkeypatch, where):
    """The GPU's implementations run here on the processor's side of the same handlers, where no GPU is seen."""
    monkeypatch.setattr("kerasptb.ops.platform.visible_gpus", lambda: pytest.fail("asked"))
    monkeypatch.setattr("kerasptb.ops.platform.this_process", lambda: pytest.fail("asked"))
    of_lstm = [x(2, 3, 4), x(2, 5), x(2, 5), x(4, 20), x(5, 20), x(20)]
    of_cross_entropy = [x(2, 3), x(3, 4), x(4), x(2, dtype="int32")]
    weights, rate = [tf.ones((2, 3))], 0.5
    for backend in ("reference", "keras", "native", "native_recurrence"):
        inputs, h, c, *weights_of_lstm = map(tf.constant, of_lstm)
        h_seq, *_ = recurrence_module.run(Plan(backend, platform=where), CELLS["lstm"], inputs, [h, c], weights_of_lstm)
        np.testing.assert_array_equal(h_seq, x(2, 3, 5))
    for backend in ("reference", "keras", "native", "native_softmax"):
        loss, _ = cross_entropy_module.run(Plan(backend, platform=where), *map(tf.constant, of_cross_entropy))
        np.testing.assert_allclose(loss, np.log([4, 4]), rtol=1e-6)
    for backend in ("reference", "keras", "native"):
        plan = Plan(backend, platform=where)
        seeds = keras.random.SeedGenerator(1)
        assert set(np.unique(dropout_module.run(plan, tf.ones(100), rate, seeds))) == {0, 2}
        np.testing.assert_allclose(global_norm_module.run(plan, weights), 6**0.5, rtol=1e-6)
        (stepped,), _ = sgd_module.run(plan, weights, weights, 1.0, 6**0.5 / 2)
        np.testing.assert_allclose(stepped, np.full((2, 3), 0.5), rtol=1e-6)


def test_choose_is_the_rule():
    assert choose("auto", platform=CPU) == Plan("native")
    assert choose("auto", "bfloat16", platform=CPU) == Plan("native", "bfloat16")
    assert choose("auto", limit="No.", platform=CPU) == Plan("keras", reason="No.")
    with pytest.raises(ValueError, match=r"No\. Use backend=\"auto\" or \"keras\"\. Received: backend='native'"):
        choose("native", limit="No.", platform=CPU)
    with pytest.raises(ValueError, match="must be one of"):
        check_names("cuda", "float32")
    with pytest.raises(ValueError, match="must be one of"):
        check_names("auto", "float64")


@pytest.mark.parametrize(
    ("policy", "backend", "where", "precision"),
    [
        ("mixed_bfloat16", "auto", CPU, "bfloat16"),
        ("mixed_bfloat16", "auto", AVX2, "float32"),
        ("mixed_bfloat16", "native", AVX2, "bfloat16"),  # raises later, and says why
        ("mixed_bfloat16", "keras", CPU, "float32"),
        ("bfloat16", "auto", CPU, "float32"),
        ("float32", "auto", CPU, "float32"),
    ],
)
def test_default_precision(policy, backend, where, precision):
    assert default_precision(backend, keras.dtype_policies.get(policy), where) == precision


@pytest.mark.parametrize(
    ("layer", "implementation", "reason"),
    [
        (lambda: FusedLSTM(4), "native", None),
        (lambda: StatefulLSTM(4), "native", None),
        (lambda: FusedLSTM(4, dtype="float64"), "keras", "Received: dtype policy float64"),
        (lambda: FusedLSTM(4, dtype="bfloat16"), "keras", "Received: dtype policy bfloat16"),
        (lambda: FusedLSTM(4, dtype="mixed_float16"), "native", None),
        (lambda: FusedLSTM(4, use_bias=False, go_backwards=True, unroll=True), "native", None),
        (lambda: FusedLSTM(4, dropout=0.5), "native", None),
        (lambda: FusedLSTM(4, dropout=0.5, implementation=1), "native_recurrence", "masks of each gate"),
        (lambda: FusedLSTM(4, dropout=0.5, recurrent_dropout=0.5, shared_recurrent_dropout=True), "native", None),
        (lambda: FusedLSTM(4, activation="relu"), "keras", "LSTM with activation='relu'"),
        (lambda: FusedLSTM(4, recurrent_dropout=0.5), "native_recurrence", "masks of each gate"),
        (lambda: FusedLSTM(4, recurrent_dropout=0.5, shared_recurrent_dropout=True), "native", None),
        (lambda: FusedLSTM(4, recurrent_kernel_dropout=0.5), "native", None),
        (lambda: FusedLSTM(4, backend="keras"), "keras", "was named"),
        (lambda: Dropout(0.5), "native", None),
        (lambda: Dropout(0.5, dtype="float64"), "keras", "float32"),
        (lambda: Dropout(0.5, noise_shape=(None, 1, None)), "native", None),
    ],
)
def test_layers_tell_what_runs(native_library, layer, implementation, reason):
    layer = layer()
    plan = layer.plan()
    check(plan, implementation, reason)
    if isinstance(layer, FusedLSTM):
        assert layer.plan().backend == plan.backend


def test_a_call_may_have_what_the_layer_does_not_know(native_library):
    layer = FusedLSTM(4)
    check(layer.plan((2, None, 4), mask=True, resets=True), "native", None)
    check(layer.plan((2, 3, 0)), "keras", "static shapes")
    check(FusedLSTM(4, recurrent_dropout=0.5).plan((2, 3, 4), training=False), "native", None)
    with pytest.raises(ValueError, match="static shapes"):
        FusedLSTM(4, backend="native").plan((2, 3, 0))


@pytest.mark.parametrize("training", [False, True], ids=["evaluated", "trained"])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"dropout": 0.5},
        {"dropout": 0.5, "implementation": 1},
        {"recurrent_dropout": 0.5},
        {"recurrent_dropout": 0.5, "shared_recurrent_dropout": True},
        {"recurrent_dropout": 0.5, "precision": "bfloat16"},
        {"recurrent_dropout": 0.5, "dtype": "mixed_float16"},
        {"activation": "relu"},
    ],
    ids=str,
)
def test_what_is_told_is_what_runs(skip_without, monkeypatch, options, training):
    skip_without(options.get("precision", "float32"))
    native, targets = importlib.import_module("kerasptb.ops.native_recurrence"), []
    call = native.call
    monkeypatch.setattr(native, "call", lambda target, *rest, **kw: targets.append(target) or call(target, *rest, **kw))
    layer = FusedLSTM(4, **options)
    layer(x(2, 3, 5), training=training)
    told = layer.plan((2, 3, 5), training=training)
    names = {"native": "lstm", "native_recurrence": "lstm_recurrence"}
    expected = [f"kerasptb_{names[told.implementation]}_inference_{told.precision}"] if told.is_native else []
    assert targets == expected


def test_dropout_tells_of_a_noise_shape_that_is_keras_own(native_library):
    layer = Dropout(0.5, noise_shape=(3, 1))
    check(layer.plan((2, 3)), "native", None)
    check(layer.plan((2, 3, 1)), "keras", "as many dimensions as the inputs. Received: noise_shape=(3, 1)")


def test_the_layer_over_the_vocabulary_tells_what_computes_its_cross_entropy(native_library):
    check(Dense(100).plan((60, 20, 128)), "native", None)
    check(Dense(100).plan((60, 20, 1500)), "native_softmax", "1500")
    check(Dense(100, dtype="float64").plan((60, 20, 128)), "keras", "float64")


def test_the_limit_of_few_words_is_the_library_s_own(native_library):
    limit = this_process().few_words_limit(1500, 10_000)
    assert limit == loader.few_words_limit(1500, 10_000)
    # The plan follows it, whatever the processor.
    assert plan_cross_entropy((limit, 1500), 10_000).implementation == "native"
    assert plan_cross_entropy((limit + 1, 1500), 10_000).implementation == "native_softmax"


@pytest.fixture
def told(monkeypatch):
    """Runs calls as in a process that has not warned yet, and returns the warnings."""
    monkeypatch.setattr("kerasptb.ops.plan._reported", set())

    def run(*calls):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            for call in calls:
                call()
        return [str(warning.message) for warning in caught]

    return run


def in_symbolic_scope(layer):
    with keras.SymbolicScope():
        layer(x(2, 3, 5))


def mean_of(layer, shape):
    return keras.ops.mean(layer(x(*shape), training=True))


def test_what_the_user_can_change_is_warned_of_once(native_library, told):
    weights = [x(*shape, dtype="float64") for shape in ((2, 4), (4, 7), (7,))]
    calls = [
        lambda: FusedLSTM(4, activation="relu")(x(2, 3, 5)),
        lambda: mean_of(Dropout(0.5, dtype="float64"), (2, 3)),
        lambda: LogitFactors(*weights).cross_entropy(x(2, dtype="int32")),
        lambda: FusedLSTM(4, dtype="float64")(x(2, 3, 5)),  # for the reason of the cross-entropy
    ]
    of_lstm, of_dropout, of_cross_entropy = told(*calls, *calls)
    assert "kernels: Only Keras' loop serves an LSTM with activation=" in of_lstm
    assert "kernels: Native dropout is in float32. Received: dtype=float64. (If Keras' own" in of_dropout
    assert "kernels: The native backend takes float32. Received: dtype=float64. (If Keras' own" in of_cross_entropy


def test_what_is_received_makes_no_other_reason(native_library, told):
    layer = Dropout(0.5)

    def traced(*shape):
        function = tf.function(lambda x: layer(x, training=True))
        return lambda: function.get_concrete_function(tf.TensorSpec(shape))

    (found,) = told(traced(2, 3, None), traced(3, 3, None), traced(2, None, None))
    assert "needs static shapes. Received: shape=(2, 3, None)." in found


def test_a_library_that_is_missing_is_warned_of_once(told, monkeypatch):
    reason = "No C++ compiler was found. Run `kerasptb build`."
    monkeypatch.setattr("kerasptb.ops.platform.why_not_native", lambda precision="float32": reason)
    monkeypatch.setattr("kerasptb.ops.platform.this_process", lambda: platform(missing=reason))
    lstm, dropout = FusedLSTM(4, return_sequences=True), Dropout(0.5)
    mixed = FusedLSTM(4, dtype="mixed_bfloat16")
    factors = LogitFactors(x(2, 3, 4), x(4, 7), x(7))
    calls = [lambda: lstm(x(2, 3, 5)), lambda: mean_of(dropout, (2, 3)), lambda: mixed(x(2, 3, 5))]
    (found,) = told(*calls, lambda: factors.cross_entropy(x(2, 3, dtype="int32")))
    assert reason in found


@pytest.mark.parametrize(
    "call",
    [
        lambda: FusedLSTM(4, activation="relu", backend="keras")(x(2, 3, 5)),
        lambda: FusedLSTM(4, backend="reference")(x(2, 3, 5)),
        lambda: FusedLSTM(4)(x(2, 3, 5)),
        lambda: in_symbolic_scope(FusedLSTM(4, activation="relu")),
        lambda: FusedLSTM(4, activation="relu").plan((2, 3, 5)),
        lambda: Dropout(0.5, dtype="float64")(x(2, 3)),
    ],
    ids=["keras named", "reference named", "native", "symbolic", "plan", "no dropout"],
)
def test_what_needs_no_warning(native_library, told, call):
    assert told(call) == []


def test_a_gpu_needs_no_warning(native_library, told, gpus):
    gpus("The GPU is too old.")
    assert told(lambda: FusedLSTM(4, activation="relu")(x(2, 3, 5))) == []


def test_an_export_needs_no_warning(native_library, told, tmp_path):
    model = keras.Sequential([keras.Input((3, 5)), FusedLSTM(4, activation="relu")])
    assert [text for text in told(lambda: model.export(tmp_path, verbose=False)) if "Slower" in text] == []
