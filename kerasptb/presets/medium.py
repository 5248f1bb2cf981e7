"""A model of less than ten million parameters for 60 epochs: two tied layers of 800 and 400.

9,774,800 parameters. AWD-LSTM's regularisation (Merity et al., 2017, "Regularizing and Optimizing LSTM Language
Models") with AdamW and one cycle of the learning rate.

    kerasptb train --preset medium --precision bfloat16
"""

from kerasptb.optimizers import ClippedAdamW, OneCycle
from kerasptb.presets.recipe import Recipe


def training(total_steps, learning_rate=0.004, weight_decay=0.1, warmup_fraction=0.25, global_clipnorm=10.0):
    """Returns the optimizer and the callbacks."""
    rate = OneCycle(learning_rate, total_steps, warmup_fraction)
    return ClippedAdamW(rate, weight_decay, global_clipnorm=global_clipnorm), []


RECIPE = Recipe(
    model={
        "embedding_size": 400,
        "units": (800, 400),
        "batch_size": 32,
        "num_steps": 35,
        "init_scale": 0.04,
        "tie_embeddings": True,
        "variational_dropout": True,
        "word_dropout": 0.1,
        "input_dropout": 0.4,
        "hidden_dropout": 0.25,
        "output_dropout": 0.4,
        "recurrent_kernel_dropout": 0.4,
        "activation_regularization": 2.0,
        "temporal_activation_regularization": 1.0,
    },
    optimization=training,
    epochs=60,
)
