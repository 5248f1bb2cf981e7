"""The GPU check's report of times: the targets and the table."""

EPOCH_WORDS = 929_589  # of the Penn Treebank's training text
MET, MISSED, NOT_MEASURED, NOT_HERE = "met", "missed", "not measured", "about a GPU only"


def targets(rows, cpu):
    """Returns the targets and whether they are met: dicts of "target", "value", "limit", "of" and "verdict".

    A missed target does not fail the check. `value` should be at most `limit` if "at most" is set, else at least.
    """
    found = []

    def add(target, value, limit, at_most, of):
        if cpu:
            verdict = NOT_HERE
        elif value is None:
            verdict = NOT_MEASURED
        else:
            verdict = MET if (value <= limit if at_most else value >= limit) else MISSED
        found.append({"target": target, "value": value, "limit": limit, "of": of, "verdict": verdict})

    # The sizes of the notebook model's layers; the third size measured has no target.
    for units in (256, 128):
        of_size = [row for row in rows if row["what"] == "lstm" and row["size"]["H"] == units]
        ours = _row(of_size, "kerasptb, native")
        # The fastest measured way to run cuDNN, with TF32 or without.
        others = _best(of_size, "PyTorch, cuDNN") or _best(of_size, "Keras on")
        target = f"recurrence, forward + backward, {units} units: time at most half of cuDNN's"
        add(target, _ratio(ours, others), 0.5, True, others and others["contender"])
    copy = next((row for row in rows if row["what"] == "copy"), None)
    softmax = [row for row in rows if row["what"] == "softmax"]
    for row in softmax or [None]:
        size = f", N {row['size']['N']}, V {row['size']['V']}" if row else ""
        value = row["us_median"] / memory_floor(row, copy) if row and copy else None
        add(f"softmax cross-entropy{size}: at most 1.3 × the memory's floor", value, 1.3, True, "memory")
    steps = [row for row in rows if row["what"] == "step"]
    ours = _row(steps, "kerasptb, native")
    peers = {"Keras": (_row(steps, "Keras"), 5.0), "compiled PyTorch": (_best(steps, "PyTorch, compiled, TF32"), 3.0)}
    for name, (others, limit) in peers.items():
        target = f"training step: at least {limit:.0f} × as fast as {name}"
        add(target, _ratio(others, ours), limit, False, others and others["contender"])
    add("an epoch of the Penn Treebank: at most half a second", ours and epoch_seconds(ours), 0.5, True, None)
    return found


def memory_floor(row, copy):
    """Returns the microseconds that the memory needs to move the bytes of a row, at the measured copying rate."""
    return row["bytes"] / copy["gigabytes_per_second"] / 1e3


def epoch_seconds(row):
    """Returns the seconds that the Penn Treebank's training text takes at the median time of a step."""
    return EPOCH_WORDS / words_per_second(row)


def words_per_second(row):
    """Returns the words per second of training, at the median time of a step."""
    return row["size"]["B"] * row["size"]["T"] / row["us_median"] * 1e6


def table(report):
    """Returns the times and the targets as text."""
    rows, lines = report["timings"], [report["label"], ""]
    copy = next((row for row in rows if row["what"] == "copy"), None)
    if copy:
        nominal = report["environment"].get("gpu", {}).get("nominal_gigabytes_per_second")
        lines.append(
            f"memory copies at {copy['gigabytes_per_second']:,.0f} GB/s"
            + (f" ({nominal:,.0f} nominal)" if nominal else "")
        )
    heading = None
    for row in rows:
        if row["what"] == "copy":
            continue
        size = " ".join(f"{name} {value}" for name, value in row["size"].items())
        if (title := f"{_TITLES[row['what']]}, {size}") != heading:
            lines += ["", f"{title:<58}{'median µs':>12}{'p10':>10}{'p90':>10}"]
            heading = title
        if "failed" in row:
            lines.append(f"  {row['contender']:<56} failed: {row['failed']}")
            continue
        line = f"  {row['contender']:<56}{row['us_median']:>12,.1f}{row['us_p10']:>10,.1f}{row['us_p90']:>10,.1f}"
        if row["what"] == "step":
            line += f"  {words_per_second(row):>11,.0f} words/s, an epoch {epoch_seconds(row):.2f} s"
            line += f"; cost {row['cost_first']:.2f} to {row['cost_last']:.2f}"
        elif "bytes" in row and copy:
            line += f"  {row['us_median'] / memory_floor(row, copy):.2f} × floor of {row['passes']} passes"
        lines.append(line)
    methods = sorted({f"{_TITLES[row['what']]}: {row['method']}" for row in rows if "method" in row})
    lines += [
        "",
        "how it was timed",
        *(f"  {method}" for method in methods),
        "",
        "targets (a missed one fails nothing)",
    ]
    for target in report["targets"]:
        value = "" if target["value"] is None else f"{target['value']:.2f}"
        of = f" ({target['of']})" if target["of"] and target["of"] != "memory" else ""
        lines.append(f"  {target['verdict']:<17}{value:>9}  {target['target']}{of}")
    return "\n".join(lines)


_TITLES = {
    "copy": "memory",
    "lstm": "LSTM layer, forward + backward",
    "lstm forward kernel": "the forward kernel by itself",
    "lstm backward kernel": "the backward kernel by itself",
    "softmax": "softmax cross-entropy by itself, loss + gradient",
    "linear_cross_entropy": "output layer with cross-entropy, forward + backward",
    "step": "training step of the notebook model",
}


def _row(rows, contender):
    return next((row for row in rows if row["contender"] == contender and "us_median" in row), None)


def _best(rows, prefix):
    """Returns the fastest row of the contenders whose names begin with `prefix`, or None."""
    return min(
        (row for row in rows if row["contender"].startswith(prefix) and "us_median" in row),
        key=lambda row: row["us_median"],
        default=None,
    )


def _ratio(row, other):
    return row["us_median"] / other["us_median"] if row and other else None
