"""AWD-LSTM's model and regularisation with AdamW and one cycle of the learning rate: 60 epochs instead of 500.

24.2 M parameters (Merity et al., 2017, "Regularizing and Optimizing LSTM Language Models"). The cycle is of Smith and
Topin, 2019, "Super-Convergence". What differs from `awd-lstm`: the optimizer and its rate, batches of 40 x 35 words,
all of one length.

    kerasptb train --preset awd-lstm-one-cycle --precision bfloat16
"""

from kerasptb.optimizers import ClippedAdamW, OneCycle
from kerasptb.presets import awd_lstm
from kerasptb.presets.recipe import Recipe


def training(total_steps, learning_rate=0.003, weight_decay=0.1, warmup_fraction=0.25, global_clipnorm=10.0):
    """Returns the optimizer and the callbacks."""
    rate = OneCycle(learning_rate, total_steps, warmup_fraction)
    return ClippedAdamW(rate, weight_decay, global_clipnorm=global_clipnorm), []


RECIPE = Recipe(
    model={**awd_lstm.RECIPE.model, "batch_size": 40, "num_steps": 35},
    optimization=training,
    epochs=60,
)
