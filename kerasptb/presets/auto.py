"""A recipe for the size of a text and the minutes that there are: `small`, regularised as often as the text is read.

Larger layers, 400 and 400 or 512 and 512, where there is time for them and no other model to begin with. In bfloat16,
where the processor multiplies it. With `--epochs` the text is read so often; else with `--minutes`, 30 unless said. A
text that is read once or twice is hardly learned by heart, and much dropout slows its reading down.

    kerasptb train --preset auto --data novel.txt --minutes 30
"""

from kerasptb.presets import small

MODEL = small.MODEL
EPOCHS = small.EPOCHS
MINUTES = 30.0
PRECISION = "bfloat16"
# The rate of `small` undoes in the first readings what the weights of another run know: docs/own-text.md has figures.
STARTED = {"learning_rate": 0.001}
training = small.training

# As often the text is read with the whole of `small`'s rates and penalties; before that, with a share of them. On An
# Anarchist FAQ (benchmarks/texts.py), read twice in 5 minutes: bits a byte of valid 1.417 with all, 1.379 with 0.4 of
# them, 1.408 with none.
_WHOLE, _LEAST = 20, 0.3
_RATES = [name for name in MODEL if name.endswith(("_dropout", "_regularization")) and name != "variational_dropout"]
# docs/own-text.md has figures, of `benchmarks.english starts`: from English 6 passes are best for 100,000 and 157,000
# words; alone the best epoch was the 26th of 40. Longer texts have not been compared: `small` gains for 60 on PTB.
_SHORT = 300_000  # tokens
_MOST_PASSES, _MOST_STARTED = (40, 100), (6, 12)  # of a short text, and of a longer one
# The width of both layers and the embedding, from so many tokens on that `small`'s layers would read in the minutes:
# docs/own-text.md has figures. More readings than so many do not count, for larger layers learn a text by heart sooner.
_WIDTHS, _MOST_COUNTED = ((16_000_000, 400), (32_000_000, 512)), 28
_STEPS = 100  # of a reading of the text, at least: a short one is read in fewer rows


def sized(num_tokens, num_steps, rows=MODEL["batch_size"]):
    """Returns the model's arguments for a training text of so many tokens in rows of so many, a dict."""
    while rows > 1 and num_tokens < _STEPS * rows * num_steps:
        rows //= 2
    return {"batch_size": rows}


def grown(num_tokens, passes):
    """Returns the model's arguments where the layers of `MODEL` would read a text so often in the minutes, a dict.

    Larger layers read fewer tokens, and each teaches them more.

    Args:
        num_tokens: length of the training text.
        passes: so often, a float.
    """
    read = num_tokens * min(passes, _MOST_COUNTED)
    width = max((width for least, width in _WIDTHS if read >= least), default=None)
    return {} if width is None else {"embedding_size": width, "units": (width, width)}


def most_passes(num_tokens, started):
    """Returns how often a training text of so many tokens is read at most.

    Args:
        num_tokens: its length.
        started: whether the model begins with the weights of a run.
    """
    of_short, of_longer = _MOST_STARTED if started else _MOST_PASSES
    return of_short if num_tokens < _SHORT else of_longer


def fitted(passes):
    """Returns the model's arguments where the text is read so often, a dict."""
    share = min(_LEAST + (1 - _LEAST) * passes / _WHOLE, 1.0)
    return {name: round(MODEL[name] * share, 3) for name in _RATES}
