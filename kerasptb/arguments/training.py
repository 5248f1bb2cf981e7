"""The arguments of a training that any recipe takes."""

from __future__ import annotations

import dataclasses

from kerasptb.arguments.fields import Arguments, argument, preset_argument
from kerasptb.arguments.kinds import Choice, Number, Several, Text, Whole

_TEACHER_WEIGHT = 0.5


@dataclasses.dataclass(frozen=True)
class TrainingArguments(Arguments):
    """How a model is trained, whatever its recipe."""

    preset: str = argument(Text(), "recipe of the model and its training")
    epochs: int = preset_argument(Whole(), "number of epochs in all", fixed=False)
    minutes: float | None = argument(
        Number(0, without_low=True),
        "train for about N minutes on this machine, by the time of some steps, in place of --epochs",
        None,
        option=True,
        shown="30 with auto in one process, where no epochs are named",
        metavar="N",
    )
    optimizer: str | None = argument(
        Text(),
        "sgd, adamw or another Keras optimizer, in place of the preset's; name its --learning-rate too",
        None,
        option=True,
    )
    early_stopping: int | None = argument(
        Whole(), "end after N epochs without a lower validation perplexity", None, option=True, metavar="N"
    )
    start_from: str | None = argument(
        Text(),
        "begin with the weights of a run, or of english, token by token, in a model of its sizes; or none (default: "
        "english for a small text in English)",
        None,
    )
    teacher: str | None = argument(
        Text(),
        "learn from the distribution of a run's model too, or of english, over the same tokens",
        None,
        option=True,
        metavar="RUN",
    )
    teacher_weight: float | None = argument(
        Number(0, 1), "weight of the teacher's distribution; the text has the rest", None, option=True, shown="0.5"
    )
    teacher_digest: str | None = argument(Text(), "SHA-256 of the teacher's weights", None)
    counts: str = argument(
        Choice(("auto", "none")),
        "count the training text at the end: its counts refine what the network says, where that helps; or none",
        "auto",
        option=True,
        shown="auto",
        fixed=False,
    )
    freeze: tuple[str, ...] | None = argument(
        Several(Text()), "layers whose weights stay, such as embedding lstm_0", None, option=True, metavar="LAYER"
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.teacher is None and self.teacher_weight is not None:
            raise ValueError(f"A teacher's weight needs a teacher. Received: teacher_weight={self.teacher_weight:g}")
        if self.teacher is not None and self.teacher_weight is None:
            object.__setattr__(self, "teacher_weight", _TEACHER_WEIGHT)
