"""Recipes: a model, how it is regularised and how it is trained, a file each.

A recipe's file holds `RECIPE`, a `Recipe` in Keras' terms, or a function `recipe(facts)` that returns one by what is
known of the text and the training: see `Facts`. Its function `training(total_steps, …)` returns a Keras optimizer and
callbacks; its other arguments are the recipe's `settings`. Another recipe's function serves too. The file's docstring
names the paper, what differs from it, and the command. A new file is a new recipe.
"""

from kerasptb.presets.recipe import PRESETS, Facts, Recipe, get_preset

__all__ = ["PRESETS", "Facts", "Recipe", "get_preset"]
