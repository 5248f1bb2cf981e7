"""An LSTM with separate states for training and for evaluation."""

import keras

from kerasptb.layers.fused_lstm import FusedLSTM
from kerasptb.layers.two_states import TwoStates


@keras.saving.register_keras_serializable(package="kerasptb")
class StatefulLSTM(TwoStates, FusedLSTM):
    """A stateful LSTM with one recurrent state for training and another for evaluation.

    `keras.layers.LSTM(stateful=True)` has a single state. It flows from training into validation and back into
    training, and fixes the batch size of both. Here, calls with `training=True` read and write the training state
    (`states`, as in Keras, of the batch size that the layer is built with). All other calls use the evaluation
    state, which takes any batch size. For each new batch size it begins at zero. `evaluate` and `predict` of a
    `LanguageModel` have evaluation states of their own; a call that is given its `state` uses none.

    Args:
        units: dimensionality H of the output.
        **kwargs: as all arguments that are not named here, those of `FusedLSTM`; `stateful` is always true.

    Call arguments:
        sequences: float tensor [B, T, D].
        initial_state: optional list of h0 and c0, each [B, H], in place of the state.
        mask: optional boolean tensor [B, T].
        training: whether to continue from the training state.
        resets: as in `FusedLSTM`.
        state: optional list of h0 and c0, each [B, H]: the call then neither reads nor writes a state of the layer,
            and returns the output followed by h_T and c_T. Several threads may make such calls.

    Returns:
        As `FusedLSTM`: [B, T, H] with `return_sequences=True`, else [B, H]; followed by h_T and c_T with
        `return_state=True` or a `state`.

    Raises:
        ValueError: if it is exported with its state, or evaluated on a batch of unknown size.
    """
