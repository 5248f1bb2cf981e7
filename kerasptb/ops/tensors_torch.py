"""Custom gradients with PyTorch: Keras' own take one result alone."""

import torch


class _Differentiated(torch.autograd.Function):
    """A call whose gradient may be asked for."""

    @staticmethod
    def forward(context, passes, *arguments):
        outputs, saved = passes.forward(*arguments)
        # Kept so, tensors are checked to be unchanged, and results kept without a circle of references.
        context.save_for_backward(*_leaves(saved))
        context.passes, context.structure = passes, _structure(saved)
        return outputs

    @staticmethod
    def backward(context, *upstream):
        saved = _rebuilt(context.structure, iter(context.saved_tensors))
        return None, *context.passes.backward(saved, upstream)


# Of lists and tuples in each other; `keras.tree` takes as long for them as a kernel does.
def _leaves(tree):
    return [leaf for part in tree for leaf in _leaves(part)] if isinstance(tree, list | tuple) else [tree]


def _structure(tree):
    return [*map(_structure, tree)] if isinstance(tree, list | tuple) else None


def _rebuilt(structure, leaves):
    return next(leaves) if structure is None else [_rebuilt(part, leaves) for part in structure]


def differentiable(passes):
    """Returns a function of tensors; see `tensors.differentiable`."""

    def run(*arguments):
        if torch.is_grad_enabled() and any(argument.requires_grad for argument in arguments):
            return _Differentiated.apply(passes, *arguments)
        return passes.inference(*arguments)

    return run
