import csv

import pytest

from benchmarks import machine, ops

SECONDS = {
    "Keras": [0.004, 0.003, 0.005],
    "Keras, unrolled": [],  # it has nothing of its own for the output layer
    "PyTorch, bfloat16 autocast": [0.001],
    "kerasptb, native": [0.002],
}


class Contender:
    """A contender's process of which one dies of the output layer."""

    dying = None

    def __init__(self, name):
        self.name = name

    def measure(self, size):
        if self.name == self.dying and size["operation"] == "linear_cross_entropy":
            return None
        return SECONDS[self.name]

    def close(self):
        pass


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.setattr(ops, "Contender", Contender)
    monkeypatch.setattr(machine, "matrix_rates", lambda: {"float32": 1e12})
    monkeypatch.setattr(machine, "that_run_here", list)
    path = tmp_path / "ops.csv"
    monkeypatch.setattr("sys.argv", ["ops", "--rounds", "2", "--quick", "--csv", str(path), "--only", *SECONDS])

    def rows():
        ops.main()
        with path.open() as file:
            return list(csv.DictReader(file))

    return rows


def test_what_has_nothing_of_its_own_has_not_failed(run):
    rows = run()
    assert len(rows) == 3 * len(ops.sizes(quick=True))
    first = {row["contender"]: row for row in rows[:3]}
    assert {name: float(row["ms_best_round"]) for name, row in first.items()} == {
        "Keras": 4.0,
        "PyTorch, bfloat16 autocast": 1.0,
        "kerasptb, native": 2.0,
    }
    # To the fastest in float32 of others, whatever bfloat16 reaches.
    assert float(first["kerasptb, native"]["ratio"]) == pytest.approx(2.0)
    # 3 x 2 x 60 x 20 x 1024 x (256 + 256) operations in 2 ms.
    assert float(first["kerasptb, native"]["gflops"]) == pytest.approx(3.774873 / 2e-3, rel=1e-6)


def test_what_has_failed_is_named_at_the_end(run, monkeypatch):
    monkeypatch.setattr(Contender, "dying", "PyTorch, bfloat16 autocast")
    with pytest.raises(SystemExit, match=r"Failed at some sizes.*: PyTorch, bfloat16 autocast$"):
        run()


def test_contenders_that_cannot_run_here_are_told_beforehand(monkeypatch, capsys):
    def reason(precision):
        return {"float32": None, "bfloat16": "no such instructions"}[precision]

    monkeypatch.setattr("kerasptb.ops.platform.why_not_native", reason)
    names = {"PyTorch, bfloat16 autocast": "bfloat16", "kerasptb, native": "float32"}
    assert machine.that_run_here({**names, "kerasptb, native, bfloat16": "bfloat16"}) == list(names)
    assert capsys.readouterr().out == "kerasptb, native, bfloat16: left out: no such instructions\n"
    monkeypatch.setattr("kerasptb.ops.platform.why_not_native", lambda precision: "it is not built")
    with pytest.raises(SystemExit, match="kerasptb, native: it is not built"):
        machine.that_run_here(names)


def test_sizes_drawn_are_those_of_their_seed_and_not_too_large():
    drawn = ops.random_sizes(40, seed=2)
    assert drawn == ops.random_sizes(40, seed=2) != ops.random_sizes(40, seed=3)
    assert [size["operation"] for size in drawn[:4]] == ["linear_cross_entropy", "lstm", "linear_cross_entropy", "lstm"]
    assert max(map(ops.flops, drawn)) < 25e9
    words = sorted(size["words"] for size in drawn[::2])
    assert words[9] < 100  # even over the logarithm, as far as there is time
    assert words[-1] > 500
