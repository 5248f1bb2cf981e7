"""The best that a search found within the notebook's parameters and epochs: one tied layer of 288, dropout.

3,554,704 parameters, 15 epochs; found by `kerasptb tune` with its default space.

    kerasptb train --preset tuned --precision bfloat16
"""

from kerasptb.presets import notebook
from kerasptb.presets.recipe import Recipe

RECIPE = Recipe(
    model={
        "embedding_size": 288,
        "units": (288,),
        "batch_size": 20,
        "num_steps": 30,
        "keep_prob": 0.6,
        "init_scale": 0.0427641,
        "tie_embeddings": True,
    },
    optimization=notebook.training,
    settings={"learning_rate": 1.00043, "constant_epochs": 8, "decay": 0.4, "global_clipnorm": 3.81239},
    epochs=15,
)
