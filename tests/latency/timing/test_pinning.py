import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from proxyless.latency.timing import pinning as steadiness
from proxyless.latency.timing.pinning import best_cores, pinned
from proxyless.machine.system import usable_cores

IDLE = 10
"""Ticks in a tenth of a second."""


@pytest.fixture
def machine(monkeypatch):
    """Makes the system tell of another machine: ticks that each core was idle, its speed, and its siblings."""

    def tells(ticks, speeds=None, siblings=None):
        def stat_of(now):
            rows = (f"cpu{core} 5 0 5 {1000 + now * idle} 0 0\n" for core, idle in ticks.items())
            return "cpu  1 1 1 1 1\n" + "".join(rows)

        stat = iter([stat_of(0), stat_of(1)])

        def text(path):
            if path == "/proc/stat":
                return next(stat) if ticks else ""
            core = int(Path(path).parts[5].removeprefix("cpu"))
            if path.endswith("cpu_capacity"):
                return str((speeds or {}).get(core, ""))
            return (siblings or {}).get(core, "")

        monkeypatch.setattr(steadiness, "system_text", text)

    return tells


def test_idle_cores_are_taken_before_busy_ones_of_equals_the_last(machine):
    machine({0: IDLE, 1: IDLE, 2: 9, 3: 1})  # a tick more or less says nothing
    assert best_cores({0, 1, 2, 3}, 1) == [2]
    machine({0: IDLE, 1: 2, 2: IDLE, 3: IDLE})
    assert sorted(best_cores({0, 1, 2, 3}, 3)) == [0, 2, 3]
    machine({0: IDLE, 1: IDLE, 2: IDLE})
    assert best_cores({0, 1}, 1) == [1], "a core that the process may not use"


def test_where_the_system_tells_nothing_the_last_cores_are_taken(machine):
    machine({})
    assert sorted(best_cores({0, 1, 2, 3}, 2)) == [2, 3]


def test_fast_cores_are_taken_before_slow_ones_even_where_these_are_idle(machine):
    speeds = {0: 5000, 1: 4900, 2: 3400, 3: 3400}  # two of each kind, as in many laptops
    machine({0: 1, 1: IDLE, 2: IDLE, 3: IDLE}, speeds)
    assert best_cores({0, 1, 2, 3}, 2) == [1, 0]
    machine({0: IDLE, 1: IDLE, 2: IDLE, 3: IDLE}, speeds)
    assert best_cores({0, 1, 2, 3}, 3) == [1, 0, 3]


@pytest.mark.parametrize("listed", [("0-1", "2-3"), ("0,1", "2,3")])
def test_the_second_thread_of_a_core_is_taken_last(machine, listed):
    siblings = {0: listed[0], 1: listed[0], 2: listed[1], 3: listed[1]}
    machine(dict.fromkeys(range(4), IDLE), siblings=siblings)
    assert best_cores({0, 1, 2, 3}, 2) == [3, 1]
    machine(dict.fromkeys(range(4), IDLE), siblings=siblings)
    assert best_cores({0, 1, 2, 3}, 3) == [3, 1, 2]


@pytest.mark.skipif(not Path("/proc/stat").exists(), reason="this system does not tell")
def test_the_idle_time_of_every_core_is_read_from_the_system():
    assert set(steadiness._idle_ticks()) >= os.sched_getaffinity(0)


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system does not pin threads")
def test_threads_stay_on_as_many_cores_as_there_are_threads_and_are_free_afterwards():
    allowed = os.sched_getaffinity(0)
    with pinned(1):
        assert usable_cores() == 1
    assert os.sched_getaffinity(0) == allowed


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system does not pin threads")
def test_a_system_that_forbids_pinning_is_measured_unpinned(monkeypatch):
    def forbidden(process, cores):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "sched_setaffinity", forbidden)
    with pinned(1):
        pass


FREEING = """
import resource
import numpy as np
from proxyless.latency.timing.pinning import pinned

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    blocks = [np.ones(4 << 20, np.uint8) for _ in range(6)]
    del blocks
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

faults(), faults()
print(faults())
with pinned(1):
    faults()
    print(faults())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other allocators do not learn")
def test_memory_that_an_inference_frees_is_not_mapped_anew_by_the_next():
    done = subprocess.run([sys.executable, "-c", FREEING], capture_output=True, text=True, check=True)
    anew, kept = map(int, done.stdout.split())
    assert anew > 1000  # pages of 4 KiB: most of 24 MiB
    assert kept < 100
