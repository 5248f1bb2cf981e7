"""Named recipes: a model and how to train it."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Preset:
    """A recipe for a model and its training.

    Attributes:
        name: name of the recipe.
        summary: what it is, what it reaches and how long it takes.
        embedding_size: size D of a word's vector.
        units: sizes H of the LSTM layers.
        batch_size: rows B of a training batch.
        num_steps: words T of a row of a batch: how far gradients flow back in time.
        keep_prob: probability of keeping a unit in dropout.
        init_scale: weights begin uniform in ±init_scale.
        learning_rate: step size of gradient descent on the cost summed over time.
        constant_epochs: number of epochs at that rate.
        decay: factor of the rate in each further epoch.
        global_clipnorm: largest global norm of the gradients.
        epochs: number of passes over the training text.
        tie_embeddings: whether the logits' matrix is the embedding's.
    """

    name: str
    summary: str
    embedding_size: int
    units: tuple[int, ...]
    batch_size: int
    num_steps: int
    keep_prob: float
    init_scale: float
    learning_rate: float
    constant_epochs: int
    decay: float
    global_clipnorm: float
    epochs: int
    tie_embeddings: bool = False

    def model_arguments(self, vocabulary_size=10000):
        """Returns the arguments of `LanguageModel` as a dict.

        Args:
            vocabulary_size: number V of words.
        """
        return {
            "vocabulary_size": vocabulary_size,
            "embedding_size": self.embedding_size,
            "units": self.units,
            "batch_size": self.batch_size,
            "num_steps": self.num_steps,
            "keep_prob": self.keep_prob,
            "init_scale": self.init_scale,
            "tie_embeddings": self.tie_embeddings,
        }

    def training_arguments(self):
        """Returns the settings of the training, except its epochs, as a dict."""
        return {
            "learning_rate": self.learning_rate,
            "constant_epochs": self.constant_epochs,
            "decay": self.decay,
            "global_clipnorm": self.global_clipnorm,
        }


PRESETS = {
    preset.name: preset
    for preset in (
        Preset(
            name="notebook",
            summary=(
                "The classic tutorial's model: 3,955,088 parameters; on PTB valid perplexity 122.3 and test 117.6 "
                "after 15 epochs in float32. On two cores of an AMD EPYC (Zen 5) a step of 1,200 words takes 35 ms in "
                "float32 and 23 ms in bfloat16, and the 11,610 steps, with validation and test, 7 and 5 minutes."
            ),
            embedding_size=200,
            units=(256, 128),
            batch_size=60,
            num_steps=20,
            keep_prob=1.0,
            init_scale=0.1,
            learning_rate=1.0,
            constant_epochs=5,
            decay=0.5,
            global_clipnorm=5.0,
            epochs=15,
        ),
        Preset(
            name="tuned",
            summary=(
                "The best that `kerasptb tune` found within the notebook's parameters and epochs: one layer, tied "
                "embeddings, dropout; 3,554,704 parameters; on PTB valid perplexity 93.7 and test 89.9 after 15 epochs "
                "in bfloat16. Beside other work, the 23,235 steps took 16 minutes on one core with AMX."
            ),
            embedding_size=288,
            units=(288,),
            batch_size=20,
            num_steps=30,
            keep_prob=0.6,
            init_scale=0.0427641,
            learning_rate=1.00043,
            constant_epochs=8,
            decay=0.4,
            global_clipnorm=3.81239,
            epochs=15,
            tie_embeddings=True,
        ),
    )
}


def get_preset(name):
    """Returns the `Preset` of a name.

    Raises:
        ValueError: if there is none; the message lists the existing ones.
    """
    try:
        return PRESETS[name]
    except KeyError:
        raise ValueError(f"Expected a preset among {sorted(PRESETS)}. Received: {name!r}") from None
