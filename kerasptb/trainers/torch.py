"""What Keras' PyTorch trainer lacks for stateful batches."""

import contextlib
from collections.abc import Iterator
from typing import Any, Literal

import keras
import torch

from kerasptb.layers.embedding import looked_up
from kerasptb.ops.logits import unread
from kerasptb.optimizers.one_pass import OnePassStep
from kerasptb.trainers.stateful import StatefulTrainer
from kerasptb.utils.interrupts import uninterrupted
from kerasptb.utils.types import Tensor


class Trainer(StatefulTrainer):
    """Steps are Keras' own, in which logits that nobody reads are not computed, and sparse gradients stay sparse."""

    _BATCHES = "get_torch_dataloader"
    _reads_logits_in_steps = True

    def train_step(self, data: Any) -> dict[str, Any]:
        """One training step, as `keras.Model.train_step`; the gradient of the embedding has B T rows."""
        data = _as_tensors(data)
        with self._whole_or_not(), self._looked_up(keras.tree.flatten(data)[0]):
            return super().train_step(data)

    def test_step(self, data: Any) -> dict[str, Any]:
        """One evaluation step, as `keras.Model.test_step`."""
        with self._whole_or_not():
            return super().test_step(_as_tensors(data))

    def choose_jit_compile(self, wish: bool | Literal["auto"] | None, reads_logits: bool) -> bool | Literal["auto"]:
        """Returns `jit_compile` for `keras.Model.compile`; see `StatefulTrainer.choose_jit_compile`."""
        self._reads_logits_in_steps = reads_logits
        return super().choose_jit_compile(wish, reads_logits)

    @contextlib.contextmanager
    def _whole_or_not(self) -> Iterator[None]:
        """A context of a step: Ctrl-C waits for its end, and after an error the states are those before it."""
        before = [(variable, keras.ops.copy(variable.value)) for variable in self.state_variables()]
        try:
            with uninterrupted(), unread(not self._reads_logits_in_steps):
                yield
        except BaseException:
            for variable, value in before:
                variable.assign(value)
            raise

    def _looked_up(self, tokens: Tensor) -> contextlib.AbstractContextManager:
        """A context of a step in which the embedding's matrix has a sparse gradient, if the optimizer takes it."""
        embedding = self._embedding_apart()
        if embedding is None or not isinstance(self.optimizer, OnePassStep):
            return contextlib.nullcontext()
        self.optimizer.build(self.trainable_variables)
        if not self.optimizer.takes_row_gradients():
            return contextlib.nullcontext()
        ids = keras.ops.cast(tokens, "int32")
        vectors = torch.nn.functional.embedding(ids, embedding.embeddings.value, sparse=True)
        return looked_up(embedding, keras.ops.cast(vectors, embedding.compute_dtype))


def _as_tensors(data: Any) -> Any:
    """Returns a batch as tensors: a metric knows the targets of the loss by the tensor that they are."""
    return keras.tree.map_structure(lambda x: None if x is None else keras.ops.convert_to_tensor(x), data)
