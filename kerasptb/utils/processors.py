"""How many processors this process has."""

import math
import os
from collections.abc import Iterator
from pathlib import Path

from kerasptb.utils.types import StrPath


def available_processors(root: StrPath = "/") -> int:
    """Returns the number of processors that this process may use, at least 1."""
    # Containers limit the time on processors by a quota of Linux' control groups, which the mask does not show.
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min([count, *(math.ceil(quota / period) for quota, period in _quotas(Path(root)))]))


def _quotas(root: Path) -> Iterator[tuple[int, int]]:
    """Yields the quota and period, in microseconds, of each of the process's control groups and their parents."""
    try:
        groups = (root / "proc/self/cgroup").read_text(errors="replace").splitlines()
    except OSError:
        return
    for line in groups:  # "number:controllers:/path"; no controllers in version 2
        _, controllers, group = [*line.split(":", 2), "", ""][:3]
        if not controllers:
            folder, files = root / "sys/fs/cgroup", ["cpu.max"]
        elif "cpu" in controllers.split(","):
            folder, files = root / "sys/fs/cgroup/cpu", ["cpu.cfs_quota_us", "cpu.cfs_period_us"]
        else:
            continue
        # A container sees its own group as the root, or has the host's path to the group, which may be invisible to it.
        path = Path(group.lstrip("/"))
        for part in (path, *path.parents):
            try:
                quota, period = map(int, " ".join((folder / part / name).read_text() for name in files).split())
            except (OSError, ValueError):  # not there, or "max"
                continue
            if quota > 0 and period > 0:
                yield quota, period
