"""Custom gradients with PyTorch: Keras' own take one result alone."""

import keras
import torch


class _Differentiated(torch.autograd.Function):
    """A call whose gradient may be asked for."""

    @staticmethod
    def forward(context, passes, *arguments):
        outputs, saved = passes.forward(*arguments)
        # Kept so, tensors are checked to be unchanged, and results kept without a circle of references.
        context.save_for_backward(*keras.tree.flatten(saved))
        context.passes, context.structure = passes, keras.tree.map_structure(lambda _: None, saved)
        return outputs

    @staticmethod
    def backward(context, *upstream):
        saved = keras.tree.pack_sequence_as(context.structure, context.saved_tensors)
        return None, *context.passes.backward(saved, upstream)


def differentiable(passes):
    """Returns a function of tensors; see `tensors.differentiable`."""

    def run(*arguments):
        if torch.is_grad_enabled() and any(argument.requires_grad for argument in arguments):
            return _Differentiated.apply(passes, *arguments)
        return passes.inference(*arguments)

    return run
