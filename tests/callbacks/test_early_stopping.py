import types

import pytest

from kerasptb.callbacks import EarlyStopping
from kerasptb.callbacks.progress import Progress


@pytest.mark.parametrize(
    ("before", "perplexities", "ends"),
    [([], [9, 8, 8.5, 7, 8, 9, 6], 6), ([], [9, 8, 7, 6], None), ([9, 7, 8], [7.5, 5], 1), ([9, 8], [7, 6], None)],
)
def test_ends_after_two_epochs_that_are_not_the_best(before, perplexities, ends):
    callback, progress = EarlyStopping(patience=2), Progress()
    for epoch, value in enumerate(before):
        progress.record(epoch, {"val_perplexity": value})
    model, params = types.SimpleNamespace(stop_training=False), {}
    progress.share(params)
    callback.set_model(model)
    callback.set_params(params)
    ended = None
    for number, perplexity in enumerate(perplexities, 1):
        epoch = len(before) + number - 1
        callback.on_epoch_begin(epoch)
        callback.on_epoch_end(epoch, {"val_perplexity": perplexity})
        if model.stop_training and ended is None:
            ended = number
    assert ended == ends


def test_another_training_begins_anew():
    callback = EarlyStopping(patience=1)
    for _ in range(2):
        model = types.SimpleNamespace(stop_training=False)
        callback.set_model(model)
        callback.set_params({})
        for epoch, perplexity in enumerate((5, 4)):
            callback.on_epoch_begin(epoch)
            callback.on_epoch_end(epoch, {"val_perplexity": perplexity})
            assert not model.stop_training


def test_what_cannot_be_watched_is_told():
    with pytest.raises(ValueError, match="patience"):
        EarlyStopping(patience=0)
    with pytest.raises(ValueError, match=r"Expected val_perplexity among .* Received: loss, perplexity"):
        EarlyStopping(patience=2).on_epoch_end(0, {"loss": 1.0, "perplexity": 2.0})
