"""Recipes: a model, how it is regularised and how it is trained, a file each.

A recipe's file holds, in Keras' terms, `MODEL` (arguments of `LanguageModel`), `EPOCHS`, where it needs some
`BATCHES` (further arguments of `make_dataset` for the training text), and a function `training(total_steps, …)` that
returns a Keras optimizer and callbacks; its arguments are the settings of the training, with their defaults. Its
docstring names the paper, what differs from it, and the command. A new file is a new recipe.

It may also hold `TOKENS`, what a text is cut into where nothing is said; `MINUTES`, which it takes where neither epochs
nor minutes are named; `PRECISION`, where the machine has it; `STARTED`, settings of a training that begins with the
weights of a run; functions that return arguments of `LanguageModel`: `sized(num_tokens, num_steps)`, by the text's
length, `grown(num_tokens, passes)`, by how often that would be read in the minutes, and `fitted(passes)`, by how often
it is read; and `most_passes(num_tokens, started)`, how often it is read at most, however many minutes there are.
"""

from kerasptb.presets.preset import PRESETS, Preset, get_preset, summary_of

__all__ = ["PRESETS", "Preset", "get_preset", "summary_of"]
