"""The processors that a process may use, by file systems that tell of a quota."""

import os

import pytest

from kerasptb.utils.processors import available_processors


@pytest.fixture(autouse=True)
def sixteen_processors(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(16)), raising=False)


@pytest.fixture
def write(tmp_path):
    def write(path, text):
        path = tmp_path / path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    return write


def test_without_a_quota_they_are_those_of_the_affinity_mask(tmp_path, write):
    assert available_processors(tmp_path) == 16  # no file tells of a quota
    write("proc/self/cgroup", "0::/\n")
    write("sys/fs/cgroup/cpu.max", "max 100000\n")
    assert available_processors(tmp_path) == 16


@pytest.mark.parametrize(
    ("limit", "count"), [("200000 100000", 2), ("150000 100000", 2), ("50000 100000", 1), ("9999999 100000", 16)]
)
def test_a_quota_is_rounded_up(tmp_path, write, limit, count):
    write("proc/self/cgroup", "0::/\n")
    write("sys/fs/cgroup/cpu.max", limit)
    assert available_processors(tmp_path) == count


def test_the_least_quota_of_a_group_and_those_above_it_counts(tmp_path, write):
    write("proc/self/cgroup", "0::/user/job\n")
    write("sys/fs/cgroup/user/job/cpu.max", "800000 100000")
    assert available_processors(tmp_path) == 8
    write("sys/fs/cgroup/user/cpu.max", "300000 100000")
    assert available_processors(tmp_path) == 3
    write("sys/fs/cgroup/user/job/cpu.max", "max 100000")
    assert available_processors(tmp_path) == 3


def test_a_container_that_sees_the_hosts_path_of_its_group(tmp_path, write):
    write("proc/self/cgroup", "0::/docker/0123\n")
    write("sys/fs/cgroup/cpu.max", "400000 100000")
    assert available_processors(tmp_path) == 4


def test_version_1(tmp_path, write):
    write("proc/self/cgroup", "4:memory:/a\n3:cpuset:/b\n2:cpu,cpuacct:/c\n1:name=systemd:/d\n")
    write("sys/fs/cgroup/cpu/c/cpu.cfs_quota_us", "-1\n")
    write("sys/fs/cgroup/cpu/c/cpu.cfs_period_us", "50000\n")
    assert available_processors(tmp_path) == 16
    write("sys/fs/cgroup/cpu/c/cpu.cfs_quota_us", "250000\n")
    assert available_processors(tmp_path) == 5


@pytest.mark.parametrize("text", ["", "nonsense", "1:cpu", "0::/a:b/../c\n", "0::\n"])
def test_files_that_say_nothing_are_no_limit(tmp_path, write, text):
    write("proc/self/cgroup", text)
    write("sys/fs/cgroup/cpu.max", "100000")
    assert available_processors(tmp_path) == 16
