import json

from proxyless.latency.cache import RoundsCache
from proxyless.latency.device import Device, device
from proxyless.latency.timing.interruptions import Interruptions
from proxyless.latency.timing.statistics import Round
from proxyless.machine import system

ROUNDS = [Round({"a": 0.25, "b": 1.5}, 0.0), Round({"b": 1.75}, None)]


def test_rounds_come_back_in_order(tmp_path):
    store = RoundsCache(tmp_path / "new", device("cpu"))
    assert store.load() == []
    for done in ROUNDS:
        store.add(done)
    assert RoundsCache(tmp_path / "new", device("cpu")).load() == ROUNDS


def test_another_thread_count_is_another_file_and_another_name_for_the_same_device_too(tmp_path):
    store = RoundsCache(tmp_path, device("cpu"))
    store.add(ROUNDS[0])
    assert RoundsCache(tmp_path, device("cpu", threads=2)).load() == []
    assert json.loads(store.path.read_text().splitlines()[0])["device"]["threads"] == 1


def test_what_is_broken_or_no_round_is_passed_over(tmp_path):
    store = RoundsCache(tmp_path, Device("cpu", "onnxruntime"))
    store.add(ROUNDS[0])
    with store.path.open("a") as file:
        file.write(
            '{"bursts": {"a": -1}, "other_cores": 0}\n[1]\n{"bursts": {"a": "x"}, "other_cores": 0}\n{"bursts"\n'
        )
    store.add(ROUNDS[1])
    assert [r for r in store.load() if r.bursts] == ROUNDS


def test_a_folder_that_cannot_be_written_is_let_be(tmp_path):
    (tmp_path / "file").write_text("")
    store = RoundsCache(tmp_path / "file", device("cpu"))
    store.add(ROUNDS[0])
    assert store.load() == []


def test_a_line_cut_off_by_a_kill_costs_no_other_round(tmp_path):
    store = RoundsCache(tmp_path, device("cpu"))
    store.add(ROUNDS[0])
    with store.path.open("a") as file:
        file.write('{"bursts": {"a": 0.')
    store = RoundsCache(tmp_path, device("cpu"))  # of the next process
    store.add(ROUNDS[1])
    assert [r for r in store.load() if r.bursts] == ROUNDS


def test_what_held_a_round_up_comes_back_with_it_and_rounds_of_before_were_not_held_up(tmp_path):
    held = Round({"a": 1.0}, 0.0, "x", Interruptions(throttled=3, throttled_s=0.25, stolen=0.1, stopped_s=0.5))
    store = RoundsCache(tmp_path, device("cpu"))
    store.add(held)
    store.add(Round({"a": 1.0}, 0.0, "x"))
    assert store.load() == [held, Round({"a": 1.0}, 0.0, "x")]
    assert [line.count('"held"') for line in store.path.read_text().splitlines()] == [0, 1, 0]


def test_rounds_under_a_quota_are_kept_apart_from_those_without(tmp_path, monkeypatch):
    whole = RoundsCache(tmp_path, device("cpu"))
    monkeypatch.setattr(system, "cpu_quota", lambda: 0.5)
    assert RoundsCache(tmp_path, device("cpu")).path != whole.path
