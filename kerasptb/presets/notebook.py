"""The classic tutorial's model and training, to the letter: 3,955,088 parameters, 15 epochs.

TensorFlow's tutorial "Recurrent Neural Networks", after Zaremba et al., 2014, "Recurrent Neural Network
Regularization", in the form that notebooks made popular: an embedding of 200, LSTMs of 256 and 128 units, no dropout.

    kerasptb train --preset notebook
"""

from kerasptb.callbacks import LearningRateDecay
from kerasptb.optimizers import ClippedSGD
from kerasptb.presets.recipe import Recipe, Trainer


def training(
    total_steps: int, learning_rate: float, constant_epochs: int, decay: float, global_clipnorm: float | None
) -> Trainer:
    """Returns the optimizer and the callbacks."""
    decayed = LearningRateDecay(constant_epochs, decay, learning_rate)
    return ClippedSGD(learning_rate, global_clipnorm), [decayed]


RECIPE = Recipe(
    model={
        "embedding_size": 200,
        "units": (256, 128),
        "batch_size": 60,
        "num_steps": 20,
        "keep_prob": 1.0,
        "init_scale": 0.1,
        "tie_embeddings": False,
    },
    optimization=training,
    settings={"learning_rate": 1.0, "constant_epochs": 5, "decay": 0.5, "global_clipnorm": 5.0},
    epochs=15,
    search={  # why these: see `tuning.LanguageModelSpace`
        "num_layers": (1, 2),
        "units": (64, 512),
        "embedding_size": (64, 320),
        "tie_embeddings": [False, True],
        "keep_prob": (0.5, 1.0),
        "learning_rate": (0.5, 2.0),
        "decay": (0.4, 0.9),
        "constant_epochs": None,  # by the epochs of a trial
        "global_clipnorm": (2.0, 10.0),
        "batch_size": [20, 30, 40, 60],
        "num_steps": [20, 25, 30, 35],
        "init_scale": (0.04, 0.1),
    },
)
