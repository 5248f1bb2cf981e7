"""What Keras' JAX trainer lacks for stateful batches.

Keras' JAX trainer passes the values of all variables into a step and takes the new values from its result. The state is
four lists of values, in the order of the model's properties `trainable_variables`, `non_trainable_variables`,
`optimizer_variables` and `metrics_variables`. With JAX the recurrent states are among the non-trainable variables.
"""

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import keras

from kerasptb.layers.embedding import Embedding, looked_up
from kerasptb.ops.sharding import on_every_replica
from kerasptb.optimizers.one_pass import OnePassStep, RowGradient
from kerasptb.trainers import peers, replicas
from kerasptb.trainers.stateful import StatefulTrainer, array_of
from kerasptb.utils.interrupts import uninterrupted
from kerasptb.utils.types import Tensor


def _synced_at_errors(name: str) -> Any:
    """A method of `keras.Model` on replicas, if there are any, that puts the variables' values back if it raises."""

    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            with replicas.in_force() as distribution:
                if distribution is not None and name.endswith("_on_batch"):  # Keras hands these on as they are
                    args = tuple(map(distribution.own_rows_of_array, args))
                    kwargs = {key: distribution.own_rows_of_array(value) for key, value in kwargs.items()}
                return getattr(super(Trainer, self), name)(*args, **kwargs)
        except BaseException:
            self.jax_state_sync()
            raise

    method.__name__ = name
    return method


class Trainer(StatefulTrainer):
    """A step of training that keeps sparse gradients sparse, and a model that keeps its values whatever is raised.

    Keras' trainer takes the values out of the variables while it trains or evaluates, and puts back those of the last
    execution that it has seen end: an error before that, such as Ctrl-C, would leave the model without values.
    """

    def train_step(self, state: Any, data: Any) -> tuple[Any, Any]:
        """One training step, as `keras.Model.train_step`; the gradient of the embedding has B T rows."""
        # Metrics are updated inside of the differentiated function, which the factors of logits do not leave; the
        # embedding is looked up outside of it.
        trainable, non_trainable, optimizer_variables, metrics_variables = state
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        (tokens,) = keras.tree.flatten(x)
        tokens = keras.ops.cast(tokens, "int32")  # word ids may be whole numbers of a float type
        embedding, position, vectors = self._look_up(tokens, trainable)

        def loss_of(trainable: list[Tensor], vectors: Tensor | None) -> tuple[Tensor, tuple[Any, ...]]:
            with looked_up(embedding, vectors):
                loss, (unscaled, y_pred, *after) = self.compute_loss_and_updates(
                    trainable,
                    non_trainable,
                    metrics_variables,
                    x,
                    y,
                    sample_weight,
                    training=True,
                    optimizer_variables=optimizer_variables,
                )
            logs, after[1] = self._update_metrics_variables(after[1], unscaled, x, y, y_pred, sample_weight)
            return loss, (logs, *after)

        differentiate = jax.value_and_grad(loss_of, argnums=(0,) if vectors is None else (0, 1), has_aux=True)
        (_, (logs, non_trainable, metrics_variables)), (gradients, *rows) = differentiate(trainable, vectors)
        if rows:
            gradients[position] = _gradient_of_matrix(self.optimizer, trainable[position], tokens, rows[0])
        trainable, optimizer_variables = self.optimizer.stateless_apply(optimizer_variables, gradients, trainable)
        return logs, (trainable, non_trainable, optimizer_variables, metrics_variables)

    @property
    def variables(self) -> list[keras.Variable]:
        """The model's variables and those of its evaluations' recurrent states, which a step is given and returns."""
        return [*super().variables, *self._evaluation.variables(), *self._prediction.variables()]

    def predict_step(self, state: Any, data: Any) -> tuple[Any, Any]:
        """One step of prediction, as `keras.Model.predict_step`; every process gets all rows."""
        outputs, after = super().predict_step(state, data)
        return keras.tree.map_structure(lambda output: on_every_replica(output)[0], outputs), after

    def _checked(self, step: str, x: Any, y: Any = None, *args: Any) -> Any:
        if _has_processes() and array_of(x) is not None:
            raise ValueError(
                "Several processes divide batches: give them a `make_dataset` or a `keras.utils.PyDataset` of whole "
                f"batches. Received: an array of shape {tuple(array_of(x).shape)}"
            )
        return super()._checked(step, x, y, *args)

    def _own_rows(self, batch: Any) -> Any:
        distribution = keras.distribution.distribution()
        return distribution.own_rows(batch) if isinstance(distribution, replicas.Replicas) else batch

    def _look_up(self, tokens: Tensor, trainable: list[Tensor]) -> tuple[Embedding | None, int | None, Tensor | None]:
        """Returns the embedding to look up apart, the position of its matrix, and the vectors; or None three times."""
        embedding, variables = self._embedding_apart(), self.trainable_variables
        if embedding is None:
            return None, None, None
        position = next(i for i, variable in enumerate(variables) if variable is embedding.embeddings)
        with keras.StatelessScope(state_mapping=list(zip(variables, trainable, strict=True))):
            return embedding, position, embedding(tokens)

    def _make_function(self, step_function: Any, *args: Any, **kwargs: Any) -> Any:
        def step(state: Any, data: Any) -> tuple[Any, Any]:
            with uninterrupted():  # the step may reuse the arrays of the old state, so the new state is stored
                outputs, after = step_function(state, data)
                store(self, after)
            return outputs, after

        run = super()._make_function(step, *args, **kwargs)

        def execution(state: Any, iterator: Any) -> tuple[Any, Any]:
            store(self, state)
            outputs, after = run(state, iterator)
            jax.block_until_ready(outputs)  # Keras waits next, but in a way that swallows Ctrl-C
            return outputs, after

        return execution

    def _made(self, kind: str, make: Callable[[bool], Any], force: bool) -> Any:
        name = f"{kind}_function"
        if force or getattr(self, name) is None:
            if kind == "train":
                # New variables made later would cause the step to be compiled again. Evaluation mostly uses this size.
                self.make_evaluation_states(self.batch_size)
            with_states(self, name, lambda: super(Trainer, self)._made(kind, make, force=True))
        return getattr(self, name)

    def save(self, *args: Any, **kwargs: Any) -> None:
        """As `keras.Model.save`; of several processes that train together the first one writes."""
        peers.by_first(lambda: super(Trainer, self).save(*args, **kwargs))

    def save_weights(self, *args: Any, **kwargs: Any) -> None:
        """As `keras.Model.save_weights`; of several processes that train together the first one writes."""
        peers.by_first(lambda: super(Trainer, self).save_weights(*args, **kwargs))

    fit = _synced_at_errors("fit")
    evaluate = _synced_at_errors("evaluate")
    predict = _synced_at_errors("predict")
    train_on_batch = _synced_at_errors("train_on_batch")
    test_on_batch = _synced_at_errors("test_on_batch")
    predict_on_batch = _synced_at_errors("predict_on_batch")


