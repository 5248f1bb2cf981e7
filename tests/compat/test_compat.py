"""The private names of Keras and TensorFlow that the package needs: all of them, so that an update fails here first."""

import inspect
import re
from pathlib import Path

import keras
import pytest
import tensorflow as tf

import kerasptb
from kerasptb.compat import keras as keras_names
from kerasptb.compat import tensorflow as tensorflow_names

PACKAGE = Path(kerasptb.__file__).parent

SIGNATURES = {
    "get_keras_mask": ["x"],
    "get_tensor_attr": ["tensor", "attr"],
    "set_tensor_attr": ["tensor", "attr", "value"],
    "in_stateless_scope": [],
    "in_symbolic_scope": [],
    "can_slice_array": ["x"],
    "model_supports_jit": ["model"],
    "H5IOStore": ["path_or_io", "archive", "mode"],
    "save_state": ["saveable", "weights_store", "assets_store", "inner_path", "visited_saveables"],
}


@pytest.mark.parametrize("name", SIGNATURES)
def test_functions_of_keras(name):
    assert list(inspect.signature(getattr(keras_names, name)).parameters) == SIGNATURES[name]


@pytest.mark.parametrize(("owner", "name", "parameters"), keras_names.INHERITED)
def test_methods_that_subclasses_call_or_override(owner, name, parameters):
    found = list(inspect.signature(getattr(owner, name)).parameters)
    assert tuple(found[1:]) == parameters  # but for self


@pytest.mark.parametrize("name", keras_names.JAX_TRAINER)
def test_methods_of_the_jax_trainer(name):
    pytest.importorskip("jax")
    from keras.src.backend.jax.trainer import JAXTrainer

    assert tuple(inspect.signature(getattr(JAXTrainer, name)).parameters)[1:] == keras_names.JAX_TRAINER[name]
    assert "_jax_state_synced" in vars(JAXTrainer())


def test_losses_of_inner_layers_are_cleared():
    layer = keras.layers.Dense(1, activity_regularizer="l2")
    model = keras.Sequential([keras.Input((2,)), layer])
    layer(keras.ops.ones((1, 2)))
    assert model.losses
    keras_names.clear_losses(model)
    assert not model.losses


def test_nothing_is_recorded_where_recording_stops():
    x = tf.Variable(2.0)
    with tf.GradientTape() as tape:
        with tensorflow_names.stop_recording():
            assert not tensorflow_names.could_possibly_record()
            y = x * x
        z = y + 3 * x
    assert tape.gradient(z, x) == 3


def test_compiled_metrics_are_one_metric():
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    assert model._compile_metrics is None
    model.compile(metrics=["mse"])
    assert model._compile_metrics in model.metrics
    assert not model._compile_metrics.built
    assert keras_names.compiled_metrics(model) == ["mse"]
    model.compile(metrics=None, weighted_metrics=["mae"])
    assert keras_names.compiled_metrics(model) == ["mae"]


def test_loops_take_what_they_are_given():
    from keras.src import backend

    lstm = inspect.signature(backend.lstm).parameters
    assert list(lstm)[:4] == ["inputs", "initial_state_h", "initial_state_c", "mask"]
    assert {"kernel", "recurrent_kernel", "bias", "activation", "recurrent_activation", "return_sequences"} <= set(lstm)
    rnn = inspect.signature(backend.rnn).parameters
    assert list(rnn)[:3] == ["step_function", "inputs", "initial_states"]
    assert {"input_length", "return_all_outputs"} <= set(rnn)


def test_the_adapter_of_datasets_counts_batches():
    adapter = keras_names.get_data_adapter(tf.data.Dataset.range(6).batch(2), shuffle=False)
    assert isinstance(adapter, keras_names.DataAdapter)
    assert adapter.num_batches == 3
    assert adapter.get_tf_dataset() is not None
    assert len(list(adapter.get_jax_iterator())) == 3
    assert keras_names.get_data_adapter(adapter) is adapter


def test_the_outermost_layer_of_a_call():
    seen = []

    class Inner(keras.layers.Layer):
        def call(self, x):
            seen.append(keras_names.outermost_layer())
            return x

    inner = Inner()
    model = keras.Sequential([keras.Input((2,)), inner])
    seen.clear()
    model(tf.zeros((1, 2)))
    inner(tf.zeros((1, 2)))
    assert seen == [model, inner]
    assert keras_names.outermost_layer() is None


def test_a_scope_without_autocast():
    layer = keras.layers.Dense(2, dtype="mixed_bfloat16")
    layer.build((1, 3))
    with keras.src.backend.AutocastScope("bfloat16"):
        assert layer.kernel.value.dtype == tf.bfloat16
        with keras_names.without_autocast():
            assert layer.kernel.value.dtype == tf.float32


def test_names_of_tensorflow():
    names = [name for name in vars(tensorflow_names) if not name.startswith("_")]
    assert len(names) == 8
    assert all(callable(getattr(tensorflow_names, name)) for name in names)
    assert tensorflow_names.could_possibly_record() is False
    with tf.GradientTape():
        assert tensorflow_names.could_possibly_record() is True
    seen = []

    def function():
        seen.append(tensorflow_names.in_xla_context(tf.compat.v1.get_default_graph()))
        return tf.zeros(())

    tf.function(function)()
    tf.function(function, jit_compile=True)()
    assert seen == [False, True]


def test_nothing_private_stands_elsewhere():
    private = re.compile(r"keras\.src|tensorflow\.(python|compiler)")
    found = {
        str(path.relative_to(PACKAGE))
        for folder in (PACKAGE, PACKAGE.parent / "tuning")
        for path in folder.rglob("*.py")
        if private.search(path.read_text()) and path.parent.name != "compat"
    }
    assert found == set()
