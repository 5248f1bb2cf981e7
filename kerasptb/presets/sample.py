"""A first model of the built-in sample text, in seconds: one tied layer of 200, AdamW, one cycle, 12 epochs.

The sample has 33,000 words, so the batches are small, for enough steps, and half of all units are dropped. For a larger
text take another recipe.

    kerasptb train --preset sample --data sample
"""

from kerasptb.presets import small
from kerasptb.presets.recipe import Recipe

RECIPE = Recipe(
    model={
        "embedding_size": 200,
        "units": (200,),
        "batch_size": 10,
        "num_steps": 20,
        "keep_prob": 0.5,
        "init_scale": 0.1,
        "tie_embeddings": True,
    },
    optimization=small.training,
    settings={**small.RECIPE.settings, "learning_rate": 0.02, "weight_decay": 0.01, "global_clipnorm": 1.0},
    epochs=12,
)
