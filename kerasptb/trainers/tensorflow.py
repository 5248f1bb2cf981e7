"""What Keras' TensorFlow trainer lacks for stateful batches."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Literal

import keras
import tensorflow as tf

from kerasptb.compat.keras import DataAdapter, model_supports_jit
from kerasptb.ops import platform as platforms
from kerasptb.ops import tensors
from kerasptb.trainers.stateful import StatefulTrainer, word_ids_expected
from kerasptb.trainers.step_groups import Groups, can_be_grouped, function_of_groups
from kerasptb.utils.types import Tensor


class Trainer(StatefulTrainer):
    """Steps are Keras' own; before them batches are checked, and no step runs before its batch has come."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._traced, self._chose_xla = _TracedFunctions(), False

    def compile(self, *args: Any, **kwargs: Any) -> None:
        """Configures training as `keras.Model.compile` does; refuses a model made under a `tf.distribute` strategy."""
        # Keras trains under the strategy that the model was made under, wherever it is compiled.
        with self.distribute_strategy.scope():
            if tf.distribute.has_strategy():
                raise ValueError(
                    f"A {type(self).__name__} trains on one device: its recurrent state has the rows of a whole batch. "
                    "Several devices train it with Keras on JAX: KERAS_BACKEND=jax, keras.distribution.DataParallel. "
                    f"Received: a model made under {type(tf.distribute.get_strategy()).__name__}"
                )
        super().compile(*args, **kwargs)
        self._traced = _TracedFunctions()

    def train_step(self, data: Any) -> dict[str, Any]:
        """One training step, as `keras.Model.train_step`."""
        if not self.optimizer.built:
            # Variables made below would have initial values that wait for the data: XLA could not lift them out.
            self.optimizer.build(self.trainable_variables)
        with after_batch(data):
            return super().train_step(data)

    def test_step(self, data: Any) -> dict[str, Any]:
        """One evaluation step, as `keras.Model.test_step`."""
        with after_batch(data):
            return super().test_step(data)

    def predict_step(self, data: Any) -> Any:
        """One step of prediction, as `keras.Model.predict_step`."""
        with after_batch(data):
            return super().predict_step(data)

    def _made(self, kind: str, make: Callable[[bool], Any], force: bool) -> Any:
        if self._make_function_of_groups(kind, force) is None:
            compiled = self.jit_compile
            # Prediction reads the logits. For open shapes XLA would compile the program for every shape that comes.
            if self._chose_xla and (kind == "predict" or self._traced.is_open(f"{kind}_function")):
                self.jit_compile = False
            try:
                super()._made(kind, make, force)
            finally:
                self.jit_compile = compiled
        return getattr(self, f"{kind}_function")

    def _make_function_of_groups(self, kind: str, force: bool) -> Any:
        """Makes and returns the function if the data come in groups, else returns None."""
        name = f"{kind}_function"
        if not (size := self._traced.group_size(name)):
            return None
        if force or getattr(self, name) is None:
            if kind == "train" and not self.optimizer.built:
                self.optimizer.build(self.trainable_variables)  # not in the program's loop, which it has to outlive
            step = self.train_step if kind == "train" else self._evaluation.used_by(self.test_step)
            setattr(self, name, function_of_groups(step, self.get_metrics_result, size))
        return getattr(self, name)

    def choose_jit_compile(self, wish: bool | Literal["auto"] | None, reads_logits: bool) -> bool | Literal["auto"]:
        """Returns `jit_compile` for `keras.Model.compile`; see `StatefulTrainer.choose_jit_compile`."""
        self._chose_xla = False
        if wish not in (None, "auto"):
            return wish
        # On a GPU, one XLA program for the step saves the host hundreds of launches. "auto" compiles if every layer
        # allows it: native layers do, cuDNN's operation in TensorFlow does not.
        if platforms.visible_gpus():
            return "auto"
        # On a processor XLA is faster if little is left to it: it multiplies large matrices slower than TensorFlow.
        self._chose_xla = not reads_logits and self._is_native() and model_supports_jit(self)
        return self._chose_xla

    def _is_native(self) -> bool:
        """Whether native kernels do all the work of the layers that have any."""
        batch = self.batch_size, self.num_steps
        planned = [layer for layer in self.layers if hasattr(layer, "plan")]
        return all(layer.plan((*batch, layer.input.shape[-1])).implementation == "native" for layer in planned)

    def forget_functions(self) -> None:
        """Lets the next call of `fit` and its like trace its steps anew, for batches of any shape."""
        super().forget_functions()
        self._traced = _TracedFunctions()

    def elements_per_call(self) -> int:
        """Returns how many elements of its iterator a call of `train_function` takes: batches, or groups of them."""
        return 1 if self._traced.group_size("train_function") else super().elements_per_call()

    def _check_batches(self, adapter: DataAdapter, step: str) -> None:
        dataset = adapter.get_tf_dataset()
        if not isinstance(dataset, tf.data.Dataset):  # one that a strategy has distributed
            return
        if grouped := self._is_one_program(dataset, step):
            dataset = dataset.batch(self.steps_per_execution)
        rows = None if grouped else self.batch_size
        dataset = dataset.map(lambda *batch: self._checked_batch(batch, rows))
        spec = dataset.element_spec
        adapter.element_spec = Groups(spec, self.steps_per_execution) if grouped else spec
        adapter.get_tf_dataset = lambda: dataset

    @tensors.do_not_convert
    def _checked_batch(self, batch: tuple[Any, ...], rows: int | None) -> Any:
        """Returns a batch, or a group of them, after its checks; an open number of rows becomes `rows`, if not None."""
        batch = batch if len(batch) > 1 else batch[0]
        checks = [self._in_range(name, ids) for name, ids in self.word_ids(batch).items()]
        with tf.control_dependencies(checks):
            return tf.nest.map_structure(lambda x: with_rows(x, rows), batch)

    def _in_range(self, name: str, ids: Tensor) -> Any:
        if (ignored := self.ignored(name)) is not None:
            ids = tf.where(ids == ignored, tf.zeros_like(ids), ids)
        ids = tensors.word_ids(ids, name)
        ids = ids if ids.dtype == tf.int32 else tf.cast(ids, tf.int64)
        unsigned = tf.uint32 if ids.dtype == tf.int32 else tf.uint64  # those below 0 are the largest there
        largest = tf.reduce_max(tf.bitcast(ids, unsigned))
        expected = word_ids_expected(name, self.vocabulary_size)
        inside = largest < tf.constant(self.vocabulary_size, unsigned)
        return tf.debugging.Assert(inside, [expected, tf.bitcast(largest, ids.dtype)])

    def _is_one_program(self, data: tf.data.Dataset, step: str) -> bool:
        """Whether the steps of a call can be one XLA program: their only effects are on variables then."""
        return (
            step != "predict_step"  # Keras makes the function of its steps
            and can_be_grouped(data)
            and self.jit_compile is True
            and self.steps_per_execution > 1
            and getattr(type(self), step) is getattr(Trainer, step)
            and type(self).compute_metrics is keras.Model.compute_metrics  # its logs are the metrics' results
            and not self.run_eagerly
            and not platforms.visible_gpus()  # the loop would wait for the host at each step
            and not tf.distribute.has_strategy()
        )

    def _prepare_function(self, name: str, shape: Any) -> None:
        # Keras would retrace the current function and leave open the dimensions that differ.
        if (metrics := self._compile_metrics) is not None and not metrics.built:
            # Now, not while a step is traced: its variables could not wait for the data there.
            metrics.build(keras.KerasTensor((self.batch_size, None), "int32"), self.output)
        setattr(self, name, self._traced.exchange(name, shape, getattr(self, name)))


