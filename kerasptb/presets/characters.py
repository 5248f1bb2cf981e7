"""Characters: two layers of 640, for a text that is read byte by byte.

5,444,864 parameters with the 256 bytes. PTB by characters is a benchmark of its own (Mikolov et al., 2012, "Subword
Language Modeling with Neural Networks"): a sentence's words with a space between them, and the line's end. Trained as
`small`, with less dropout: a character says less than a word, and there are five times as many. Without momentum, and
at a higher rate, since a text is read a few times; docs/results/penn-treebank.md has figures. A short text is
read in fewer rows, and the products are in bfloat16 where the processor multiplies it.

    kerasptb train --preset characters --data ptb
"""

from kerasptb.presets import auto, small
from kerasptb.presets.recipe import Facts, Recipe

_RECIPE = Recipe(
    model={
        "embedding_size": 128,
        "units": (640, 640),
        "batch_size": 32,
        "num_steps": 100,
        "init_scale": 0.05,
        "variational_dropout": True,
        "input_dropout": 0.0,
        "hidden_dropout": 0.1,
        "output_dropout": 0.15,
        "recurrent_kernel_dropout": 0.15,
        "activation_regularization": 1.0,
        "temporal_activation_regularization": 1.0,
    },
    optimization=small.training,
    settings={**small.RECIPE.settings, "learning_rate": 0.006, "beta_1": 0.0},
    epochs=16,
    tokens="characters",
)


def recipe(facts: Facts) -> Recipe:
    """Returns the recipe for a text."""
    return auto.suited(_RECIPE, facts)
