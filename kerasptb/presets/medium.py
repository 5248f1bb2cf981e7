"""A model of less than ten million parameters for 60 epochs: two tied layers of 800 and 400.

9,774,800 parameters. AWD-LSTM's regularisation (Merity et al., 2017, "Regularizing and Optimizing LSTM Language
Models") with AdamW and one cycle of the learning rate.

    kerasptb train --preset medium --precision bfloat16
"""

import dataclasses

from kerasptb.presets import awd_lstm_one_cycle

_LARGE = awd_lstm_one_cycle.RECIPE

RECIPE = dataclasses.replace(
    _LARGE,
    model={**_LARGE.model, "units": (800, 400), "batch_size": 32, "recurrent_kernel_dropout": 0.4},
    settings={**_LARGE.settings, "learning_rate": 0.004},
)
