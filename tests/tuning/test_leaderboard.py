import csv
from pathlib import Path

from kerasptb.tuning.leaderboard import format_table, setting_names, write_csv
from kerasptb.tuning.plots import plot_search
from kerasptb.tuning.records import Record, TrialView, rank


def trial(number, score, values, **record):
    status = "FAILED" if score is None else "COMPLETED"
    return TrialView(str(number), Path(), status, values, score, Record(ended=True, **record))


TRIALS = [
    trial(0, 120.5, {"units_10": 64, "units_2": 32, "num_layers": 2, "decay": 0.123456}, parameters=1000, seconds=59.0),
    trial(1, None, {"num_layers": 1, "decay": 0.5}, reason="out of memory: too large"),
    trial(
        2,
        110.25,
        {"num_layers": 1, "decay": 0.5},
        parameters=2_000_000,
        bits_per_byte=1.5436,
        words_per_second=9876.5,
        curve=[300.0, 110.0],
    ),
]


def test_completed_trials_come_first_the_lowest_perplexity_leading():
    assert [view.trial_id for view in rank(TRIALS)] == ["2", "0", "1"]


def test_sizes_lead_the_settings():
    assert setting_names(TRIALS) == ["num_layers", "units_2", "units_10", "decay"]


def test_the_table_shows_the_best_and_the_reasons():
    lines = format_table(TRIALS, rows=1).splitlines()
    assert lines[0].split() == ["trial", "perplexity", "bits/byte", "parameters", "words/s", "time", "epochs"]
    assert lines[1].split() == ["1", "2", "110.25", "1.544", "2,000,000", "9,876", "0", "s", "2"]
    assert lines[2:] == [
        "… and 1 more in leaderboard.csv",
        "trial 2: num_layers 1, decay 0.5",
        "trial 1 failed: out of memory: too large",
    ]


def test_the_table_fits_80_columns():
    settings = {f"units_{i}": 128 for i in range(9)} | {"global_clipnorm": 3.96724, "tie_embeddings": True}
    best = trial(
        1000, 110.25, settings, parameters=123_456_789, bits_per_byte=1.5, words_per_second=98765.4, seconds=37_000
    )
    lines = format_table([best, trial(3, None, {}, reason="ValueError: " + "too large " * 20)]).splitlines()
    assert max(map(len, lines)) <= 80
    text = " ".join(" ".join(lines).split())
    assert "trial 1000: units_0 128, " in text
    assert "units_8 128, global_clipnorm 3.967, tie_embeddings True trial 3 failed: ValueError: too large too" in text


def test_the_csv_has_every_trial_in_full(tmp_path):
    write_csv(TRIALS, tmp_path / "board.csv")
    with (tmp_path / "board.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["rank"], row["trial"], row["valid_perplexity"]) for row in rows] == [
        ("1", "2", "110.25"),
        ("2", "0", "120.5"),
        ("", "1", ""),
    ]
    assert rows[1]["decay"] == "0.123456"
    assert rows[2]["reason"] == "out of memory: too large"
    assert rows[2]["units_2"] == ""
    assert [row["valid_bits_per_byte"] for row in rows] == ["1.5436", "", ""]
    assert rows[0]["epochs"] == "2"


def test_pictures_take_settings_that_are_words(tmp_path):
    trials = [trial(i, 100.0 + i, {"kind": kind, "x": 0.5 * i}, parameters=i) for i, kind in enumerate("aba", 1)]
    paths = plot_search(trials, tmp_path / "plots")
    assert [path.name for path in paths] == ["perplexity-parameters.png", "perplexity-settings.png"]
    assert plot_search([TRIALS[1]], tmp_path / "none") == []


def test_of_equals_the_older_leads():
    trials = [trial(number, 100.0, {}) for number in (10, 9, 2)]
    assert [view.trial_id for view in rank(trials)] == ["2", "9", "10"]


def test_a_setting_that_is_called_as_a_column_stands_beside_it(tmp_path):
    write_csv([trial(0, 120.5, {"epochs": 4, "status": "x"}, curve=[1.0, 2.0])], tmp_path / "board.csv")
    with (tmp_path / "board.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert (row["epochs"], row["hp/epochs"], row["status"], row["hp/status"]) == ("2", "4", "completed", "x")
