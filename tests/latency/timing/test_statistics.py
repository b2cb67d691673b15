import os

import numpy as np
import pytest
from scipy import stats

from proxyless.latency.timing.statistics import Effort, Interval, Round, _student, intervals, missing, undisturbed

QUICK = Effort(rounds=5, burst_ms=0.1, width=0.05, limit_s=30, loadings=1)


def rounds_of(*bursts: float, other: float | None = 0.0) -> list[Round]:
    return [Round({"a": ms}, other) for ms in bursts]


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


def test_a_few_disturbed_rounds_are_left_out_also_where_the_time_limit_ends_measuring_early():
    rounds = [*rounds_of(*[1.0] * 9), *rounds_of(3.0, other=os.cpu_count() or 1)]
    found, busy = intervals(["a"], rounds, Effort(rounds=15))
    assert not busy
    assert found["a"] == Interval(1.0, 1.0, 1.0)
    loud = [*rounds_of(*[1.0] * 4), *rounds_of(*[3.0] * 6, other=os.cpu_count() or 1)]
    assert intervals(["a"], loud, Effort(rounds=15))[1]


def loaded(values: dict[str, list[float]], rounds: int = 3) -> list[Round]:
    """Rounds of several loadings, each of which takes the same in all of its rounds."""
    count = len(next(iter(values.values())))
    return [
        Round({name: ms[number] for name, ms in values.items()}, 0.0, f"loading {number}")
        for number in range(count)
        for _ in range(rounds)
    ]


def test_of_several_loadings_the_mean_counts_with_the_interval_of_a_mean():
    times = [1.0, 1.04, 0.98, 1.02]
    found, busy = intervals(["a"], loaded({"a": times}), Effort(rounds=12, loadings=4))
    low, high = stats.t.interval(0.95, 3, loc=np.mean(times), scale=stats.sem(times))
    assert not busy
    assert found["a"].ms == pytest.approx(np.mean(times))
    assert found["a"].low_ms == pytest.approx(low, abs=0.001)
    assert found["a"].high_ms == pytest.approx(high, abs=0.001)


@pytest.mark.parametrize("loadings", [2, 4, 8])
def test_intervals_over_loadings_hold_the_true_time_of_nineteen_modules_of_twenty(loadings: int):
    """With modules that differ in how much a loading changes them."""
    rng = np.random.default_rng(1)
    true = rng.uniform(0.1, 10, 600)
    spread = rng.uniform(0.005, 0.03, 600)
    values = {
        str(i): list(ms * (1 + cv * rng.normal(size=loadings)))
        for i, (ms, cv) in enumerate(zip(true, spread, strict=True))
    }
    found, _ = intervals(list(values), loaded(values), Effort(rounds=3 * loadings, loadings=loadings))
    held = np.mean([found[str(i)].low_ms <= ms <= found[str(i)].high_ms for i, ms in enumerate(true)])
    assert 0.92 < held < 0.98


def test_one_module_that_jumps_about_does_not_widen_the_intervals_of_the_others():
    calm = {name: [1.0, 1.01, 0.99, 1.0] for name in "abcdefgh"}
    effort = Effort(rounds=12, loadings=4)
    alone, _ = intervals(list(calm), loaded(calm), effort)
    beside, _ = intervals([*calm, "wild"], loaded(calm | {"wild": [1.0, 2.0, 1.0, 2.0]}), effort)
    assert beside["a"].high_ms - beside["a"].low_ms <= 1.05 * (alone["a"].high_ms - alone["a"].low_ms)
    assert beside["wild"].high_ms - beside["wild"].low_ms > 0.3


def test_a_loading_that_was_cut_short_does_not_count():
    rounds = [*loaded({"a": [1.0, 1.0]}, rounds=6), Round({"a": 3.0}, 0.0, "cut")]
    found, _ = intervals(["a"], rounds, Effort(rounds=12, loadings=2))
    assert found["a"].ms == pytest.approx(1.0)
    assert missing(["a"], rounds, Effort(rounds=12, loadings=2)) == []
    assert missing(["a"], rounds, Effort(rounds=12, loadings=3)) == ["a"]


def test_many_rounds_of_one_loading_are_not_several_loadings():
    rounds = rounds_of(*[1.0] * 30)
    assert missing(["a"], rounds, Effort(rounds=12, loadings=1)) == []
    assert missing(["a"], rounds, Effort(rounds=12, loadings=2)) == ["a"]


def test_students_quantile_is_that_of_scipy():
    for freedom in (2, 3, 4, 7, 11):
        assert _student(freedom) == pytest.approx(stats.t.ppf(0.975, freedom), rel=0.035)


def test_a_round_in_which_large_modules_alone_were_slower_does_not_count():
    """Other machines on the same processor take of a cache that small modules do without."""
    small, large = dict.fromkeys("abcdefgh", 0.1), dict.fromkeys("ABCDEF", 5.0)
    usual = [Round(small | large, 0.0) for _ in range(4)]
    squeezed = Round(small | dict.fromkeys("ABCDEF", 6.0), 0.0)
    assert undisturbed([*usual, squeezed]) == [True] * 4 + [False]
