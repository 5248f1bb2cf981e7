"""Characters: two layers of 640, for a text that is read byte by byte.

5,444,864 parameters with the 256 bytes. PTB by characters is a benchmark of its own (Mikolov et al., 2012, "Subword
Language Modeling with Neural Networks"): a sentence's words with a space between them, and the line's end. Trained as
`small`, with less dropout: a character says less than a word, and there are five times as many. A short text is read in
fewer rows, and the products are in bfloat16 where the processor multiplies it.

    kerasptb train --preset characters --data ptb
"""

from kerasptb.presets import auto, small
from kerasptb.presets.recipe import Recipe

_RECIPE = Recipe(
    model={
        "embedding_size": 128,
        "units": (640, 640),
        "batch_size": 32,
        "num_steps": 100,
        "init_scale": 0.05,
        "variational_dropout": True,
        "input_dropout": 0.0,
        "hidden_dropout": 0.15,
        "output_dropout": 0.15,
        "recurrent_kernel_dropout": 0.15,
    },
    optimization=small.training,
    epochs=14,
    tokens="characters",
)


def recipe(facts):
    """Returns the recipe for a text."""
    return auto.suited(_RECIPE, facts)
