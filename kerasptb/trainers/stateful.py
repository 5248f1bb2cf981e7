"""Training and evaluation of a stateful model on any backend: in whole batches, in order."""

import contextlib
import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any, Literal

import keras
import numpy as np

from kerasptb.compat.keras import DataAdapter, can_slice_array, get_data_adapter
from kerasptb.layers.embedding import Embedding
from kerasptb.layers.evaluation_states import EvaluationStates
from kerasptb.losses import LOSSES_OF_FACTORS
from kerasptb.trainers.interface import StatefulLayer
from kerasptb.trainers.step_bar import with_step_bar
from kerasptb.utils.children import check_not_forked
from kerasptb.utils.types import Tensor


class StatefulTrainer(keras.Model):
    """A functional `keras.Model` that reads word ids [B, T] and has recurrent state; a model sets the attributes.

    `fit` and its like run on whole batches, in order, and in steps of static shapes. A model may override the methods
    under "what a model is asked", and a backend's trainer (`trainers/tensorflow.py`, `trainers/jax.py`) those under
    "for backends".
    """

    vocabulary_size: int  # V
    batch_size: int  # rows of a training batch, and of any batch whose size is not known beforehand
    num_steps: int  # words of a row of a training batch, as far as they are known beforehand
    jit_compile: Any
    test_function: Any
    predict_function: Any

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._evaluation, self._prediction = EvaluationStates(), EvaluationStates()
        self._fit_ends = contextlib.ExitStack()

    def fit(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int | None = None,
        epochs: int = 1,
        verbose: str | int = "auto",
        callbacks: Sequence[keras.callbacks.Callback] | None = None,
        validation_split: float = 0.0,
        validation_data: Any = None,
        shuffle: bool = False,
        **kwargs: Any,
    ) -> keras.callbacks.History:
        """Trains as `keras.Model.fit` does, but keeps the order of the batches.

        Args:
            x: int32 [N, T], word ids, where N is a multiple of the batch size: row i of a batch continues row i of the
                previous batch. Or data that yields batches of (tokens [B, T], targets [B, T]), such as the result of
                `make_dataset` or a `keras.utils.PyDataset`.
            y: int32 [N, T], the next words of `x`; `None` if `x` yields them.
            batch_size: rows B of a batch of arrays; `None` for the model's.
            epochs: as in `keras.Model.fit`, like `verbose` and `callbacks`.
            verbose: progress bar (1), one line per epoch (2), or nothing (0).
            callbacks: such as `kerasptb.callbacks.ResetStates()`.
            validation_split: fraction of the rows of arrays to validate on, the last ones.
            validation_data: (x, y), or data that yields batches.
            shuffle: ignored, with a warning if it is true: row i of a batch continues row i of the one before.
            **kwargs: further arguments of `keras.Model.fit`. Sample weights are [N] or [N, T].

        Returns:
            A `keras.callbacks.History`.

        Raises:
            ValueError: if arrays, also those of validation, do not divide into whole batches; for word ids out of range
                (from a `tf.data.Dataset` an `InvalidArgumentError`), before a step is given them; for class weights,
                which Keras applies to rows with one class each.
        """
        check_not_forked()
        _refuse_class_weights(kwargs.get("class_weight"))
        if shuffle:
            warnings.warn(
                "`shuffle=True` is ignored: the state goes on from batch to batch, so their order stays.", stacklevel=2
            )
        x = self._checked("train_step", x, y, kwargs.get("sample_weight"))
        if validation_data is not None:
            given = keras.utils.unpack_x_y_sample_weight(validation_data)
            checked = self._checked("test_step", *given)
            validation_data = validation_data if checked is given[0] else checked
        rows = batch_size or self.batch_size
        if isinstance(validation_data, tuple | list) and (array := array_of(validation_data[0])) is not None:
            # Checked before the first epoch. When training on a dataset, Keras would read these in batches of 32.
            kwargs["validation_batch_size"] = kwargs.get("validation_batch_size") or rows
            _check_rows(array, kwargs["validation_batch_size"], "of validation")
        if validation_split and validation_data is None and (array := array_of(x)) is not None:
            split_at = math.floor(len(array) * (1 - validation_split))  # as Keras splits
            _check_rows(array[:split_at], rows, "before `validation_split`")
            _check_rows(array[split_at:], kwargs.get("validation_batch_size") or rows, "of `validation_split`")
            batch_size = rows
        else:
            batch_size = self._batch_size_of(x, batch_size)
        self._prepare_function("train_function", _shapes(x, batch_size, kwargs.get("sample_weight")))
        callbacks = with_step_bar(callbacks, verbose)
        with contextlib.ExitStack() as self._fit_ends:
            return super().fit(
                x, y, batch_size, epochs, verbose, callbacks, validation_split, validation_data, False, **kwargs
            )

    def evaluate(
        self, x: Any = None, y: Any = None, batch_size: int | None = None, verbose: str | int = "auto", **kwargs: Any
    ) -> Any:
        """Evaluates as `keras.Model.evaluate` does, from a zero state.

        The training state stays as it is. One evaluation runs at a time: in another thread a second one waits, also for
        the validation of `fit`. Of the metrics, which `fit` updates too, Keras has one of each.

        Raises:
            ValueError: if arrays do not divide into whole batches; for word ids out of range, as in `fit`.
        """
        check_not_forked()
        with self._evaluation.alone():
            self._evaluation.reset()
            x = self._checked("test_step", x, y, kwargs.get("sample_weight"))
            batch_size = self._batch_size_of(x, batch_size)
            self._prepare_function("test_function", _shapes(x, batch_size, kwargs.get("sample_weight")))
            kwargs["callbacks"] = with_step_bar(kwargs.get("callbacks"), verbose)
            return super().evaluate(x, y, batch_size, verbose, **kwargs)

    def predict(self, x: Any, batch_size: int | None = None, verbose: str | int = "auto", **kwargs: Any) -> Any:
        """Returns logits [..., T, V] in the compute dtype, as `keras.Model.predict` does, from a zero state.

        Without a `batch_size` arrays are read in batches of the model's, each of which goes on from the one before, or,
        if their rows do not divide into these, all rows at once. One prediction runs at a time, as in `evaluate`.

        Raises:
            ValueError: if arrays do not divide into batches of the given size; for word ids out of range, as in `fit`.
        """
        check_not_forked()
        with self._prediction.alone():
            self._prediction.reset()
            x = self._checked("predict_step", x)
            if batch_size is None and (array := array_of(x)) is not None and len(array) % self.batch_size:
                batch_size = len(array)
            batch_size = self._batch_size_of(x, batch_size)
            self._prepare_function("predict_function", _shapes(x, batch_size))
            kwargs["callbacks"] = with_step_bar(kwargs.get("callbacks"), verbose)
            return super().predict(x, batch_size, verbose, **kwargs)

    def train_on_batch(
        self,
        x: Tensor,
        y: Tensor | None = None,
        sample_weight: Tensor | None = None,
        class_weight: None = None,
        **kwargs: Any,
    ) -> Any:
        """Trains as `keras.Model.train_on_batch` does, from the state after the previous batch.

        Raises:
            ValueError: for class weights and word ids out of range, as in `fit`.
        """
        _refuse_class_weights(class_weight)
        self.check_word_ids((x, y))
        self.reset_metrics()  # Keras before 3.15 goes on with those of the batch before
        self._prepare_function("train_function", _shape(x, sample_weight))
        return super().train_on_batch(x, y, sample_weight, **kwargs)

    def test_on_batch(
        self, x: Tensor, y: Tensor | None = None, sample_weight: Tensor | None = None, **kwargs: Any
    ) -> Any:
        """Evaluates as `keras.Model.test_on_batch` does, from the state after the previous batch, or `evaluate`."""
        self.check_word_ids((x, y))
        with self._evaluation.alone():
            self.reset_metrics()
            self._prepare_function("test_function", _shape(x, sample_weight))
            return super().test_on_batch(x, y, sample_weight, **kwargs)

    def predict_on_batch(self, x: Tensor) -> Any:
        """Returns logits [B, T, V] in the compute dtype, from the state after the previous batch, or `predict`."""
        self.check_word_ids((x,))
        with self._prediction.alone():
            self._prepare_function("predict_function", _shape(x))
            return super().predict_on_batch(x)

    def make_train_function(self, force: bool = False) -> Any:
        """Makes the function that `fit` calls for each iteration, as `keras.Model.make_train_function` does."""
        return self._made("train", super().make_train_function, force)

    def make_test_function(self, force: bool = False) -> Any:
        """Makes the function that `evaluate` calls for each iteration, as `keras.Model.make_test_function` does."""
        return self._made("test", super().make_test_function, force)

    def make_predict_function(self, force: bool = False) -> Any:
        """Makes the function that `predict` calls for each iteration, as `keras.Model.make_predict_function` does."""
        return self._made("predict", super().make_predict_function, force)

    def evaluation_alone(self) -> AbstractContextManager:
        """A context in which no other thread evaluates: `test_on_batch` goes on from where `evaluate` has ended."""
        return self._evaluation.alone()

    def make_evaluation_states(self, batch_size: int) -> None:
        """Makes the recurrent states of `evaluate` and `predict` for batches of this size, unless they exist."""
        for states in (self._evaluation, self._prediction):
            for layer in self.stateful_layers():
                states.of(layer, batch_size)

    def has_evaluation_states(self, batch_size: int) -> bool:
        """Returns whether the recurrent states of `evaluate` and `predict` for batches of this size exist."""
        layers = self.stateful_layers()
        return all(states.has(layer, batch_size) for states in (self._evaluation, self._prediction) for layer in layers)

    def reset_states(self) -> None:
        """Zeroes the recurrent states of training and of evaluation."""
        for layer in self.stateful_layers():
            layer.reset_state()
        self.reset_evaluation_states()

    def reset_evaluation_states(self) -> None:
        """Zeroes the states of `evaluate`, `predict` and calls of the model, after one in another thread."""
        for layer in self.stateful_layers():
            layer.reset_evaluation_state()
        for states in (self._evaluation, self._prediction):
            with states.alone():
                states.reset()

    def state_variables(self) -> list[keras.Variable]:
        """Returns a list of the variables of all recurrent states, those of training and of evaluation."""
        of_layers = [variable for layer in self.stateful_layers() for variable in layer.state_variables()]
        return [*of_layers, *self._evaluation.variables(), *self._prediction.variables()]

    def check_word_ids(self, batch: Any) -> None:
        """Raises ValueError unless a batch of arrays has word ids in range: a step that XLA compiles cannot raise."""
        for name, given in self.word_ids(batch).items():
            ids = np.asarray(given)
            if not ids.size:
                raise ValueError(f"Expected at least one row of words. Received: {name} of shape {ids.shape}")
            wrong = (ids < 0) | (ids >= self.vocabulary_size)
            if not np.issubdtype(ids.dtype, np.integer):
                wrong |= ids != np.floor(ids)
            if wrong.any() and (wrong := wrong & (ids != self.ignored(name))).any():
                raise ValueError(f"{word_ids_expected(name, self.vocabulary_size)} {ids[wrong][0]}")

    def _checked(self, step: str, x: Any, y: Any = None, sample_weight: Any = None) -> Any:
        """Returns data, as Keras takes them, whose word ids are checked before a step gets them; raises for none."""
        if array_of(x) is not None:
            self.check_word_ids((x, y))
        elif y is None and sample_weight is None and not isinstance(x, DataAdapter | dict | list | tuple | None):
            # Without `shuffle=False` Keras would have something to say.
            adapter = get_data_adapter(x, shuffle=False)
            if adapter.num_batches == 0:
                raise ValueError("Expected at least one batch. Received: data without any")
            self._check_batches(adapter, step)
            return adapter
        return x

    def forget_functions(self) -> None:
        """Lets the next call of `fit` and its like trace its steps anew."""
        self.train_function = self.test_function = self.predict_function = None

    # What a model is asked.

    def stateful_layers(self) -> list[StatefulLayer]:
        """Returns a list of the model's layers with a state of training and others of evaluation, from the first on."""
        return [layer for layer in self._flatten_layers() if isinstance(layer, StatefulLayer)]

    def lookup_layer(self) -> Embedding | None:
        """Returns the `layers.Embedding` that reads the model's inputs if it may be looked up apart, else None."""
        return None

    def word_ids(self, batch: Any) -> dict[str, Tensor]:
        """Returns what of a batch are word ids in [0, V): a dict of "inputs", and "targets" that our losses read."""
        x, y, *_ = keras.utils.unpack_x_y_sample_weight(batch)
        losses = keras.tree.flatten(self.loss)
        ours = y is not None and all(isinstance(loss, LOSSES_OF_FACTORS) for loss in losses)
        return {"inputs": keras.tree.flatten(x)[0], **({"targets": keras.tree.flatten(y)[0]} if ours else {})}

    def ignored(self, name: str) -> int | None:
        """Returns the id out of range that word ids of this name may have, or None."""
        return getattr(keras.tree.flatten(self.loss)[0], "ignore_class", None) if name == "targets" else None

    # For callbacks.

    def when_fit_ends(self, call: Callable[[], None]) -> None:
        """Calls something once the `fit` that runs has ended, also by an error."""
        self._fit_ends.callback(call)

    def elements_per_call(self) -> int:
        """Returns how many elements of its iterator, batches or groups of them, a call of `train_function` takes."""
        return self.steps_per_execution

    # For backends.

    _BATCHES = "get_jax_iterator"  # by which Keras' trainer asks an adapter of data for its batches

    def choose_jit_compile(self, wish: bool | Literal["auto"] | None, reads_logits: bool) -> bool | Literal["auto"]:
        """Returns `jit_compile` for `keras.Model.compile` from that of `LanguageModel.compile`."""
        return "auto" if wish is None else wish

    def _embedding_apart(self) -> Embedding | None:
        """Returns the `lookup_layer` if the gradient of its matrix may be that of the rows it is read at, else None."""
        # A regularizer needs the gradient of the matrix or of the rows; LoRA computes the matrix from three variables.
        embedding = self.lookup_layer()
        if embedding is None or embedding.lora_enabled or embedding.activity_regularizer is not None:
            return None
        matrix = embedding.embeddings
        apart = matrix.regularizer is None and any(variable is matrix for variable in self.trainable_variables)
        return embedding if apart else None

    def _made(self, kind: str, make: Callable[[bool], Any], force: bool) -> Any:
        """Returns the function of training, evaluation or prediction; Keras' `make` makes it, unless it exists."""
        name = f"{kind}_function"
        if force or getattr(self, name) is None:
            make(force)
            if states := {"test": self._evaluation, "predict": self._prediction}.get(kind):
                setattr(self, name, states.used_by(getattr(self, name)))
        return getattr(self, name)

    def _check_batches(self, adapter: DataAdapter, step: str) -> None:
        """Gives Keras' adapter of data, made for one call, batches that are checked, for a step of this name."""
        batches = getattr(adapter, self._BATCHES)

        def checked() -> Iterator[Any]:
            for batch in batches():
                self.check_word_ids(batch)
                yield self._own_rows(batch)

        setattr(adapter, self._BATCHES, checked)

    def _own_rows(self, batch: Any) -> Any:
        """Returns what of a batch this process computes."""
        return batch

    def _prepare_function(self, name: str, shape: Any) -> None:
        """Called before Keras' trainer uses a step function, with what is known of the batches' shape."""

    def _batch_size_of(self, x: Any, batch_size: int | None) -> int | None:
        """The batch size to pass to Keras. For arrays it is checked; for other data it is what was given."""
        if (array := array_of(x)) is not None:
            batch_size = batch_size or self.batch_size
            _check_rows(array, batch_size)
        return batch_size


