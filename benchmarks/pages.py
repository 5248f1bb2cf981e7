"""The tables of docs/results/, made from files of benchmarks/results/: `python -m benchmarks.pages` writes them anew.

A comment on the page says what its table shows: files, conditions, columns. `by` makes a column of each value of
another; `spread` is the geometric mean of all rows of a cell, and the least and the largest.

    <!--typos.csv|rate=0.069;run=english/phone|text;right:.1% as right after correction by corrector-->
"""

import csv
import itertools
import re
import statistics
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGES = ROOT / "docs" / "results"
_BLOCK = re.compile(r"(<!--(\S+\.csv.*)-->\n)(?:\n(?:\|.*\n)+\nFrom .*\n)?")
_COLUMN = re.compile(r"(?P<name>.+?)(?::(?P<format>\S+))?(?: as (?P<header>.+?))?(?: by (?P<by>.+))?")
_MACHINES = {
    "AMD EPYC, family 26 model 2 (AVX512-BF16)": "Zen 5",
    "AMD EPYC, family 25 model 17 (AVX512-BF16)": "Zen 4",
    "Intel(R) Xeon(R) Processor, family 6 model 167 (AMX)": "AMX",
    "Intel(R) Xeon(R) Processor (AMX)": "AMX",
}


def main() -> None:
    """Writes all tables anew."""
    for page in sorted(PAGES.glob("*.md")):
        page.write_text(with_tables(page.read_text(encoding="utf-8")), encoding="utf-8")


def with_tables(page: str) -> str:
    """Returns the text of a page with its tables as the files have them now."""
    return _BLOCK.sub(lambda found: f"{found[1]}\n{table(*found[2].split('|'))}\n", page)


def table(files: str, conditions: str, columns: str) -> str:
    """Returns a table of the rows of files that meet all conditions, and a line of where they were measured."""
    names = files.split("+")
    wanted = dict(each.split("=") for each in conditions.split(";")) if conditions != "all" else {}
    read = itertools.chain.from_iterable(map(_read, names))
    rows = [row for row in read if all(row[key] in values.split("/") for key, values in wanted.items())]
    assert rows, f"Expected rows. Received: {files} | {conditions}"
    specs = [spec for each in columns.split(";") for spec in _expand(each, rows)]
    keys = [spec["name"] for spec in specs if not spec["by"]]
    groups: dict[tuple[str, ...], list[dict[str, str]]] = {}
    for row in rows:
        groups.setdefault(tuple(row[key] for key in keys), []).append(row)
    lines = [[spec["header"] for spec in specs], ["---"] * len(specs)]
    lines += [[_cell(spec, group) for spec in specs] for group in groups.values()]
    head, rule, *body = (f"| {' | '.join(line)} |" for line in lines)
    return "\n".join([head, rule.replace(" ", ""), *body, "", _origin(names, rows)])


def _read(name: str) -> list[dict[str, str]]:
    with (ROOT / "benchmarks" / "results" / name).open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        processor = row.get("processor") or row["machine"]
        row["processor"] = _MACHINES.get(processor, processor)
    return rows


def _expand(column: str, rows: list[dict[str, str]]) -> list[dict[str, str]]:
    """Returns a column as it was written, or one for each value of what it is `by`."""
    found = _COLUMN.fullmatch(column)
    assert found, column
    spec = found.groupdict() | {"header": found["header"] or found["name"].replace("_", " "), "value": ""}
    if not spec["by"]:
        return [spec]
    before = f"{found['header']}, " if found["header"] else ""
    values = dict.fromkeys(row[spec["by"]] for row in rows)
    return [spec | {"value": value, "header": before + value} for value in values]


def _cell(spec: dict[str, str], group: list[dict[str, str]]) -> str:
    values = [row[spec["name"]] for row in group if not spec["by"] or row[spec["by"]] == spec["value"]]
    if spec["format"] == "spread":
        least, *_, largest = sorted(map(float, values))
        return f"{statistics.geometric_mean(map(float, values)):.2f} ({least:.2f} to {largest:.1f})"
    assert len(values) <= 1 or not spec["by"], f"Expected one row for a cell. Received: {values} of {spec}"
    if not values or not values[0]:
        return ""
    return format(float(values[0]), spec["format"]) if spec["format"] else values[0]


def _origin(names: list[str], rows: list[dict[str, str]]) -> str:
    links = ", ".join(f"[{name}](../../benchmarks/results/{name})" for name in names)
    told = [(row["processor"], "1 core" if row.get("cores") == "1" else "", row.get("date")) for row in rows]
    return f"From {links}: " + "; ".join(dict.fromkeys(", ".join(filter(None, each)) for each in told)) + "."


if __name__ == "__main__":
    main()
