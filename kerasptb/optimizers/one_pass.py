"""The step of all variables as one native operation."""

import keras
from keras import ops

from kerasptb.ops.clipped_step import plan_of
from kerasptb.ops.plan import Plan
from kerasptb.ops.tensors import compiled_by_xla
from kerasptb.optimizers.averaging import PolyakAveraging

_ON_TENSORFLOW = keras.backend.backend() == "tensorflow"
if _ON_TENSORFLOW:
    import tensorflow as tf


def clip_norm(value):
    """Returns the largest norm of the gradients, `None` for one that does not clip: 0, as in Keras."""
    if value is not None and not value >= 0:
        raise ValueError(f"Expected global_clipnorm to be above 0, or None. Received: global_clipnorm={value}")
    return value or None


class OnePassStep(PolyakAveraging):
    """Lets an optimizer clip, decay, update and average all variables in one native operation; a base beside Keras'.

    Only in a step that XLA compiles on a processor: XLA lets it update the variables' own memory, and XLA's operations,
    one for each variable, would wait for its threads. A subclass has `_updated`, and `_slot_lists` for its variables.
    """

    _plan: Plan | None = None  # of the step that is being traced, if it is one pass

    def _plan_of_one_pass(self, gradients, variables):
        """Returns the `Plan` of the native operation that does the step of these variables, or None."""
        if not _ON_TENSORFLOW or not compiled_by_xla() or tf.distribute.has_strategy():
            return None
        if self.gradient_accumulation_steps or self.clipnorm or self.clipvalue:
            return None
        plan = plan_of(variables, _pairs(gradients))
        return plan if plan.is_native else None

    def _slot_lists(self):
        """Returns lists of the optimizer's own variables for all trainable variables."""
        return []

    def _updated(self, plan, arrays, gradients, learning_rate, **options):
        """Returns the arrays, weights and those of `_slot_lists`, after a step, and the averages."""
        raise NotImplementedError

    def _backend_apply_gradients(self, grads, trainable_variables):
        self._plan = self._plan_of_one_pass(grads, trainable_variables)
        try:
            super()._backend_apply_gradients(grads, trainable_variables)
        finally:
            self._plan = None

    def _clip_gradients(self, grads):
        return super()._clip_gradients(grads) if self._plan is None else grads

    def _apply_weight_decay(self, variables):
        if self._plan is None:
            super()._apply_weight_decay(variables)

    def _update_model_variables_moving_average(self, trainable_variables):
        if self._plan is None:
            super()._update_model_variables_moving_average(trainable_variables)

    def _backend_update_step(self, grads, trainable_variables, learning_rate):
        if self._plan is None:
            super()._backend_update_step(grads, trainable_variables, learning_rate)
            return
        places = [self._get_variable_index(v) for v in trainable_variables]
        weights = [v.value if isinstance(v, keras.Variable) else v for v in trainable_variables]
        slots = [[of_all[i].value for i in places] for of_all in self._slot_lists()]
        options = {"global_clipnorm": self.global_clipnorm}
        if self.weight_decay is not None:
            options["weight_decays"] = [self.weight_decay if self._use_weight_decay(w) else 0.0 for w in weights]
        averages = []
        if self.use_ema:
            averages = [self._model_variables_moving_average[i].value for i in places]
            options |= {"averages": _tensors(averages), "average_momentum": self.average_momentum()}
        arrays = [_tensors(x) for x in (weights, *slots)]
        arrays, new_averages = self._updated(self._plan, arrays, _pairs(grads), learning_rate, **options)
        for variables, values in zip([weights, *slots, averages], [*arrays, new_averages], strict=True):
            for variable, value in zip(variables, values, strict=True):
                variable.assign(value)
        if self.use_ema:  # also of variables without a gradient
            followed = zip(self._trainable_variables, self._model_variables_moving_average, strict=True)
            self._average([pair for i, pair in enumerate(followed) if i not in places])


def _tensors(variables):
    return [ops.convert_to_tensor(v) for v in variables]


def _pairs(gradients):
    return [(g.indices, g.values) if isinstance(g, tf.IndexedSlices) else g for g in gradients]
