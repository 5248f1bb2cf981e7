"""AWD-LSTM: three tied layers of 1150, 1150 and 400 with dropped recurrent weights, averaged gradient descent.

Merity et al., 2017, "Regularizing and Optimizing LSTM Language Models": 24.2 M parameters, 500 epochs. The rate there
is 30 on the mean cost of 70 steps; on their sum, which is our cost, it is 30 / 70, the clip norm 0.25 is 0.25 · 70, and
the weight decay 1.2e-6 is 1.2e-6 · 70. What differs:

- For a batch of n steps the paper multiplies its rate by n / 70. The sum of the costs does the same to a step that is
  not clipped, and to no other. Here a batch is clipped if its mean gradient's norm is above 0.25 · 70 / n, and the step
  is then 7.5 long; there, if it is above 0.25, and the step is 7.5 · n / 70 long (for n = 35: 3.75). A step takes
  3.6e-5 of each weight; there 3.6e-5 · n / 70.
- The lengths of a pass are a fixed set of multiples of 5, in an order drawn anew.
- Weights begin uniform in ±0.04, where the paper has ±0.1 for the embedding and ±1/√H for the layers.

    kerasptb train --preset awd-lstm --precision bfloat16
"""

from kerasptb.callbacks import AveragedWeights
from kerasptb.optimizers import ClippedSGD
from kerasptb.presets.recipe import Recipe, Trainer


def training(
    total_steps: int, learning_rate: float, weight_decay: float, global_clipnorm: float | None, patience: int
) -> Trainer:
    """Returns the optimizer and the callbacks."""
    optimizer = ClippedSGD(learning_rate, global_clipnorm, weight_decay=weight_decay, polyak_averaging=True)
    return optimizer, [AveragedWeights(patience=patience)]


RECIPE = Recipe(
    model={
        "embedding_size": 400,
        "units": (1150, 1150, 400),
        "batch_size": 20,
        "num_steps": 70,
        "init_scale": 0.04,
        "tie_embeddings": True,
        "variational_dropout": True,
        "word_dropout": 0.1,
        "input_dropout": 0.4,
        "hidden_dropout": 0.25,
        "output_dropout": 0.4,
        "recurrent_kernel_dropout": 0.5,
        "activation_regularization": 2.0,
        "temporal_activation_regularization": 1.0,
    },
    optimization=training,
    settings={"learning_rate": 30 / 70, "weight_decay": 1.2e-6 * 70, "global_clipnorm": 0.25 * 70, "patience": 5},
    epochs=500,
    batches={"jitter": True},
)
