"""Two tied layers of 650 with dropout 0.5, as the example of MXNet trains them (test perplexity 75.4 there).

Zaremba et al., 2014, "Recurrent Neural Network Regularization", with the tied matrix of Press and Wolf, 2017: batches
of 32 x 35 words, gradient descent at rate 1, multiplied by 0.25 after an epoch that does not improve validation, 40
epochs, norm of the gradients clipped at 0.2 · 35. What differs: weights begin uniform in ±0.05; the example has ±0.1
for the embedding and Glorot's range for the layers.

    kerasptb train --preset tied-650 --precision bfloat16
"""

from kerasptb.callbacks import ReduceLROnPlateau
from kerasptb.optimizers import ClippedSGD
from kerasptb.presets import zaremba_medium
from kerasptb.presets.recipe import Recipe, Trainer


def training(
    total_steps: int, learning_rate: float, decay: float, patience: int, global_clipnorm: float | None
) -> Trainer:
    """Returns the optimizer and the callbacks."""
    lowered = ReduceLROnPlateau(factor=decay, patience=patience)
    return ClippedSGD(learning_rate, global_clipnorm), [lowered]


RECIPE = Recipe(
    model={**zaremba_medium.RECIPE.model, "batch_size": 32, "tie_embeddings": True},
    optimization=training,
    settings={"learning_rate": 1.0, "decay": 0.25, "patience": 1, "global_clipnorm": 0.2 * 35},
    epochs=40,
)
