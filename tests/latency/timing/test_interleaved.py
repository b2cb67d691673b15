import os
from collections import Counter

import numpy as np
import pytest

from proxyless.latency.timing import interleaved as timing
from proxyless.latency.timing.interleaved import time_interleaved
from proxyless.latency.timing.interruptions import Interruptions
from proxyless.latency.timing.statistics import Effort, Interval, Round, missing

QUICK = Effort(rounds=5, burst_ms=0.1, width=0.05, limit_s=30, loadings=1)


class Scripted:
    """Claims to take ``ms``, within ``noise``, without running anything."""

    def __init__(self, ms: float, noise: float = 0.0, seed: int = 0) -> None:
        self.ms, self.noise, self.rng, self.calls = ms, noise, np.random.default_rng(seed), 0

    def times_ms(self, count):
        self.calls += 1
        return self.ms * (1 + self.noise * self.rng.normal()) * np.ones(count)


@pytest.fixture(autouse=True)
def idle(monkeypatch):
    """Other programs use nothing and nothing holds this process up, whatever runs beside the tests."""
    monkeypatch.setattr(timing._OtherPrograms, "other_cores", lambda self: 0.0)
    monkeypatch.setattr(timing.InterruptionWatch, "until_now", lambda self, stopped_s: Interruptions())


def test_every_module_gets_its_own_time_and_an_interval_around_it():
    found, conditions = time_interleaved({"fast": Scripted(0.2, 0.01), "slow": Scripted(0.6, 0.01, 1)}, QUICK)
    assert found["fast"].ms == pytest.approx(0.2, rel=0.03)
    assert found["slow"].ms == pytest.approx(0.6, rel=0.03)
    assert all(t.low_ms <= t.ms <= t.high_ms for t in found.values())
    assert not conditions.busy


def test_steady_modules_take_the_least_number_of_rounds_and_noisy_ones_more_until_they_are_narrow():
    seen: list[Round] = []
    modules = {"steady": Scripted(0.5), "noisy": Scripted(0.5, 0.1)}
    found, conditions = time_interleaved(modules, QUICK, on_round=seen.append)
    counts = Counter(name for done in seen for name in done.bursts)
    assert counts["steady"] == QUICK.rounds
    assert counts["noisy"] > QUICK.rounds
    assert found["noisy"].high_ms - found["noisy"].low_ms <= 2 * QUICK.width * found["noisy"].ms
    assert conditions.rounds == len(seen)
    assert conditions.wide == 0


def test_without_time_every_module_still_gets_three_bursts_and_is_called_wide():
    seen: list[Round] = []
    effort = Effort(rounds=50, burst_ms=0.1, width=0.0, limit_s=0.0)
    _, conditions = time_interleaved({"a": Scripted(1, 0.2), "b": Scripted(1, 0.2, 1)}, effort, on_round=seen.append)
    assert len(seen) == 3
    assert conditions.wide == 2


def test_rounds_measured_before_are_gone_on_from():
    before: list[Round] = []
    time_interleaved({"a": Scripted(0.5)}, Effort(3, 0.1, 0.05, 30), on_round=before.append)
    more: list[Round] = []
    time_interleaved({"a": Scripted(0.5)}, QUICK, history=before, on_round=more.append)
    assert len(before) + len(more) == QUICK.rounds
    assert missing(["a", "b"], before + more, QUICK) == ["b"]


def test_disturbed_rounds_are_measured_again(monkeypatch):
    loads = iter([2.0 * (os.cpu_count() or 1)] * 3 + [0.0] * 100)
    monkeypatch.setattr(timing._OtherPrograms, "other_cores", lambda self: next(loads))
    _, conditions = time_interleaved({"a": Scripted(0.5)}, QUICK)
    assert conditions.rounds == QUICK.rounds + 3
    assert conditions.disturbed == 3
    assert not conditions.busy


def test_a_machine_that_stays_busy_is_reported(monkeypatch):
    monkeypatch.setattr(timing._OtherPrograms, "other_cores", lambda self: 1.0 * (os.cpu_count() or 1))
    found, conditions = time_interleaved({"a": Scripted(0.5)}, Effort(5, 0.1, 0.05, limit_s=0.05))
    assert found["a"].ms == pytest.approx(0.5)
    assert conditions.busy
    assert conditions.disturbed == conditions.rounds >= 3
    assert "not to be trusted" in conditions.warnings()[0]


def test_intervals_that_stay_wide_are_reported():
    noisy = Scripted(0.5, noise=0.4)
    _, conditions = time_interleaved({"a": noisy}, Effort(3, 0.1, width=0.0, limit_s=0))
    assert conditions.wide == 1
    assert conditions.warnings() == ["1 latency is known less well than asked: more seconds (limit-s) would help"]


def test_progress_never_goes_back_and_ends_at_one():
    seen: list[float] = []
    time_interleaved({"a": Scripted(0.01)}, QUICK, advance=seen.append)
    assert seen == sorted(seen)
    assert seen[-1] == 1.0


def test_the_first_inference_of_a_burst_is_not_counted():
    class Cold:
        def times_ms(self, count):
            return np.array([100.0] + [1.0] * (count - 1))

    found, _ = time_interleaved({"a": Cold()}, QUICK)
    assert found["a"] == Interval(1.0, 1.0, 1.0)


def test_other_load_is_what_other_processes_use(monkeypatch):
    monkeypatch.undo()
    monkeypatch.setattr(timing._OtherPrograms, "_busy_s", staticmethod(iter([100.0, 103.0]).__next__))
    monkeypatch.setattr(timing._OtherPrograms, "_own_s", staticmethod(iter([5.0, 6.0]).__next__))
    monkeypatch.setattr(timing.time, "perf_counter", iter([0.0, 2.0]).__next__)
    assert timing._OtherPrograms().other_cores() == pytest.approx((3 - 1) / 2)


def test_nothing_to_time_takes_no_round():
    found, conditions = time_interleaved({}, QUICK)
    assert found == {}
    assert conditions.rounds == 0
