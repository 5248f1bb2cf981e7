"""The benchmark of recurrent layers: what it compares computes the same, and its table adds up."""

import argparse

import numpy as np
import pytest

from benchmarks import layers

OPTIONS = argparse.Namespace(framework="tensorflow", seconds=0.001, rounds=2)


@pytest.mark.usefixtures("native_library")
def test_a_case_has_a_row_for_each_kind():
    rows = list(layers.rows_of_case("GRU", 4, 3, 2, OPTIONS))
    assert [row["kind"] for row in rows] == ["fit", "predict", "call"]
    for row in rows:
        assert row["of Keras"] == pytest.approx(row["Keras ms"] / row["accelerated ms"], rel=2e-2)
        assert row["accelerated ms"] > 0


@pytest.mark.usefixtures("native_library")
@pytest.mark.parametrize("layer", ["LSTM", "Bidirectional"])
def test_contenders_begin_with_the_same_weights(layer):
    x = np.random.default_rng(0).standard_normal((2, 3, layers.FEATURES)).astype("float32")
    plain, model = (layers.keras_model(layer, 4, 3, accelerated) for accelerated in (False, True))
    np.testing.assert_allclose(model(x), plain(x), atol=1e-6)


def test_long_cases_have_few_batches():
    assert layers.batches_of(16, 10, 1) == 64
    assert layers.batches_of(1024, 200, 256) == 2


def test_the_summary_names_the_least():
    of = {"layer": "LSTM", "steps": 10, "batch": 1, "kind": "fit"}
    rows = [{**of, "units": 16, "of Keras": 4.0}, {**of, "units": 32, "of Keras": 0.25}]
    rows += [{**of, "kind": kind, "units": 16, "of Keras": 2.0} for kind in ("predict", "call")]
    lines = layers.summarize(rows)
    assert lines[0].split() == (
        [
            "fit",
            "of",
            "Keras",
            "geometric",
            "mean",
            "1.00,",
            "least",
            "0.25",
            "(LSTM",
            "of",
            "32,",
            "10",
            "steps,",
            "batches",
            "of",
            "1),",
            "1",
            "of",
            "2",
            "below",
            "1",
        ]
    )
    assert len(lines) == 3