def _has_processes() -> bool:
    distribution = keras.distribution.distribution()
    return isinstance(distribution, replicas.Replicas) and distribution.has_processes


_PARTS = ("trainable_variables", "non_trainable_variables", "optimizer_variables", "metrics_variables")
_PARTS_OF = {4: _PARTS, 3: (*_PARTS[:2], _PARTS[3]), 2: _PARTS[:2]}  # of training, of evaluation, of prediction


def store(model: keras.Model, state: Sequence[Any]) -> None:
    """Stores the state, two to four lists of values, which Keras will put back into the model's variables."""
    model._jax_state = dict(zip(_PARTS_OF[len(state)], state, strict=True))
    model._jax_state_synced = False


def with_states(model: keras.Model, name: str, make: Callable[[], Any]) -> None:
    """Makes a step function of Keras' trainer that first makes the recurrent states for batches of a new size.

    Those made inside a step would be missing from what it was given. The function knows the layout of all variables, so
    it is made again, by `make`, when there are new ones.
    """
    step: Any = None
    known = 0

    def run(state: Any, iterator: Any) -> tuple[Any, Any]:
        store(model, state)
        data = next(iterator)
        rows = keras.tree.flatten(data)[0].shape[0]
        is_new = name != "train_function" and not model.has_evaluation_states(rows)
        if is_new or len(state[1]) != known:
            parts = _PARTS_OF[len(state)]
            model.jax_state_sync()  # now: new variables change the order of the others
            if is_new:
                model.make_evaluation_states(rows)
            install()
            state = tuple([variable.value for variable in _variables(model, part)] for part in parts)
        return step(state, itertools.chain([data], iterator))

    def install() -> None:
        nonlocal step, known
        make()
        step, known = getattr(model, name), len(model.non_trainable_variables)
        setattr(model, name, run)

    install()


def _variables(model: keras.Model, part: str) -> list[keras.Variable]:
    return model.optimizer.variables if part == "optimizer_variables" else getattr(model, part)


def _gradient_of_matrix(optimizer: Any, matrix: Tensor, rows: Tensor, values: Tensor) -> Tensor | RowGradient:
    """The gradient of the embedding matrix, made from the gradients of the rows, in a form that the optimizer takes."""
    if isinstance(optimizer, OnePassStep) and optimizer.takes_row_gradients():
        # Replicas exchange the rows, not the matrix. Each occurrence counts in the norm, so the rows cannot be summed.
        rows, values = on_every_replica(rows, values)
        return RowGradient(rows, values.astype(matrix.dtype))
    return jax.numpy.zeros_like(matrix).at[rows].add(values.astype(matrix.dtype))
