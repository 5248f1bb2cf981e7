"""Private names of Keras."""

import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Any

import keras
from keras.src import backend as _backend
from keras.src.backend.common import global_state as _global_state

# `keras.StatelessScope` can be entered, but nothing public tells whether one has been.
from keras.src.backend.common.stateless_scope import in_stateless_scope as in_stateless_scope

# Likewise of `keras.SymbolicScope`, in which Keras asks a layer for shapes.
from keras.src.backend.common.symbolic_scope import in_symbolic_scope as in_symbolic_scope

# Tensors of some backends take no attributes; Keras keeps masks with these.
from keras.src.backend.common.tensor_attributes import get_tensor_attr as get_tensor_attr
from keras.src.backend.common.tensor_attributes import set_tensor_attr as set_tensor_attr

# The class of functional models, and how one keeps its layers in their order, with what each is called with: publicly
# a model tells its layers alone.
from keras.src.models.functional import Functional as Functional

# What `Model.save_weights` does once it has opened its file. Publicly it writes to a path alone, through HDF5, which
# kills the process where the disk is full.
from keras.src.saving.saving_lib import H5IOStore as H5IOStore
from keras.src.saving.saving_lib import _save_state as save_state

# How Keras' trainers read any data. They take such an adapter in the place of data; nothing public shows them batches
# that were checked, or come in groups.
from keras.src.trainers.data_adapters import get_data_adapter as get_data_adapter

# Only Keras knows what its trainers take for an array.
from keras.src.trainers.data_adapters.array_slicing import can_slice_array as can_slice_array

# What `get_data_adapter` returns.
from keras.src.trainers.data_adapters.data_adapter import DataAdapter as DataAdapter

# What `jit_compile="auto"` decides by.
from keras.src.trainers.trainer import model_supports_jit as model_supports_jit

# The mask that a layer left on its outputs: losses and metrics are given none.
get_keras_mask = _backend.get_keras_mask

# The backend's fused LSTM and GRU (cuDNN's), and the loop of `keras.layers.RNN`: layers reach them with weights of
# their own.
lstm_loop, gru_loop, rnn_loop = _backend.lstm, _backend.gru, _backend.rnn

_EXPORTING_MODULES = ("keras.src.export.", "tensorflow.python.saved_model.save")


def torch_device() -> str:
    """Returns where Keras on PyTorch puts tensors, such as "cpu", outside of `keras.device`: nothing public says."""
    return _backend.core.DEFAULT_DEVICE


def without_autocast() -> AbstractContextManager:
    """Returns a context in which a layer's weights are read in their own dtype, not in the policy's compute dtype."""
    # Publicly this is decided for each weight when it is made, and Keras' layers make theirs.
    return _backend.AutocastScope(None)


def outermost_layer() -> keras.Layer | None:
    """Returns the layer or model whose call this is part of, None outside of calls: no layer is told its models."""
    context = _global_state.get_global_attribute("current_call_ctx")
    return None if context is None else context.entry_layer


def takes_logits(loss: keras.losses.SparseCategoricalCrossentropy) -> bool:
    """Whether a cross-entropy is of logits: it has an attribute that says so up to Keras 3.15 alone."""
    return loss.get_config()["from_logits"]


def clear_losses(model: keras.Model) -> None:
    """Drops what a model's layers have left for its loss; publicly a call does so for the outermost model alone."""
    model._clear_losses()


def functional_of(model: Any) -> Functional | None:
    """Returns the functional model that a model is, or that a `Sequential` has; `None` for what is neither."""
    model = model._functional if isinstance(model, keras.Sequential) else model
    computes_its_graph = isinstance(model, Functional) and type(model).call is Functional.call
    return model if computes_its_graph else None


def nodes_of(model: Functional) -> Iterator[tuple[Any, Any, list[keras.KerasTensor]]]:
    """Yields the layers of a functional model in an order to run them: each with its arguments and its outputs."""
    for depth in sorted(model._nodes_by_depth, reverse=True):
        for node in model._nodes_by_depth[depth]:
            if not node.is_input:
                yield node.operation, node.arguments, node.outputs


def is_exported() -> bool:
    """Whether this call is traced for an export: in Keras and TensorFlow only the call stack shows it."""
    # TensorFlow's `in_save_context` comes too late: Keras' export archive traces its endpoints before that.
    frame = sys._getframe()
    while frame is not None and not frame.f_globals.get("__name__", "").startswith(_EXPORTING_MODULES):
        frame = frame.f_back
    return frame is not None


def compiled_metrics(model: keras.Model) -> list[Any]:
    """Returns the metrics that a model was compiled with, as they were given: before a batch `metrics` has none."""
    compiled = model._compile_metrics
    metrics = [] if compiled is None else [compiled._user_metrics, compiled._user_weighted_metrics]
    return [metric for metric in keras.tree.flatten(metrics) if metric is not None]


# Private methods of public classes that are called or overridden here: class, name, parameters.
INHERITED = (
    # `kerasptb.explain` finds layers in layers; publicly only models tell theirs.
    (keras.Layer, "_flatten_layers", ("include_self", "recursive")),
    # Checkpoint restores metrics before the first step; publicly only that step makes those of a compiled model.
    (keras.Model, "_symbolic_build", ("iterator", "data_batch")),
    # StatefulLSTM.call does what RNN.call does.
    (keras.layers.RNN, "_maybe_config_dropout_masks", ("cell", "input_sequence", "input_state")),
    (keras.layers.RNN, "_maybe_reset_dropout_masks", ("cell",)),
    # ClippedSGD clips by its learning rate, and like ClippedAdamW does all that there is for all variables at once.
    (keras.optimizers.Optimizer, "_clip_gradients", ("grads",)),
    (keras.optimizers.Optimizer, "_apply_weight_decay", ("variables",)),
    (keras.optimizers.Optimizer, "_use_weight_decay", ("variable",)),
    (keras.optimizers.Optimizer, "_update_model_variables_moving_average", ("trainable_variables",)),
    (keras.optimizers.Optimizer, "_backend_apply_gradients", ("grads", "trainable_variables")),
    (keras.optimizers.Optimizer, "_backend_update_step", ("grads", "trainable_variables", "learning_rate")),
)
# Likewise of Keras' JAX trainer, for trainers/jax.py. The attributes `_jax_state` and `_jax_state_synced` hold the
# values of a model's variables while it trains. Of every model: `_compile_metrics`, in `Model.metrics` one metric, and
# `_initial_epoch`, by which a callback says where `fit` begins.
JAX_TRAINER = {
    "_make_function": ("step_function", "concatenate_outputs"),
    "_update_metrics_variables": ("metrics_variables", "unscaled_loss", "x", "y", "y_pred", "sample_weight"),
    "jax_state_sync": (),
}
