"""The form of a recipe."""

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
