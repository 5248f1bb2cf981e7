"""Ends a training whose validation no longer improves."""

import keras


class EarlyStopping(keras.callbacks.Callback):
    """Ends the training after some epochs without a lower validation perplexity.

    As `keras.callbacks.EarlyStopping`, but it goes on with the count when a training is resumed (`restore`).

    Args:
        patience: number of epochs.
        monitor: name of the metric in the logs of an epoch, of which lower values are better.
    """

    def __init__(self, patience, monitor="val_perplexity"):
        super().__init__()
        self.patience = patience
        self.monitor = monitor
        self._past = []

    def restore(self, history):
        """Takes the epochs of a training that goes on: a list of dicts, the logs of each."""
        self._past = [row[self.monitor] for row in history if self.monitor in row]

    def on_epoch_end(self, epoch, logs=None):
        """Ends the training if none of the last epochs was the best."""
        self._past.append(logs[self.monitor])
        if len(self._past) - 1 - self._past.index(min(self._past)) >= self.patience:
            self.model.stop_training = True
