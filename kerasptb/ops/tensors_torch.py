"""Custom gradients with PyTorch: Keras' own take one result alone."""

from collections.abc import Callable, Iterator
from typing import Any

import torch

from kerasptb.ops.sharding import Passes
from kerasptb.utils.types import Tensor


class _Differentiated(torch.autograd.Function):
    """A call whose gradient may be asked for."""

    @staticmethod
    def forward(context: Any, passes: Passes, *arguments: Tensor) -> Any:
        outputs, saved = passes.forward(*arguments)
        # Kept so, tensors are checked to be unchanged, and results kept without a circle of references.
        context.save_for_backward(*_leaves(saved))
        context.passes, context.structure = passes, _structure(saved)
        return outputs

    @staticmethod
    def backward(context: Any, *upstream: Tensor) -> tuple[Tensor | None, ...]:
        saved = _rebuilt(context.structure, iter(context.saved_tensors))
        return None, *context.passes.backward(saved, upstream)


# Of lists and tuples in each other; `keras.tree` takes as long for them as a kernel does.
def _leaves(tree: Any) -> list[Tensor]:
    return [leaf for part in tree for leaf in _leaves(part)] if isinstance(tree, list | tuple) else [tree]


def _structure(tree: Any) -> list | None:
    return [*map(_structure, tree)] if isinstance(tree, list | tuple) else None


def _rebuilt(structure: list | None, leaves: Iterator[Tensor]) -> Any:
    return next(leaves) if structure is None else [_rebuilt(part, leaves) for part in structure]


def differentiable(passes: Passes) -> Callable[..., Any]:
    """Returns a function of tensors; see `tensors.differentiable`."""

    def run(*arguments: Tensor) -> Any:
        if torch.is_grad_enabled() and any(argument.requires_grad for argument in arguments):
            return _Differentiated.apply(passes, *arguments)
        return passes.inference(*arguments)

    return run
