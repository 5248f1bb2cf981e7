"""The "medium" model of Zaremba et al., 2014, "Recurrent Neural Network Regularization": two layers of 650.

As published (test perplexity 82.7): 650 units, dropout 0.5 on what is not recurrent, 20 x 35 words a batch, weights
uniform in ±0.05, gradient descent at rate 1, divided by 1.2 in each epoch after the sixth, 39 epochs, norm of the
gradients clipped at 5.

    kerasptb train --preset zaremba-medium --precision bfloat16
"""

from kerasptb.presets import notebook
from kerasptb.presets.recipe import Recipe

RECIPE = Recipe(
    model={
        "embedding_size": 650,
        "units": (650, 650),
        "batch_size": 20,
        "num_steps": 35,
        "keep_prob": 0.5,
        "init_scale": 0.05,
        "tie_embeddings": False,
    },
    optimization=notebook.training,
    settings={**notebook.RECIPE.settings, "constant_epochs": 6, "decay": 1 / 1.2},
    epochs=39,
)
