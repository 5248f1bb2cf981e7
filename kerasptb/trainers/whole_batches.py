"""Training and evaluation of a stateful model, which needs batches of static shape."""

import contextlib
import math
from typing import Any, NamedTuple

import keras
import numpy as np
from keras.src.trainers.data_adapters.array_slicing import can_slice_array

from kerasptb.ops import tensors

_ON_TENSORFLOW = keras.backend.backend() == "tensorflow"
if _ON_TENSORFLOW:
    import tensorflow as tf

    from kerasptb.trainers.grouped_steps import GroupedDataset, can_be_grouped, function_of_groups


class WholeBatches:
    """A mixin of `LanguageModel`, before `keras.Model`: `fit` and its like run on whole batches, in order.

    Keras leaves the batch size open where it can change between batches. But a recurrent state has one row for each row
    of a batch, and native operations need static shapes.

    Attributes:
        batch_size: rows of a training batch, and of any batch whose size is not known beforehand.
    """

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self._traced = _TracedFunctions()

    def compile(self, *args, **kwargs):
        """Configures training; takes what `keras.Model.compile` does."""
        super().compile(*args, **kwargs)
        self._traced = _TracedFunctions()

    def fit(
        self,
        x=None,
        y=None,
        batch_size=None,
        epochs=1,
        verbose="auto",
        callbacks=None,
        validation_split=0.0,
        validation_data=None,
        shuffle=False,
        **kwargs,
    ):
        """Trains as `keras.Model.fit` does, but keeps the order of the batches unless `shuffle=True`.

        Args:
            x: int32 [N, T], word ids, where N is a multiple of the batch size: row i of a batch continues row i of the
                previous batch. Or data that yields batches of (tokens [B, T], targets [B, T]), such as the result of
                `make_dataset` or a `keras.utils.PyDataset`.
            y: int32 [N, T], the next words of `x`; `None` if `x` yields them.
            batch_size: rows B of a batch of arrays; `None` for the model's.
            epochs: as in `keras.Model.fit`, like all arguments below.
            verbose: whether to show a progress bar (1) or one line per epoch (2).
            callbacks: callbacks, such as `kerasptb.callbacks.ResetStates()`.
            validation_split: fraction of the rows of arrays to validate on, the last ones.
            validation_data: (x, y), or data that yields batches.
            shuffle: whether to shuffle, which makes no sense with a state carried from batch to batch.
            **kwargs: further arguments of `keras.Model.fit`. Sample weights are [N] or [N, T].

        Returns:
            A `keras.callbacks.History`.

        Raises:
            ValueError: if arrays, also those of validation, do not divide into whole batches; for class weights,
                which Keras applies to rows with one class each.
        """
        _refuse_class_weights(kwargs.get("class_weight"))
        if y is None and kwargs.get("sample_weight") is None and not shuffle:  # otherwise Keras has something to say
            x = self._grouped(x, "train_step")
        validation_data = self._grouped(validation_data, "test_step")
        rows = batch_size or self.batch_size
        if isinstance(validation_data, tuple | list) and (array := _array(validation_data[0])) is not None:
            # Checked before the first epoch. When training on a dataset, Keras would read these in batches of 32.
            kwargs["validation_batch_size"] = kwargs.get("validation_batch_size") or rows
            _check_rows(array, kwargs["validation_batch_size"], "of validation")
        if validation_split and validation_data is None and (array := _array(x)) is not None:
            kept = math.floor(len(array) * (1 - validation_split))  # as Keras splits
            _check_rows(array[:kept], rows, "before `validation_split`")
            _check_rows(array[kept:], kwargs.get("validation_batch_size") or rows, "of `validation_split`")
            batch_size = rows
        else:
            batch_size = self._batch_size_of(x, batch_size)
        self._retrace_if_new_shape("train_function", _shapes(x, batch_size, kwargs.get("sample_weight")))
        return super().fit(
            x, y, batch_size, epochs, verbose, callbacks, validation_split, validation_data, shuffle, **kwargs
        )

    def evaluate(self, x=None, y=None, batch_size=None, verbose="auto", **kwargs):
        """Evaluates as `keras.Model.evaluate` does, from a zero state.

        The training state stays as it is.

        Raises:
            ValueError: if arrays do not divide into whole batches.
        """
        self.reset_evaluation_states()
        if y is None and kwargs.get("sample_weight") is None:
            x = self._grouped(x, "test_step")
        batch_size = self._batch_size_of(x, batch_size)
        self._retrace_if_new_shape("test_function", _shapes(x, batch_size, kwargs.get("sample_weight")))
        return super().evaluate(x, y, batch_size, verbose, **kwargs)

    def predict(self, x, batch_size=None, verbose="auto", **kwargs):
        """Returns logits [..., T, V] in the compute dtype, as `keras.Model.predict` does, from a zero state.

        Raises:
            ValueError: if arrays do not divide into whole batches.
        """
        self.reset_evaluation_states()
        batch_size = self._batch_size_of(x, batch_size)
        self._retrace_if_new_shape("predict_function", _shapes(x, batch_size))
        return super().predict(x, batch_size, verbose, **kwargs)

    def train_on_batch(self, x, y=None, sample_weight=None, class_weight=None, **kwargs):
        """Trains as `keras.Model.train_on_batch` does, from the state after the previous batch.

        Raises:
            ValueError: for class weights, as in `fit`.
        """
        _refuse_class_weights(class_weight)
        self._retrace_if_new_shape("train_function", _shape(x, sample_weight))
        return super().train_on_batch(x, y, sample_weight, **kwargs)

    def test_on_batch(self, x, y=None, sample_weight=None, **kwargs):
        """Evaluates as `keras.Model.test_on_batch` does, from the state after the previous batch."""
        self._retrace_if_new_shape("test_function", _shape(x, sample_weight))
        return super().test_on_batch(x, y, sample_weight, **kwargs)

    def predict_on_batch(self, x):
        """Returns logits [B, T, V] in the compute dtype, from the state after the previous batch."""
        self._retrace_if_new_shape("predict_function", _shape(x))
        return super().predict_on_batch(x)

    def predict_step(self, *arguments):
        """One step of prediction; takes and returns what `keras.Model.predict_step` does."""
        with whole_batch(arguments[-1], self.batch_size) as data:
            return super().predict_step(*arguments[:-1], data)

    def make_train_function(self, force=False):
        """Makes the function that `fit` calls for each iteration, as `keras.Model.make_train_function` does."""
        return self._make_function_of_groups("train", force) or super().make_train_function(force)

    def make_test_function(self, force=False):
        """Makes the function that `evaluate` calls for each iteration, as `keras.Model.make_test_function` does."""
        return self._make_function_of_groups("test", force) or super().make_test_function(force)

    def _make_function_of_groups(self, kind, force):
        """Makes and returns the function if the data come in groups, else returns None."""
        name = f"{kind}_function"
        if not (size := self._traced.group_size(name)):
            return None
        if force or getattr(self, name) is None:
            if kind == "train" and not self.optimizer.built:
                self.optimizer.build(self.trainable_variables)  # not in the program's loop, which it has to outlive
            setattr(self, name, function_of_groups(getattr(self, f"{kind}_step"), self.get_metrics_result, size))
        return getattr(self, name)

    def _grouped(self, data, step):
        """The data, in groups of batches if the steps of a call can run as one program."""
        if not _ON_TENSORFLOW or not can_be_grouped(data) or not self._runs_as_one_program(step):
            return data
        return GroupedDataset(data, self.steps_per_execution)

    def _runs_as_one_program(self, step):
        """Whether this step's only effects are on variables, and its logs the metrics' results."""
        return False

    def _retrace_if_new_shape(self, function, shape):
        """Installs the step function that was traced for batches of this shape, or None if there is none yet.

        Keras would retrace the current function and leave open the dimensions that differ. JAX compiles once for each
        shape and keeps the results.
        """
        if _ON_TENSORFLOW:
            setattr(self, function, self._traced.exchange(function, shape, getattr(self, function)))

    def _batch_size_of(self, x, batch_size):
        """The batch size to pass to Keras. For arrays it is checked; for other data it is what was given."""
        array = _array(x)
        if array is None:
            return batch_size
        batch_size = batch_size or self.batch_size
        _check_rows(array, batch_size)
        return batch_size


