"""What holds a process up: a real one that is stopped, and what the system tells."""

from __future__ import annotations

import os
import subprocess
import time

import numpy as np
import pytest

from proxyless.latency.timing import interleaved as timing
from proxyless.latency.timing import interruptions as held
from proxyless.latency.timing.interleaved import time_interleaved
from proxyless.latency.timing.interruptions import Interruptions, InterruptionWatch
from proxyless.latency.timing.statistics import Conditions, Effort, Round, conditions, undisturbed

CALM = Round({"a": 1.0}, 0.0)


@pytest.mark.parametrize(
    "what",
    [
        Interruptions(throttled=1),
        Interruptions(throttled_s=0.01),
        Interruptions(stolen=0.2),
        Interruptions(stopped_s=0.3),
    ],
)
def test_a_round_that_was_held_up_does_not_count(what):
    rounds = [CALM] * 4 + [Round({"a": 1.0}, 0.0, interruptions=what)]
    assert undisturbed(rounds) == [True] * 4 + [False]
    told = conditions(["a"], rounds, Effort(rounds=4))
    assert told.disturbed == 1
    assert not told.busy
    told = conditions(["a"], rounds[4:], Effort(rounds=4))
    assert len(told.warnings()) == 1 + bool(not (what.throttled or what.throttled_s))
    assert undisturbed([Round({"a": 1.0}, 0.0, interruptions=Interruptions(stolen=0.01))]) == [True]


def test_conditions_say_in_a_line_each_what_held_the_measuring_up():
    told = Conditions(9, 4, 0.0, 1.0, 0, False, quota=1.5, throttled=2, throttled_s=0.25, stolen=0.3, stopped_s=2.0)
    assert told.warnings() == [
        "the CPU quota of 1.5 cores held the measuring up in 2 of 9 rounds, for 0.2 s: these rounds do not count",
        "the hypervisor gave 30% of the processor's time to other machines meanwhile",
        "the measuring was stopped, or the machine suspended, for 2.0 s meanwhile",
    ]
    assert Conditions(9, 0, 0.0, 1.0, 0, False, quota=1.5).warnings() == []


def test_a_process_that_was_stopped_notices_it_and_measures_that_round_again(monkeypatch):
    monkeypatch.setattr(timing._OtherPrograms, "other_cores", lambda self: 0.0)

    class Stopped:
        calls = 0

        def times_ms(self, count):
            self.calls += 1
            times = np.empty(count)
            for i in range(count):
                start = time.perf_counter()
                if self.calls == 5 and i == 1:
                    shell = subprocess.Popen(
                        ["sh", "-c", f"kill -STOP {os.getpid()}; sleep 0.4; kill -CONT {os.getpid()}"]
                    )
                    shell.wait()
                times[i] = max(1.0, 1000 * (time.perf_counter() - start))
            return times

    seen: list[Round] = []
    time_interleaved({"a": Stopped()}, Effort(4, 3.0, 1.0, 30, loadings=1), on_round=seen.append)
    stopped = [done.interruptions.stopped_s for done in seen]
    assert max(stopped) > 0.3
    good = undisturbed(seen)
    assert not good[stopped.index(max(stopped))]
    assert sum(good) >= 4


def test_a_machine_that_was_suspended_is_noticed_by_its_clocks(monkeypatch):
    clock = iter([10.0, 17.5])
    monkeypatch.setattr(held, "_suspended_s", lambda: next(clock))
    assert InterruptionWatch([]).until_now().stopped_s == pytest.approx(7.5)


def test_time_that_other_machines_take_is_that_of_the_cores_in_use(monkeypatch):
    own, ticks = min(os.sched_getaffinity(0)), os.sysconf("SC_CLK_TCK")

    def stat(stolen: int) -> str:
        return f"cpu 1 2 3 4 5 6 7 999 0 0\ncpu{own} 1 2 3 4 5 6 7 {stolen} 0 0\ncpu4000 1 2 3 4 5 6 7 999 0 0"

    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {own})
    texts = iter([stat(100), stat(100 + ticks)])
    monkeypatch.setattr(held, "system_text", lambda path: next(texts))
    monkeypatch.setattr(held.time, "perf_counter", iter([0.0, 4.0]).__next__)
    assert InterruptionWatch([]).until_now().stolen == pytest.approx(0.25)


def test_who_is_throttled_is_not_called_stopped_as_well(monkeypatch, tmp_path):
    (tmp_path / "cpu.stat").write_text("nr_throttled 4\nthrottled_usec 1000000\n")
    watch = InterruptionWatch([str(tmp_path)])
    (tmp_path / "cpu.stat").write_text("nr_throttled 9\nthrottled_usec 1500000\n")
    found = watch.until_now(stopped_s=0.4)
    assert (found.throttled, found.throttled_s, found.stopped_s) == (5, 0.5, 0.0)
