"""The steps of a `LanguageModel` under JAX.

Keras' JAX trainer passes the values of all variables into a step and takes the new values from its result. The state is
four lists of values, in the order of the model's properties `trainable_variables`, `non_trainable_variables`,
`optimizer_variables` and `metrics_variables`. With JAX the recurrent states are among the non-trainable variables.
"""

import itertools

import jax
import keras

from kerasptb.optimizers.clipped_sgd import ClippedSGD, RowGradient
from kerasptb.utils.interrupts import uninterrupted


def train_step(model, state, tokens, targets):
    """One training step.

    Args:
        model: a `LanguageModel` that was compiled with its defaults.
        state: the four lists of values.
        tokens: int32 [B, T].
        targets: int32 [B, T].

    Returns:
        The logs, and the state after the step.
    """
    trainable, non_trainable, optimizer_variables, metrics_variables = state
    embedding = model.get_layer("embedding")
    # With LoRA the matrix is computed from three variables, whose values the trainer has taken out of them.
    matrix = None if embedding.lora_enabled else embedding.embeddings
    position = _position(matrix, model.trainable_variables)
    # The embedding is looked up outside the differentiated function. Its gradient then has B T rows, as in TensorFlow,
    # instead of the size of the whole matrix. Two cases need the matrix inside: a tied matrix has a gradient of its
    # full size anyway, and a regularizer needs the gradient of the matrix or of the rows looked up.
    by_rows = position is not None and not model.tie_embeddings
    by_rows = by_rows and matrix.regularizer is None and embedding.activity_regularizer is None
    with _values((model.trainable_variables, trainable)):
        embedded = embedding(tokens) if by_rows else None

    def loss_of(trainable, embedded):
        with _values(
            (model.trainable_variables, trainable),
            (model.non_trainable_variables, non_trainable),
            (model.optimizer.variables, optimizer_variables),
        ) as scope:
            hidden = model._encode_embedded(embedding(tokens) if embedded is None else embedded, training=True)
            cost = model._cost_of_hidden(hidden, targets)
            total = model._with_added_losses(cost)
            loss = model.optimizer.scale_loss(total)
        return loss, (total, cost, _values_after(scope, model.non_trainable_variables))

    differentiate = jax.value_and_grad(loss_of, argnums=(0, 1) if by_rows else (0,), has_aux=True)
    (_, (total, cost, non_trainable)), (gradients, *of_rows) = differentiate(trainable, embedded)
    if by_rows:
        gradients[position] = _gradient_of_matrix(model.optimizer, trainable[position], tokens, of_rows[0])
    trainable, optimizer_variables = model.optimizer.stateless_apply(optimizer_variables, gradients, trainable)
    logs, metrics_variables = _update_logs(model, metrics_variables, total, cost, tokens)
    return logs, (trainable, non_trainable, optimizer_variables, metrics_variables)


def test_step(model, state, tokens, targets):
    """One evaluation step. Like `train_step`, but the state has no optimizer variables."""
    trainable, non_trainable, metrics_variables = state
    with _values((model.trainable_variables, trainable), (model.non_trainable_variables, non_trainable)) as scope:
        cost = model.compute_cost(tokens, targets)
        total = model._with_added_losses(cost)
    non_trainable = _values_after(scope, model.non_trainable_variables)
    logs, metrics_variables = _update_logs(model, metrics_variables, total, cost, tokens)
    return logs, (trainable, non_trainable, metrics_variables)


def _synced_at_errors(name):
    """A method of `keras.Model` that puts the values back into the variables if it raises."""

    def method(self, *args, **kwargs):
        try:
            return getattr(super(KeepsValues, self), name)(*args, **kwargs)
        except BaseException:
            self.jax_state_sync()
            raise

    method.__name__ = name
    return method