class _TracedFunctions:
    """The step functions of a model, by the shape of the batches that they were traced for.

    Validation and evaluation, or batches of two lengths, may alternate. Tracing takes long, and TensorFlow never frees
    all of a trace's memory, so the functions are kept. They are in an object of this class because Keras tracks the
    contents of lists and dicts, but not those of other objects.
    """

    _MOST = 32  # functions kept for each kind of step, the latest ones

    def __init__(self):
        self._shapes, self._others = {}, {}

    def exchange(self, kind, shape, function):
        """Stores the current function and returns the one for `shape`, or None if that is not traced yet."""
        before = self._shapes.setdefault(kind, shape)
        if before == shape:
            return function
        others = self._others.setdefault(kind, [])
        found = next((other for other in others if other[0] == shape), (shape, None))
        kept = [other for other in others if other is not found][1 - self._MOST :]
        self._others[kind] = [*kept, (before, function)]
        self._shapes[kind] = shape
        return found[1]

    def group_size(self, kind):
        """The batches of a group that the current function takes, or None if it takes single batches."""
        shape = self._shapes.get(kind)
        return shape.size if isinstance(shape, _Groups) else None


class _Groups(NamedTuple):
    """The shape of the batches of groups."""

    element_spec: Any
    size: int


def _check_rows(array, batch_size, part=""):
    if array is None or not (left_over := len(array) % batch_size):
        return
    advice = f"drop the last {left_over}, or use make_dataset"
    if left_over == len(array):
        advice = "give more, or a smaller batch size, which in training is the model's own"
    raise ValueError(
        f"A stateful model needs whole batches: the number of rows must be a multiple of batch_size="
        f"{batch_size}. Received: {len(array)} rows{part and ' '}{part}; {advice}."
    )


