"""A model for a phone's keyboard: at most 1.5 MB as a LiteRT file of 8 bits, two tied layers of 192 and 96 units.

1,302,928 parameters, the size of Gboard's (Hard et al., 2018, "Federated Learning for Mobile Keyboard Prediction").
Trained as `small`, with less dropout, since it has less to forget.

    kerasptb train --preset phone --precision bfloat16
"""

import dataclasses

from kerasptb.presets import small

RECIPE = dataclasses.replace(
    small.RECIPE,
    model={
        **small.RECIPE.model,
        "embedding_size": 96,
        "units": (192, 96),
        "word_dropout": 0.0,
        "input_dropout": 0.1,
        "hidden_dropout": 0.1,
        "output_dropout": 0.15,
        "recurrent_kernel_dropout": 0.1,
        "activation_regularization": 0.5,
        "temporal_activation_regularization": 0.5,
    },
)
