import copy

import keras
import numpy as np

from kerasptb.callbacks import Checkpoint, EarlyStopping, ReduceLROnPlateau
from kerasptb.callbacks.progress import Progress


def fit(*callbacks, **kwargs):
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, kernel_initializer="zeros")])
    model.compile(keras.optimizers.SGD(0.1), "mse")
    x = np.ones((4, 1), "float32")
    model.fit(x, x, callbacks=list(callbacks), verbose=0, **kwargs)


def test_callbacks_of_a_training_share_one_that_begins_anew_with_the_next(tmp_path):
    first, second, kept = EarlyStopping(patience=9, monitor="loss"), ReduceLROnPlateau("loss"), Checkpoint(tmp_path)
    fit(first, second, epochs=2)
    progress = Progress.of(first)
    assert progress is Progress.of(second)
    assert [row["epoch"] for row in progress.history] == [1, 2]
    assert first.past(2) == second.past(2) == [row["loss"] for row in progress.history]
    fit(second, kept, first, epochs=3)
    assert Progress.of(first) is Progress.of(second) is Progress.of(kept) is not progress
    assert first.past(3) == [row["loss"] for row in kept.history]
    assert len(kept.history) == 3


def test_a_copy_of_a_callback_counts_for_itself():
    """A search copies its callbacks for each training."""
    callback = EarlyStopping(patience=9, monitor="loss")
    fit(callback, epochs=2)
    other = copy.deepcopy(callback)
    fit(other, epochs=1)
    assert len(other.past(9)) == 1
    assert len(callback.past(9)) == 2


def test_an_epoch_that_begins_again_voids_what_was_done_of_it_and_after():
    progress = Progress()
    for epoch in range(3):
        progress.begin_epoch(epoch)
        progress.record(epoch, {"loss": float(epoch)})
        progress.record(epoch, {"perplexity": 2.0})
    assert progress.history == [{"epoch": i + 1, "loss": float(i), "perplexity": 2.0} for i in range(3)]
    progress.batch = 5
    progress.begin_epoch(2)
    assert (progress.epoch, progress.batch, len(progress.history)) == (2, 5, 2)
    progress.begin_epoch(1)
    assert (progress.epoch, progress.batch, len(progress.history)) == (1, 0, 1)


def test_a_training_that_is_continued_by_hand_keeps_its_epochs(tmp_path):
    checkpoint = Checkpoint(tmp_path)
    fit(checkpoint, epochs=2)
    fit(checkpoint, epochs=3, initial_epoch=2)
    assert [row["epoch"] for row in checkpoint.history] == [1, 2, 3]
    fit(checkpoint, epochs=1)
    assert [row["epoch"] for row in checkpoint.history] == [1]
    assert Checkpoint(tmp_path).epoch == 1
