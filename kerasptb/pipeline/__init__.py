"""A text as batches for training: `tf.data`, or arrays for Keras on another backend."""

from kerasptb.pipeline.batching import make_dataset

__all__ = ["make_dataset"]
