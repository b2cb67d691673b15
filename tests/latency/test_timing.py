import os
from collections import Counter

import numpy as np
import pytest

from proxyless.latency import timing
from proxyless.latency.rounds import Effort, Interval, Round, intervals, missing, undisturbed
from proxyless.latency.timing import time_interleaved

QUICK = Effort(rounds=5, burst_ms=0.1, width=0.05, limit_s=30)


class Scripted:
    """Claims to take ``ms``, within ``noise``, without running anything."""

    def __init__(self, ms: float, noise: float = 0.0, seed: int = 0) -> None:
        self.ms, self.noise, self.rng, self.calls = ms, noise, np.random.default_rng(seed), 0

    def times_ms(self, count):
        self.calls += 1
        return self.ms * (1 + self.noise * self.rng.normal()) * np.ones(count)


@pytest.fixture(autouse=True)
def idle(monkeypatch):
    """Other programs use nothing, whatever runs beside the tests."""
    monkeypatch.setattr(timing._Load, "other_cores", lambda self: 0.0)


def rounds_of(*bursts: float, other: float | None = 0.0) -> list[Round]:
    return [Round({"a": ms}, other) for ms in bursts]


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


def test_the_lower_quartile_counts():
    found, busy = intervals(["a"], rounds_of(1.0, 1.01, 1.02, 1.03, 1.04), QUICK)
    assert found["a"].ms == pytest.approx(1.01)
    assert not busy


def test_the_interval_is_that_of_a_quantile_of_the_rounds():
    rng = np.random.default_rng(0)
    # By the order statistics of 1,000 normal draws: the quartile at -0.674, its error sqrt(q (1 - q) / n) / density.
    found, _ = intervals(["a"], rounds_of(*(10 + 0.1 * rng.normal(size=1000))), Effort(rounds=5))
    error = 0.1 * np.sqrt(0.25 * 0.75 / 1000) / 0.3178
    assert found["a"].ms == pytest.approx(10 - 0.0674, abs=3 * error)
    assert found["a"].high_ms - found["a"].low_ms == pytest.approx(2 * 1.96 * error, rel=0.3)


def test_a_round_in_which_other_programs_took_the_processor_does_not_count():
    cores = os.cpu_count() or 1
    rounds = rounds_of(1.0, 1.0, 1.0) + rounds_of(1.02, 1.02, other=0.8 * cores)
    assert undisturbed(rounds) == [True, True, True, False, False]
    assert undisturbed(rounds_of(1.0, 1.0, other=None)) == [True, True]


def test_a_round_that_is_slower_as_a_whole_does_not_count_but_one_slow_module_does_no_harm_to_the_others():
    names = "abcdefgh"
    usual = [Round(dict.fromkeys(names, 1.0), 0.0) for _ in range(4)]
    slow = Round(dict.fromkeys(names, 1.3), 0.0)
    odd = Round(dict.fromkeys(names, 1.0) | {"a": 5.0}, 0.0)
    assert undisturbed([*usual, slow, odd]) == [True, True, True, True, False, True]


def test_disturbed_rounds_are_measured_again(monkeypatch):
    loads = iter([2.0 * (os.cpu_count() or 1)] * 3 + [0.0] * 100)
    monkeypatch.setattr(timing._Load, "other_cores", lambda self: next(loads))
    _, conditions = time_interleaved({"a": Scripted(0.5)}, QUICK)
    assert conditions.rounds == QUICK.rounds + 3
    assert conditions.disturbed == 3
    assert not conditions.busy


def test_a_machine_that_stays_busy_is_reported(monkeypatch):
    monkeypatch.setattr(timing._Load, "other_cores", lambda self: 1.0 * (os.cpu_count() or 1))
    found, conditions = time_interleaved({"a": Scripted(0.5)}, Effort(5, 0.1, 0.05, limit_s=0.05))
    assert found["a"].ms == pytest.approx(0.5)
    assert conditions.busy
    assert conditions.disturbed == conditions.rounds >= 3
    assert "not to be trusted" in conditions.warnings()[0]


def test_a_few_disturbed_rounds_are_left_out_also_where_the_time_limit_ends_measuring_early():
    rounds = [*rounds_of(*[1.0] * 9), *rounds_of(3.0, other=os.cpu_count() or 1)]
    found, busy = intervals(["a"], rounds, Effort(rounds=15))
    assert not busy
    assert found["a"] == Interval(1.0, 1.0, 1.0)
    loud = [*rounds_of(*[1.0] * 4), *rounds_of(*[3.0] * 6, other=os.cpu_count() or 1)]
    assert intervals(["a"], loud, Effort(rounds=15))[1]


def test_intervals_that_stay_wide_are_reported():
    noisy = Scripted(0.5, noise=0.4)
    _, conditions = time_interleaved({"a": noisy}, Effort(3, 0.1, width=0.0, limit_s=0))
    assert conditions.wide == 1
    assert conditions.warnings() == ["1 latencies are known less well than asked: more seconds (limit-s) would help"]


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
    monkeypatch.setattr(timing._Load, "_busy_s", staticmethod(iter([100.0, 103.0]).__next__))
    monkeypatch.setattr(timing._Load, "_own_s", staticmethod(iter([5.0, 6.0]).__next__))
    monkeypatch.setattr(timing.time, "perf_counter", iter([0.0, 2.0]).__next__)
    assert timing._Load().other_cores() == pytest.approx((3 - 1) / 2)


def test_nothing_to_time_takes_no_round():
    found, conditions = time_interleaved({}, QUICK)
    assert found == {}
    assert conditions.rounds == 0