class _TracedFunctions:
    """The step functions of a model, by the shape of the batches that they were traced for; Keras does not track them.

    Shapes may alternate, tracing takes long, and TensorFlow never frees all of a trace's memory: the functions stay.
    """

    _MAX = 32  # functions of each kind of step, the latest ones

    def __init__(self) -> None:
        self._shapes: dict[str, Any] = {}
        self._others: dict[str, list[tuple[Any, Any]]] = {}

    def exchange(self, kind: str, shape: Any, function: Any) -> Any:
        """Stores the current function and returns the one for `shape`, or None if that is not traced yet."""
        before = self._shapes.setdefault(kind, shape)
        if before == shape:
            return function
        others = self._others.setdefault(kind, [])
        found = next((other for other in others if other[0] == shape), (shape, None))
        latest = [other for other in others if other is not found][1 - self._MAX :]
        self._others[kind] = [*latest, (before, function)]
        self._shapes[kind] = shape
        return found[1]

    def is_open(self, kind: str) -> bool:
        """Whether a dimension of the current function's batches is not known."""
        specs = tf.nest.flatten(self._shapes.get(kind))
        return any(isinstance(spec, tf.TensorSpec) and not spec.shape.is_fully_defined() for spec in specs)

    def group_size(self, kind: str) -> int | None:
        """The batches of a group that the current function takes, or None if it takes single batches."""
        shape = self._shapes.get(kind)
        return shape.size if isinstance(shape, Groups) else None


def after_batch(data: Any) -> AbstractContextManager:
    """Returns a context for a step: no operation runs before the step's data, tensors in any structure, have come."""
    return tensors.after(*keras.tree.flatten(data))


def with_rows(x: Tensor, batch_size: int | None) -> Tensor:
    """Returns a copy of a tensor, with this static number of rows, unless it is `None`, if the number was open."""
    if batch_size is None or not isinstance(x, tf.Tensor) or x.shape.rank in (None, 0) or x.shape[0] is not None:
        return tf.identity(x)
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
