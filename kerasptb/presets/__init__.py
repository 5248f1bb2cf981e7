"""Named recipes: a model and how to train it, a recipe a file."""

from kerasptb.presets.notebook import NOTEBOOK
from kerasptb.presets.preset import Preset
from kerasptb.presets.tuned import TUNED

__all__ = ["PRESETS", "Preset", "get_preset"]

PRESETS = {preset.name: preset for preset in (NOTEBOOK, TUNED)}


def get_preset(name):
    """Returns the `Preset` of a name.

    Raises:
        ValueError: if there is none; the message lists the existing ones.
    """
    try:
        return PRESETS[name]
    except KeyError:
        raise ValueError(f"Expected a preset among {sorted(PRESETS)}. Received: {name!r}") from None
