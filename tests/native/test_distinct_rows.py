"""Which rows of a batch are equal, found by a small program of C++."""

import subprocess

import numpy as np
import pytest

from kerasptb.native import build

PROGRAM = r"""
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "recurrence/distinct_rows.h"

// Reads x [batch, steps, columns]. Writes how many distinct rows there are, the first of each, and which each row is.
int main(int, char** arguments) {
  const int64_t batch = atoi(arguments[1]), steps = atoi(arguments[2]), columns = atoi(arguments[3]);
  std::vector<float> x(batch * steps * columns);
  if (std::fread(x.data(), sizeof(float), x.size(), stdin) != x.size()) return 1;
  kerasptb::Workers workers;
  const kerasptb::DistinctRows distinct(x.data(), batch, steps, columns, atoi(arguments[4]), workers);
  std::printf("%d\n", static_cast<int>(distinct.count()));
  for (int64_t i = 0; i < distinct.count(); ++i) std::printf("%d ", static_cast<int>(distinct.first(i)));
  std::printf("\n");
  if (distinct.any_repeats() != (distinct.of_row() != nullptr)) return 2;
  for (int64_t i = 0; distinct.any_repeats() && i < batch * steps; ++i) std::printf("%d ", distinct.of_row()[i]);
}
"""
MOST_EQUAL = 64


@pytest.fixture(scope="module")
def distinct_rows(tmp_path_factory):
    folder = tmp_path_factory.mktemp("distinct_rows")
    (folder / "program.cc").write_text(PROGRAM)
    try:
        compiler = build.find_compiler()
    except build.NativeBuildError as error:
        pytest.skip(str(error))
    sources = [build.SOURCES / name for name in ("recurrence/distinct_rows.cc", "common/threads.cc", "common/cpu.cc")]
    command = [*compiler, *build.COMMON_FLAGS, f"-I{build.SOURCES}", *sources, folder / "program.cc", "-pthread"]
    subprocess.run([*map(str, command), "-o", str(folder / "program")], check=True)

    def run(x, least_repeats=1, threads=3):
        result = subprocess.run(
            [folder / "program", *map(str, x.shape), str(least_repeats)],
            input=np.ascontiguousarray(x, np.float32).tobytes(),
            env={"KERASPTB_THREADS": str(threads)},
            capture_output=True,
            check=True,
        )
        count, first, of_row = ([int(number) for number in line.split()] for line in result.stdout.split(b"\n"))
        assert count == [len(first)]
        return first, of_row

    return run


def vectors(ids, columns=40):
    """The vectors of words [batch, steps]: [batch, steps, columns]."""
    table = np.random.default_rng(1).standard_normal((np.max(ids) + 1, columns)).astype(np.float32)
    return table[ids]


def expected(ids):
    """The first of each run of at most MOST_EQUAL equal words, and the run of each word, step by step."""
    first, of_row, latest, sizes = [], [], {}, []
    for row, word in enumerate(ids.T.ravel()):
        if word not in latest or sizes[latest[word]] == MOST_EQUAL:
            latest[word] = len(first)
            first.append(row)
            sizes.append(0)
        of_row.append(latest[word])
        sizes[latest[word]] += 1
    return first, of_row


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize(
    ("batch", "steps", "words"), [(1, 2, 1), (60, 20, 400), (7, 331, 30), (3, 129, 1), (20, 1, 15)]
)
def test_equal_rows_are_found(distinct_rows, batch, steps, words, threads):
    ids = np.random.default_rng([batch, steps]).integers(words, size=(batch, steps))
    first, of_row = expected(ids)
    assert len(first) < batch * steps
    assert distinct_rows(vectors(ids), threads=threads) == (first, of_row)
    assert distinct_rows(vectors(ids), least_repeats=batch * steps - len(first)) == (first, of_row)


def test_too_few_repeats_do_not_count(distinct_rows):
    ids = np.random.default_rng(0).integers(400, size=(60, 20))
    repeats = 1200 - len(expected(ids)[0])
    assert distinct_rows(vectors(ids), least_repeats=repeats + 1) == (list(range(1200)), [])


def test_later_repeats_are_not_looked_for(distinct_rows):
    ids = np.arange(300).reshape(1, 300)
    ids[0, 128:] = 5
    assert distinct_rows(vectors(ids)) == (list(range(300)), [])
    ids[0, 127] = 5
    assert len(distinct_rows(vectors(ids))[0]) == 127 + 2  # three runs of 64 at most, the first of which began at 5


def test_rows_that_differ_in_later_columns_are_distinct(distinct_rows):
    x = vectors(np.zeros((2, 50), int))
    x[1, 30, 39] += 1
    assert distinct_rows(x) == (list(range(100)), [])


def test_rows_are_compared_bit_by_bit(distinct_rows):
    x = np.zeros((1, 4, 3), np.float32)
    x[0, 1, 0] = -0.0
    x[0, 2:] = np.nan
    assert distinct_rows(x) == ([0, 1, 2], [0, 1, 2, 2])