def _check_rows(array: np.ndarray, batch_size: int, part: str = "") -> None:
    if not (left_over := len(array) % batch_size):
        return
    advice = f"drop the last {left_over}, or use make_dataset"
    if left_over == len(array):
        advice = "give more, or a smaller batch size, which in training is the model's own"
    raise ValueError(
        f"A stateful model needs whole batches: the number of rows must be a multiple of batch_size="
        f"{batch_size}. Received: {len(array)} rows{part and ' '}{part}; {advice}."
    )


def _refuse_class_weights(class_weight: Any) -> None:
    # Keras would treat each row of the [B, T] targets as one-hot, and the index of its largest id as the class.
    if class_weight is not None:
        raise ValueError(
            "Keras applies one class weight to a row, and here each word has its own class. Give each word a weight, "
            f"`sample_weight=weights[y]`, of y's shape. Received: class_weight={class_weight!r:.60}"
        )


def word_ids_expected(name: str, vocabulary_size: int) -> str:
    """Returns the beginning of an error, before the id that was received."""
    return f"Expected word ids in [0, {vocabulary_size}), the model's vocabulary. Received: in the {name}"


def array_of(x: Any) -> Any:
    """The array, all that Keras cuts into batches, that is the one input or in a dict or list; None for other data."""
    if isinstance(x, dict | list | tuple) and len(x) == 1:
        (x,) = x.values() if isinstance(x, dict) else x
    return x if x is not None and can_slice_array(x) else None


def _shape(x: Any, sample_weight: Any = None) -> tuple[Any, Any]:
    array = array_of(x)
    of_weights = None if sample_weight is None else np.shape(sample_weight)[1:]
    return np.shape(x if array is None else array), of_weights


def _shapes(x: Any, batch_size: int | None, sample_weight: Any = None) -> Any:
    """What is known about the shapes of a batch beforehand; None if nothing is."""
    if array_of(x) is None:
        return getattr(x, "element_spec", None)
    (_, *of_row), of_weights = _shape(x, sample_weight)
    return (batch_size, *of_row), of_weights
