"""Arguments as values: each is a field with its kind, default, check and line of help, and all else derives from it.

Constructors, configs, a run's config.json and its reading, options of the command line, presets and the search space
ask the fields. Nothing here needs Keras.
"""

from kerasptb.arguments.batches import BatchArguments
from kerasptb.arguments.fields import REQUIRED, Argument, Arguments, Sampling, argument, as_json, read_part, shortened
from kerasptb.arguments.kinds import Choice, Flag, Number, Several, Text, Whole
from kerasptb.arguments.model import LAYERS, SHAPE, WIDTH_STEP, ModelArguments, with_changes
from kerasptb.arguments.optimization import RECIPE_ARGUMENTS, RecipeArguments
from kerasptb.arguments.reading import SamplingArguments
from kerasptb.arguments.training import TrainingArguments

__all__ = [
    "LAYERS",
    "RECIPE_ARGUMENTS",
    "REQUIRED",
    "SHAPE",
    "WIDTH_STEP",
    "Argument",
    "Arguments",
    "BatchArguments",
    "Choice",
    "Flag",
    "ModelArguments",
    "Number",
    "RecipeArguments",
    "Sampling",
    "SamplingArguments",
    "Several",
    "Text",
    "TrainingArguments",
    "Whole",
    "argument",
    "as_json",
    "read_part",
    "shortened",
    "with_changes",
]