def _refuse_class_weights(class_weight):
    # Keras would treat each row of the [B, T] targets as one-hot, and the index of its largest id as the class.
    if class_weight is not None:
        raise ValueError(
            "Keras applies one class weight to a row, and here each word has its own class. Give each word a weight, "
            f"`sample_weight=weights[y]`, of y's shape. Received: class_weight={class_weight!r:.60}"
        )


@contextlib.contextmanager
def whole_batch(data, batch_size):
    """Gives the body, a step, its data with a static number of rows; none of its operations runs before they have come.

    Gradients of what the step computes must be taken inside the step.

    Args:
        data: tensors in any structure.
        batch_size: number of rows of the tensors whose number of rows is unknown while the step is traced.
    """
    if _ON_TENSORFLOW:
        data = keras.tree.map_structure(lambda x: _with_rows(x, batch_size), data)
    with tensors.gradients_forgotten(), tensors.after(*keras.tree.flatten(data)):
        yield data


def _with_rows(x, batch_size):
    if not isinstance(x, tf.Tensor) or x.shape.rank in (None, 0) or x.shape[0] is not None:
        return x
    whole = tf.debugging.assert_equal(
        tf.shape(x)[0],
        batch_size,
        f"A stateful model needs whole batches, here of batch_size={batch_size} rows. Drop a smaller last one, as "
        f"`dataset.batch({batch_size}, drop_remainder=True)` does, or pass batches whose shapes are static",
    )
    with tf.control_dependencies([] if whole is None else [whole]):
        x = tf.identity(x)
    x.set_shape((batch_size, *x.shape[1:]))
    return x


def _array(x):
    """The array that is the model's one input, given directly or in a dict or list; None for any other data.

    An array is anything that Keras cuts into batches, also of another framework.
    """
    if isinstance(x, dict | list | tuple) and len(x) == 1:
        (x,) = x.values() if isinstance(x, dict) else x
    return x if x is not None and can_slice_array(x) else None


def _shape(x, sample_weight=None):
    array = _array(x)
    return np.shape(x if array is None else array), _shape_of_weights(sample_weight)


def _shape_of_weights(sample_weight):
    return None if sample_weight is None else np.shape(sample_weight)[1:]


def _shapes(x, batch_size, sample_weight=None):
    """What is known about the shapes of a batch beforehand; None if nothing is."""
    array = _array(x)
    if _ON_TENSORFLOW and isinstance(x, GroupedDataset):
        return _Groups(x.element_spec, x.size)
    if array is None:
        return getattr(x, "element_spec", None)
    return (batch_size, *array.shape[1:]), _shape_of_weights(sample_weight)
