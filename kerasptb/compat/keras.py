"""Private names of Keras."""

import sys

import keras
from keras.src import backend as _backend
from keras.src.backend.common.stateless_scope import in_stateless_scope
from keras.src.backend.common.symbolic_scope import in_symbolic_scope
from keras.src.backend.common.tensor_attributes import get_tensor_attr, set_tensor_attr
from keras.src.trainers.data_adapters.array_slicing import can_slice_array
from keras.src.trainers.trainer import model_supports_jit

__all__ = [
    "INHERITED",
    "JAX_TRAINER",
    "can_slice_array",
    "get_keras_mask",
    "get_tensor_attr",
    "in_stateless_scope",
    "in_symbolic_scope",
    "is_exported",
    "lstm_loop",
    "model_supports_jit",
    "rnn_loop",
    "set_tensor_attr",
    "tf_dataset_adapter",
    "without_autocast",
]

# in_stateless_scope: `keras.StatelessScope` can be entered, but nothing public tells whether one has been.
# in_symbolic_scope: likewise for `keras.SymbolicScope`, in which Keras asks a layer for shapes.
# get_tensor_attr, set_tensor_attr: tensors of some backends take no attributes; this is how Keras keeps its masks.
# can_slice_array: only Keras knows what its trainers take for an array.
# model_supports_jit: what `jit_compile="auto"` decides by.

# The mask that a layer left on its outputs: losses and metrics are given none.
get_keras_mask = _backend.get_keras_mask


def without_autocast():
    """Returns a context in which a layer's weights are read in their own dtype, not in the policy's compute dtype.

    Publicly this is decided for each weight when it is made, and Keras' own layers make theirs.
    """
    return _backend.AutocastScope(None)


def lstm_loop(*args, **kwargs):
    """The backend's fused LSTM (cuDNN's): `keras.layers.LSTM` reaches it with weights of its own only."""
    return _backend.lstm(*args, **kwargs)


def rnn_loop(*args, **kwargs):
    """The loop of `keras.layers.RNN`, which takes a cell, not a step function."""
    return _backend.rnn(*args, **kwargs)


def tf_dataset_adapter():
    """The class through which Keras' trainer reads a `tf.data.Dataset`: nothing public lets it read groups of batches.

    A function, because the class imports TensorFlow.
    """
    from keras.src.trainers.data_adapters.tf_dataset_adapter import TFDatasetAdapter  # noqa: PLC0415

    return TFDatasetAdapter


def is_exported():
    """Whether this call is traced for an export: in Keras and TensorFlow only the call stack shows it.

    TensorFlow's `in_save_context` is too late: Keras' export archive traces its endpoints before that.
    """
    frame = sys._getframe()
    while frame is not None:
        if frame.f_globals.get("__name__", "").startswith(EXPORTING_MODULES):
            return True
        frame = frame.f_back
    return False


EXPORTING_MODULES = ("keras.src.export.", "tensorflow.python.saved_model.save")


# Private attributes of public classes that are called or overridden here: class, name, parameters, who needs it.
INHERITED = (
    (keras.layers.RNN, "_maybe_config_dropout_masks", ("cell", "input_sequence", "input_state"), "StatefulLSTM.call"),
    (keras.layers.RNN, "_maybe_reset_dropout_masks", ("cell",), "StatefulLSTM.call"),
    (keras.optimizers.Optimizer, "_clip_gradients", ("grads",), "ClippedSGD, which clips by its learning rate"),
    (
        keras.optimizers.Optimizer,
        "_backend_update_step",
        ("grads", "trainable_variables", "learning_rate"),
        "ClippedSGD, which updates all variables at once",
    ),
)

# Likewise of Keras' JAX trainer, for trainers/jax.py. The attributes `_jax_state` and `_jax_state_synced` hold the
# values of a model's variables while it trains.
JAX_TRAINER = {
    "_make_function": ("step_function", "concatenate_outputs"),
    "_update_metrics_variables": ("metrics_variables", "unscaled_loss", "x", "y", "y_pred", "sample_weight"),
    "jax_state_sync": (),
}
# And of every model: `_compile_metrics`, the metrics of `compile`, which `Model.metrics` holds as one.
