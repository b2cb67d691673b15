"""Quotas of control groups: as files say it, and as the system does it to a real process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from proxyless.machine.quota import Throttling, control_groups, cpu_quota, throttling

V2 = "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n"
V1 = "31 23 0:27 {top} /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu,cpuacct\n"
OTHERS = (
    "22 1 8:1 / / rw - ext4 /dev/sda1 rw\n32 23 0:28 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\nodd line\n"
)


def system(root: Path, own: str, mounts: str, groups: dict[str, dict[str, str]]) -> str:
    """A made-up root with ``groups``: files by folder."""
    (root / "proc" / "self").mkdir(parents=True)
    (root / "proc" / "self" / "cgroup").write_text(own)
    (root / "proc" / "self" / "mountinfo").write_text(OTHERS + mounts)
    for folder, texts in groups.items():
        (root / folder).mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            (root / folder / name).write_text(text)
    return str(root)


def test_the_smallest_quota_of_all_groups_around_a_process_holds(tmp_path):
    root = system(
        tmp_path,
        "0::/a/b\n",
        V2,
        {
            "sys/fs/cgroup/a/b": {
                "cpu.max": "max 100000\n",
                "cpu.stat": "usage_usec 9\nnr_throttled 2\nthrottled_usec 5\n",
            },
            "sys/fs/cgroup/a": {"cpu.max": "150000 100000\n", "cpu.stat": "nr_throttled 3\nthrottled_usec 1500000\n"},
            "sys/fs/cgroup": {"cpu.stat": "usage_usec 9\n"},
        },
    )
    assert cpu_quota(root) == 1.5
    assert throttling(control_groups(root)) == Throttling(5, 1.500005)
    assert throttling(control_groups(root)).since(Throttling(4, 1.5)) == Throttling(1, 0.000005)


def test_a_group_of_version_one_says_it_in_files_of_other_names(tmp_path):
    root = system(
        tmp_path,
        "3:memory:/x\n2:cpu,cpuacct:/job\n0::/elsewhere\n",
        V1.format(top="/"),
        {
            "sys/fs/cgroup/cpu/job": {
                "cpu.cfs_quota_us": "50000\n",
                "cpu.cfs_period_us": "100000\n",
                "cpu.stat": "nr_periods 7\nnr_throttled 6\nthrottled_time 250000000\n",
            },
            "sys/fs/cgroup/cpu": {"cpu.cfs_quota_us": "-1\n", "cpu.cfs_period_us": "100000\n"},
        },
    )
    assert cpu_quota(root) == 0.5
    assert throttling(control_groups(root)) == Throttling(6, 0.25)


@pytest.mark.parametrize("top", ["/docker/0ab1", "/"])
def test_in_a_container_its_own_group_is_the_topmost_that_is_seen(tmp_path, top):
    groups = {"sys/fs/cgroup/cpu": {"cpu.cfs_quota_us": "200000", "cpu.cfs_period_us": "100000"}}
    assert cpu_quota(system(tmp_path, "2:cpu:/docker/0ab1\n", V1.format(top=top), groups)) == 2.0


@pytest.mark.parametrize("text", ["max 100000", "", "odd", "0 100000", "100000 0", "-1 100000", "1 2 3"])
def test_what_is_no_quota_is_none(tmp_path, text):
    assert cpu_quota(system(tmp_path, "0::/\n", V2, {"sys/fs/cgroup": {"cpu.max": text}})) is None


def test_a_system_without_control_groups_has_no_quota(tmp_path):
    assert cpu_quota(str(tmp_path)) is None
    assert throttling(control_groups(str(tmp_path))) == Throttling()


@pytest.fixture
def a_tenth_of_a_core():
    """A real control group that may use a tenth of a core, as a folder to be joined."""
    for parent in control_groups():
        folder = Path(parent) / f"proxyless-test-{os.getpid()}"
        try:
            folder.mkdir()
        except OSError:
            continue
        try:
            if (folder / "cpu.max").exists():
                (folder / "cpu.max").write_text("10000 100000")
            elif (folder / "cpu.cfs_quota_us").exists():
                (folder / "cpu.cfs_quota_us").write_text("10000")
            else:
                continue
            yield folder
            return
        finally:
            folder.rmdir()
    pytest.skip("no control group can be made here")


def test_a_process_that_is_held_up_says_so_and_its_rounds_do_not_count(a_tenth_of_a_core):
    code = f"""
import json, os
import numpy as np
import time
from proxyless.latency.timing.statistics import Effort
from proxyless.machine.system import machine, usable_cores
from proxyless.latency.timing.interleaved import time_interleaved

open({str(a_tenth_of_a_core / "cgroup.procs")!r}, "w").write(str(os.getpid()))

class Busy:
    def times_ms(self, count):
        times = np.empty(count)
        for i in range(count):
            start = time.perf_counter()
            while time.perf_counter() < start + 0.02:
                pass
            times[i] = 1000 * (time.perf_counter() - start)
        return times

effort = Effort(rounds=3, burst_ms=20.0, width=1.0, limit_s=0.5, loadings=1)
_, found = time_interleaved({{"a": Busy()}}, effort)
print(json.dumps([machine(), usable_cores(), vars(found), found.warnings()]))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    machine, cores, conditions, warnings = json.loads(done.stdout)
    assert machine.endswith(", limited to 0.1")
    assert cores == 1
    assert conditions["quota"] == 0.1
    assert conditions["throttled"] >= 3
    assert conditions["throttled_s"] > 0
    assert conditions["disturbed"] >= conditions["throttled"]
    assert conditions["busy"]
    assert warnings[0].startswith("the CPU quota of 0.1 cores held the measuring up in ")
    assert "not to be trusted" in warnings[0]