class KeepsValues:
    """A mixin of `LanguageModel`, before `keras.Model`: the model keeps its last values whatever is raised.

    Keras' trainer takes the values out of the variables while it trains or evaluates. Afterwards it puts back the
    values of the last execution that it has seen end. An error before that, such as refused data or Ctrl-C, would leave
    the model without values. While Keras waits for a result, it also blocks Ctrl-C. The recurrent states of evaluation
    must be among the values that a step receives, so they are made before the step.
    """

    def _make_function(self, step_function, *args, **kwargs):
        def step(state, data):
            with uninterrupted():  # the step may reuse the arrays of the old state, so the new state must be kept
                outputs, after = step_function(state, data)
                keep(self, after)
            return outputs, after

        run = super()._make_function(step, *args, **kwargs)

        def execution(state, iterator):
            keep(self, state)
            outputs, after = run(state, iterator)
            jax.block_until_ready(outputs)  # Keras waits next, but in a way that swallows Ctrl-C
            return outputs, after

        return execution

    def make_test_function(self, force=False):
        """Makes the function that `evaluate` runs for each batch, unless it exists."""
        if self.test_function is None or force:
            super().make_test_function(force)
            self.test_function = with_evaluation_states(self, self.test_function)
        return self.test_function

    def make_predict_function(self, force=False):
        """Makes the function that `predict` runs for each batch, unless it exists."""
        if self.predict_function is None or force:
            super().make_predict_function(force)
            self.predict_function = with_evaluation_states(self, self.predict_function)
        return self.predict_function

    fit = _synced_at_errors("fit")
    evaluate = _synced_at_errors("evaluate")
    predict = _synced_at_errors("predict")
    train_on_batch = _synced_at_errors("train_on_batch")
    test_on_batch = _synced_at_errors("test_on_batch")
    predict_on_batch = _synced_at_errors("predict_on_batch")


_PARTS = ("trainable_variables", "non_trainable_variables", "optimizer_variables", "metrics_variables")
_PARTS_OF = {4: _PARTS, 3: (*_PARTS[:2], _PARTS[3]), 2: _PARTS[:2]}  # of training, of evaluation, of prediction


def keep(model, state):
    """Stores the state whose values Keras will put back into the model's variables.

    Args:
        model: a model, while Keras' trainer holds the values of its variables.
        state: tuple of two to four lists of values.
    """
    model._jax_state = dict(zip(_PARTS_OF[len(state)], state, strict=True))
    model._jax_state_synced = False


def with_evaluation_states(model, function):
    """Returns a step function of Keras' trainer that first makes the recurrent states for batches of a new size.

    States made inside a step would be missing from the state that the step was given.
    """

    def run(state, iterator):
        keep(model, state)
        data = next(iterator)
        tokens = keras.tree.flatten(data)[0]
        trainable, non_trainable, *rest = state
        before = model.non_trainable_variables
        model.make_evaluation_states(tokens.shape[0])
        values = dict(zip(map(id, before), non_trainable, strict=True))
        # Only new variables hold a value: the trainer has taken the values out of the others.
        values |= {id(v): v.value for v in model.non_trainable_variables if id(v) not in values}
        non_trainable = [values[id(v)] for v in model.non_trainable_variables]
        return function((trainable, non_trainable, *rest), itertools.chain([data], iterator))

    return run


def _values(*pairs):
    """A scope in which variables have these values. Assignments stay inside the scope.

    Args:
        *pairs: lists of variables, each with the list of their values.
    """
    mapping = [entry for variables, values in pairs for entry in zip(variables, values, strict=True)]
    return keras.StatelessScope(collect_losses=True, state_mapping=mapping)


def _values_after(scope, variables):
    return [scope.get_current_value(variable) for variable in variables]


def _position(variable, variables):
    return next((i for i, other in enumerate(variables) if other is variable), None)


def _gradient_of_matrix(optimizer, matrix, rows, values):
    """The gradient of the embedding matrix, made from the gradients of the rows, in a form that the optimizer takes."""
    if isinstance(optimizer, ClippedSGD) and optimizer.takes_row_gradients():
        return RowGradient(rows, values)
    return jax.numpy.zeros_like(matrix).at[rows].add(values.astype(matrix.dtype))


def _update_logs(model, metrics_variables, total, cost, tokens):
    variables = model.metrics_variables
    with _values((variables, metrics_variables)) as scope:
        logs = model._update_logs(total, cost, tokens)
    return logs, _values_after(scope, variables)
