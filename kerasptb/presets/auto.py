"""A recipe for the size of a text and the minutes that there are: `small`, with dropout by how often the text is read.

Larger layers, 400 and 400 or 512 and 512, where there is time for them and no other model to begin with. In bfloat16,
where the processor multiplies it. With `--epochs` the text is read so often; else with `--minutes`, 30 unless said. A
text that is read a few times is hardly learned by heart: then dropout only slows its reading down, and so does
momentum.

    kerasptb train --preset auto --data novel.txt --minutes 30
"""

import dataclasses
from typing import Any

from kerasptb.arguments import SHAPE
from kerasptb.presets import small
from kerasptb.presets.recipe import Facts, Recipe
from kerasptb.utils.types import Precision

_SMALL = small.RECIPE.model
_MINUTES = 30.0
# The rate of `small` undoes in the first readings what the weights of another run know: after 12 of 100,000 words of
# *Emma* 1.410 bits a byte with 0.001, 1.418 with 0.002, 1.439 with 0.005 (Zen 4, 2026-11-29).
_STARTED_RATE = 0.001
# A text that is read so often has none of `small`'s dropout, or all of it; between them a share. The penalties (AR and
# TAR) are whole: docs/results/own-text.md has figures.
_NONE, _WHOLE = 7, 40
_DROPOUT = [name for name in _SMALL if name.endswith("_dropout") and name != "variational_dropout"]
# What begins with a run learns a text by heart sooner: a share of all rates and penalties, the whole after so many.
_STARTED_LEAST, _STARTED_WHOLE = 0.3, 20
_RATES = [*_DROPOUT, *(name for name in _SMALL if name.endswith("_regularization"))]
# docs/results/own-text.md has figures, of `benchmarks.english starts`: from English 6 passes are best for 100,000 and
# 157,000 words; alone the best epoch was the 26th of 40. Longer texts have not been compared: `small` gains for 60 on
# PTB.
_SHORT = 300_000  # tokens
_MOST_PASSES, _MOST_STARTED = (40, 100), (6, 12)  # of a short text, and of a longer one
# The width of both layers and the embedding, from so many tokens on that `small`'s layers would read in the minutes:
# docs/results/own-text.md has figures. More readings than so many do not count, for larger layers learn a text by heart
# sooner.
_WIDTHS, _MOST_COUNTED = ((16_000_000, 400), (32_000_000, 512)), 28
_STEPS = 100  # of a reading of the text, at least: a short one is read in fewer rows


def recipe(facts: Facts) -> Recipe:
    """Returns the recipe for a text and the minutes that there are."""
    sized, layers, rates = suited(small.RECIPE, facts), _layers(facts), _rates(facts)
    of_short, of_longer = _MOST_STARTED if facts.started else _MOST_PASSES
    rate = {"learning_rate": _STARTED_RATE} if facts.started else {}
    return dataclasses.replace(
        sized,
        model={**_SMALL, **layers},
        fitted={**sized.fitted, **rates},
        settings={**sized.settings, **(rate or {"beta_1": 0.0})},
        minutes=_MINUTES,
        most_passes=of_short if facts.num_tokens < _SHORT else of_longer,
        reasons={
            **sized.reasons,
            **dict.fromkeys(layers, f"smaller ones would read the text {_times(facts.room)} in the minutes"),
            **dict.fromkeys(rates, f"the text is read {_times(facts.passes)}"),
            **dict.fromkeys(rate, "more would undo what the first weights know"),
        },
    )


def suited(recipe: Recipe, facts: Facts) -> Recipe:
    """Returns a recipe in the rows that the text is long enough for, and in bfloat16 where that is native."""
    rows, steps = recipe.model["batch_size"], facts.given.get("num_steps", recipe.model["num_steps"])
    while rows > 1 and facts.num_tokens < _STEPS * rows * steps:
        rows //= 2
    reasons = {"precision": "this processor multiplies it"} if facts.bfloat16 else {}
    if rows < recipe.model["batch_size"]:
        reasons["batch_size"] = f"the text has {facts.num_tokens:,} tokens"
    precision: Precision | None = "bfloat16" if facts.bfloat16 else None
    return dataclasses.replace(recipe, fitted={"batch_size": rows}, precision=precision, reasons=reasons)


def _times(number: float | None) -> str | None:
    """Returns a number of readings as it is said; `None` for `None`."""
    return None if number is None else "once" if number == 1 else f"{round(number, 1):g} times"


def _layers(facts: Facts) -> dict[str, Any]:
    """Returns larger layers, a dict, if there is room: they read fewer tokens, and each teaches them more."""
    if facts.room is None or facts.taught or set(SHAPE) & set(facts.given):
        return {}
    read = facts.num_tokens * min(facts.room, _MOST_COUNTED)
    width = max((width for least, width in _WIDTHS if read >= least), default=None)
    return {} if width is None else {"embedding_size": width, "units": (width, width)}


def _rates(facts: Facts) -> dict[str, float]:
    """Returns how a text is regularised that is read so often, a dict."""
    if facts.passes is None:
        return {}
    if facts.started:
        names, share = _RATES, _STARTED_LEAST + (1 - _STARTED_LEAST) * facts.passes / _STARTED_WHOLE
    else:
        names, share = _DROPOUT, (facts.passes - _NONE) / (_WHOLE - _NONE)
    share = min(max(share, 0.0), 1.0)
    return {name: round(_SMALL[name] * share, 3) for name in names}
