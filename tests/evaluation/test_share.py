import dataclasses

import pytest

from kerasptb.evaluation import Share


def test_intervals():
    """Against a table: 0 of 10, 1 of 2 and 98 of 100 by the score interval."""
    for count, total, low, high in [(0, 10, 0, 0.2775), (1, 2, 0.0945, 0.9055), (98, 100, 0.9300, 0.9945)]:
        assert dataclasses.astuple(Share.of(count, total)) == pytest.approx((count / total, low, high), abs=1e-4)
    assert dataclasses.astuple(Share.of(0, 0)) == (0, 0, 1)
    assert str(Share.of(98, 100)) == "98.0% (93.0% to 99.4%)"
