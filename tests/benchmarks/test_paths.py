import csv

import pytest

from benchmarks import contenders, machine, operations, paths, training

TINY = {"batch": 2, "steps": 3, "features": 4, "units": 5}


@pytest.fixture
def run(native_library, tmp_path, monkeypatch):
    for module in (contenders, training):
        monkeypatch.setattr(module, "UNITS", (6, 5))
        monkeypatch.setattr(module, "EMBEDDING", 4)
    monkeypatch.setattr(operations, "SECONDS", 0)
    monkeypatch.setattr(paths, "SIZES", (TINY, {**TINY, "units": 7}))
    monkeypatch.setattr(paths, "STEPS", 4)
    monkeypatch.setattr(machine, "that_run_here", lambda precisions: ["kerasptb, native"])
    path = tmp_path / "paths.csv"

    def rows(*only):
        monkeypatch.setattr(
            "sys.argv", ["paths", "--rounds", "2", "--data", "sample", "--csv", str(path), "--only", *only]
        )
        paths.main()
        with path.open() as file:
            return list(csv.DictReader(file))

    return rows


@pytest.mark.slow
def test_both_tables(run, monkeypatch, capsys):
    monkeypatch.setitem(paths.VARIANTS, "of no layer", ({"nothing_has_this": 1}, ()))
    fitted = ["compile()", "sample weights", "own Sequential model", "Keras' own layers"]
    rows = run(*fitted, "plain", "mask", "Bidirectional", "of no layer")
    assert [row["what"] for row in rows if row["table"] == "fit"] == fitted
    layers = [(row["what"], row["contender"], row["units"]) for row in rows if row["table"] == "layer"]
    assert layers == [
        (name, contender, units)
        for units in ("5", "7")
        for name in ("plain", "mask", "Bidirectional")
        for contender in ("kerasptb", "Keras")
    ]
    for row in rows:
        assert 0 < float(row["ms_p10"]) <= float(row["ms_median"]) <= float(row["ms_p90"])
        assert (float(row["ratio"]) == 1) == (row["what"] in ("compile()", "plain"))
        assert (float(row["ratio_to_keras"]) == 1) == ("Keras" in (row["contender"], row["what"]))
        assert row["processor"] == machine.describe()["processor"]
    told = [line for line in capsys.readouterr().out.splitlines() if "not available" in line]
    assert len(told) == 4
    assert told[0].startswith("of no layer, kerasptb, float32: not available: Unrecognized keyword argument")


@pytest.mark.slow
def test_every_way_to_fit_trains(run, monkeypatch, capsys):
    monkeypatch.setattr(paths, "SIZES", (TINY,))
    monkeypatch.setattr(paths, "measure", lambda table, turns, *args, **size: [{"what": what} for what, *_ in turns])
    names = list(paths.fit_paths())
    assert [row["what"] for row in run(*names)] == names
    assert "not available" not in capsys.readouterr().out


def test_times_are_those_of_all_rounds_and_of_the_best():
    times = machine.quantiles([[0.001, 0.003, 0.002], [0.004, 0.005]])
    assert times == pytest.approx({"ms_median": 3, "ms_p10": 1.4, "ms_p90": 4.6, "ms_best_round": 2})


def test_an_unknown_name_is_refused(run):
    with pytest.raises(SystemExit):
        run("nonsense")
