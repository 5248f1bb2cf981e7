"""AWD-LSTM's model and regularisation with AdamW and one cycle of the learning rate: 60 epochs instead of 500.

24.2 M parameters (Merity et al., 2017, "Regularizing and Optimizing LSTM Language Models"). The cycle is of Smith and
Topin, 2019, "Super-Convergence". What differs from `awd-lstm`: the optimizer and its rate, batches of 40 x 35 words,
all of one length.

    kerasptb train --preset awd-lstm-one-cycle --precision bfloat16
"""

from kerasptb.presets import awd_lstm, small
from kerasptb.presets.recipe import Recipe

RECIPE = Recipe(
    model={**awd_lstm.RECIPE.model, "batch_size": 40, "num_steps": 35},
    optimization=small.training,
    settings={**small.RECIPE.settings, "learning_rate": 0.003},
    epochs=60,
)
