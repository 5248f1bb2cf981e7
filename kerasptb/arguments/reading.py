"""What one asks of a model that reads: samples and suggestions."""

from __future__ import annotations

import dataclasses

from kerasptb.arguments.fields import Arguments, argument
from kerasptb.arguments.kinds import Number, Whole


@dataclasses.dataclass(frozen=True)
class SamplingArguments(Arguments):
    """How words are sampled, see `reading.generate`."""

    words: int = argument(Whole(0), "number of words, with what stands between them", 50, shown="50", metavar="N")
    tokens: int | None = argument(Whole(0), "number of tokens, in place of words", None, metavar="N")
    temperature: float | None = argument(
        Number(0), "0 is always the most probable", None, shown="0.7, of words 1", metavar="X"
    )
    top_k: int | None = argument(Whole(), "sample from the K most probable words", None, metavar="K")
    top_p: float | None = argument(
        Number(0, 1, without_low=True),
        "sample from the most probable words that have a probability of P together",
        None,
        option=True,
        metavar="P",
    )
    seed: int | None = argument(Whole(0), "makes the sample repeatable", None, metavar="N")
