import pytest

from kerasptb.layers import StatefulLSTM


def test_it_is_never_without_state():
    assert StatefulLSTM(4, stateful=True).stateful
    with pytest.raises(ValueError, match=r"always stateful; use FusedLSTM\. Received: stateful=False"):
        StatefulLSTM(4, stateful=False)
