"""The lowest perplexity that we know within the notebook's parameters: two tied layers of 256, 60 epochs.

3,620,624 parameters. AWD-LSTM's regularisation (Merity et al., 2017, "Regularizing and Optimizing LSTM Language
Models"), weaker, as a small model needs it, with AdamW and one cycle of the learning rate.

    kerasptb train --preset small --precision bfloat16
"""

from kerasptb.optimizers import ClippedAdamW, OneCycle
from kerasptb.presets.recipe import Recipe, Trainer


def training(
    total_steps: int,
    learning_rate: float,
    weight_decay: float,
    warmup_fraction: float,
    global_clipnorm: float | None,
    beta_1: float,
) -> Trainer:
    """Returns the optimizer and the callbacks."""
    rate = OneCycle(learning_rate, total_steps, warmup_fraction)
    return ClippedAdamW(rate, weight_decay, beta_1=beta_1, global_clipnorm=global_clipnorm), []


RECIPE = Recipe(
    model={
        "embedding_size": 256,
        "units": (256, 256),
        "batch_size": 32,
        "num_steps": 35,
        "init_scale": 0.05,
        "tie_embeddings": True,
        "variational_dropout": True,
        "word_dropout": 0.05,
        "input_dropout": 0.25,
        "hidden_dropout": 0.2,
        "output_dropout": 0.35,
        "recurrent_kernel_dropout": 0.2,
        "activation_regularization": 1.0,
        "temporal_activation_regularization": 1.0,
    },
    optimization=training,
    settings={
        "learning_rate": 0.005,
        "weight_decay": 0.1,
        "warmup_fraction": 0.25,
        "global_clipnorm": 10.0,
        "beta_1": 0.9,
    },
    epochs=60,
)
