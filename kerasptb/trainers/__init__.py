"""What Keras' trainers lack for stateful batches: `Trainer`, that of Keras' backend, behind one interface.

A model inherits from it, as `keras.Model` from Keras' own.
"""

import keras

__all__ = ["Trainer"]

if keras.backend.backend() == "tensorflow":
    from kerasptb.trainers.tensorflow import Trainer
elif keras.backend.backend() == "jax":
    from kerasptb.trainers.jax import Trainer
elif keras.backend.backend() == "torch":
    from kerasptb.trainers.torch import Trainer
else:
    from kerasptb.trainers.stateful import StatefulTrainer as Trainer
