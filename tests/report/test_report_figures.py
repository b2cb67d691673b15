"""The figures show the numbers of the files: computed here by other means, or by hand."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from proxyless.report import RunFiles, read_run, render
from proxyless.report.candidates import candidates_of
from proxyless.report.charts import Axis, axis, thinned, viridis
from proxyless.report.glance import title, verdict, wilson_interval
from proxyless.report.latency import cost_bars, prediction_errors, scatter, uncorrected
from proxyless.report.network import blocks, strip
from proxyless.report.run_files import last_told
from proxyless.report.search import heat_map, paths, section, timeline
from proxyless.report.settings import flat
from proxyless.report.training import class_accuracies


def change(path: Path, **values: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


# Latency ----------------------------------------------------------------------------------------------------------


def test_errors_of_predictions_by_hand() -> None:
    errors = prediction_errors([(10.0, 11.0), (20.0, 19.0)])
    assert errors.networks == 2
    assert errors.bias == pytest.approx((0.1 - 0.05) / 2)
    assert errors.mape == pytest.approx(0.075)
    assert errors.largest == pytest.approx(0.1)


def test_a_busy_machine_and_predicted_candidates_are_told(run: Path) -> None:
    calm = render(read_run(run))
    assert "16, of them 1 disturbed" in calm
    assert "do not trust" not in calm
    assert "Candidates predicted" not in calm
    latency = json.loads((run / "latency.json").read_text())
    first = next(iter(latency["choices"].values()))
    next(iter(first.values()))["measured"] = False
    busy = latency["conditions"] | {"disturbed": 16, "busy": True}
    change(run / "latency.json", choices=latency["choices"], conditions=busy)
    page = render(read_run(run))
    assert "16, of them 16 disturbed and yet used: the machine was busy" in page
    assert "Candidates predicted, not measured" in page


def test_what_held_measuring_up_is_told(run: Path) -> None:
    assert "CPU quota" not in render(read_run(run))
    latency = json.loads((run / "latency.json").read_text())
    held = {"quota": 0.5, "throttled": 16, "throttled_s": 3.21, "stolen": 0.125, "stopped_s": 2.0}
    change(run / "latency.json", conditions=latency["conditions"] | {"disturbed": 16, "busy": True} | held)
    page = render(read_run(run))
    for told in ("0.5 cores", "16, for 3.2 s", "12.5", "2.0 s", "disturbed and yet used: a CPU quota held them up"):
        assert told in page, told


def test_spread_is_what_is_left_after_the_best_factor() -> None:
    measured = np.array([1.0, 2.0, 4.0, 3.0])
    assert prediction_errors(list(zip(measured, 1.3 * measured, strict=True))).spread == pytest.approx(0, abs=1e-12)
    predicted = np.array([1.1, 1.9, 4.4, 3.1])
    ratios = measured / predicted
    spread = prediction_errors(list(zip(measured, predicted, strict=True))).spread
    assert spread == pytest.approx(np.std(ratios, ddof=1) / np.mean(ratios))
    assert prediction_errors([(1.0, 1.0)]).spread is None


def test_the_page_gives_the_errors_of_the_networks_that_were_not_fitted(run: Path) -> None:
    networks = json.loads((run / "latency.json").read_text())["networks"]
    check = [network for network in networks if network["role"] == "check"]
    measured, predicted = (np.array([network[key] for network in check]) for key in ("measured_ms", "predicted_ms"))
    mape = np.mean(np.abs(predicted - measured) / measured)
    largest = np.max(np.abs(predicted - measured) / measured)
    words = re.sub(r"<[^>]+>", "", render(read_run(run)))
    assert f"On {len(check)} whole networks" in words
    assert f"off by {100 * mape:.1f} % on average and by {100 * largest:.1f} % at most" in words


def test_plain_sums_are_the_fixed_part_and_the_table_without_the_correction(run: Path) -> None:
    latency = json.loads((run / "latency.json").read_text())
    network = latency["networks"][3]
    plain = latency["fixed_ms"] + sum(latency["choices"][name][pick]["ms"] for name, pick in network["choices"].items())
    assert uncorrected(read_run(run), [network]) == [(network["measured_ms"], pytest.approx(plain))]
    assert uncorrected(read_run(run), [{**network, "choices": {"elsewhere": "k3_e3"}}]) == []


def test_marks_of_the_scatter_stand_where_prediction_and_measurement_say() -> None:
    pairs = [(1.0, 1.1), (2.0, 2.0), (4.0, 3.0)]
    drawn = scatter([{"measured_ms": m, "predicted_ms": p, "role": "check"} for m, p in pairs])
    marks = re.findall(r'<circle cx="([\d.]+)" cy="([\d.]+)"', drawn)[1:]  # the first is the legend's
    x, y = np.array(marks, dtype=float).T
    measured, predicted = np.array(pairs).T
    assert np.corrcoef(x, predicted)[0, 1] == pytest.approx(1, abs=1e-6)
    assert np.corrcoef(y, measured)[0, 1] == pytest.approx(-1, abs=1e-6)


def test_bars_are_as_high_as_the_candidates_cost_and_zero_has_none() -> None:
    cost = {"k3": {"ms": 1.0}, "k5": {"ms": 2.0}, "skip": {"ms": 0.0}}
    drawn = cost_bars(RunFiles(Path("r"), latency={"choices": {"a": cost, "b": {"k3": {"ms": 4.0}}}}))
    assert drawn is not None
    heights = [float(height) for height in re.findall(r'<rect [^>]*height="([\d.]+)"', drawn)]
    assert np.array(heights) / heights[0] == pytest.approx([1, 2, 4], rel=1e-3)


# Result -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("measured", "met", "says"),
    [(3.9, True, "Budget met:"), (4.0, True, "Budget met:"), (4.11, True, "noise"), (4.13, False, "missed")],
)
def test_the_verdict_allows_three_per_cent_of_measuring_noise(measured: float, met: bool, says: str) -> None:
    result, sentence = verdict(measured, 4.0)
    assert result is met
    assert says in sentence


def test_a_missed_budget_is_said_in_words(run: Path) -> None:
    change(run / "result.json", latency_measured_ms=5.0)
    page = render(read_run(run))
    assert "Budget missed: 5.00 ms of 4.00 ms, 25.0 % above." in page
    assert "verdict bad" in page


def test_wilson_interval_of_half_of_a_hundred() -> None:
    assert wilson_interval(0.5, 100) == (pytest.approx(0.4038, abs=1e-4), pytest.approx(0.5962, abs=1e-4))
    low, high = wilson_interval(1.0, 50)
    assert 0.9 < low < 1
    assert high == pytest.approx(1)


def test_the_title_names_data_and_device_or_the_folder() -> None:
    named = RunFiles(Path("runs/a"), data={"source": "/pictures/birds/"}, latency={"device": {"name": "Pi 5"}})
    assert title(named) == "birds on Pi 5"
    assert title(RunFiles(Path("runs/a"))) == "a"


# Network ----------------------------------------------------------------------------------------------------------


def test_blocks_are_the_layers_with_their_candidates(run: Path) -> None:
    files = read_run(run)
    shown = blocks(files)
    assert {block.name: block.candidate for block in shown} == files.choices
    skipped = {block.name for block in shown if block.skipped}
    assert skipped == {name for name, pick in files.choices.items() if pick == "skip"}
    assert skipped


def test_without_layers_the_blocks_are_the_choices_with_the_cost_of_the_table(run: Path) -> None:
    with_layers = {block.name: block.ms for block in blocks(read_run(run))}
    change(run / "result.json", layers=None)
    shown = blocks(read_run(run))
    assert {block.name: block.ms for block in shown} == pytest.approx(with_layers)
    assert {block.name for block in shown if block.skipped} == {name for name, ms in with_layers.items() if ms == 0}


def test_boxes_fill_the_page_and_grow_with_latency(run: Path) -> None:
    files = read_run(run)
    shown = blocks(files)
    drawn = strip(shown, candidates_of(files))
    boxes = re.findall(r'<rect x="([\d.]+)" y="[\d.]+" width="([\d.]+)"', drawn)
    left, width = np.array(boxes, dtype=float).T
    assert len(boxes) == len(shown)
    assert drawn.count('class="skipped"') == sum(block.skipped for block in shown)
    assert np.all(np.diff(left) >= width[:-1])
    assert 900 < left[-1] + width[-1] <= 960
    assert np.corrcoef(width, [block.ms or 0 for block in shown])[0, 1] == pytest.approx(1, abs=1e-4)


def test_a_space_with_names_of_its_own_is_drawn_as_well() -> None:
    files = RunFiles(Path("r"), architecture={"choices": {"edge_a": "pool", "edge_b": "conv", "edge_c": "skip"}})
    drawn = strip(blocks(files), candidates_of(files))
    assert {name for name in ("pool", "conv", "edge_a", "edge_c") if name in drawn} == {
        "pool",
        "conv",
        "edge_a",
        "edge_c",
    }
    assert drawn.count('class="skipped"') == 1
    looks = candidates_of(files).looks
    assert looks["pool"].colour != looks["conv"].colour


def test_candidates_take_colour_by_kernel_and_strength_by_expansion(run: Path) -> None:
    looks = candidates_of(read_run(run)).looks
    assert looks["k5_e3"].colour == looks["k5_e6"].colour
    assert len({looks[f"k{kernel}_e6"].colour for kernel in (3, 5, 7)}) == 3
    assert looks["k5_e3"].opacity < looks["k5_e6"].opacity
    assert looks["k7_e6"].label == "7×7, expansion 6"


# Search -----------------------------------------------------------------------------------------------------------


def test_the_warmup_is_shaded_from_the_beginning_even_where_it_is_told_of_once() -> None:
    epochs = [("warmup", 1.0), ("search", 1.5), ("search", 2.0)]
    records = tuple({"stage": stage, "epoch": epoch, "loss": 1.0} for stage, epoch in epochs)
    history = timeline(records)
    assert history.times == (1.0, 1.5, 2.0)
    assert history.warmup is not None
    assert (history.warmup.low, history.warmup.high) == (0.0, 1.0)
    assert 'class="shade"' in str(section(RunFiles(Path("r"), search=records)))
    assert timeline(records[1:]).warmup is None
    assert 'class="shade"' not in str(section(RunFiles(Path("r"), search=records[1:])))


@pytest.mark.parametrize("told", [3, [], [3], [[]], [["a"]], [[0.5, None]], [[0.5], [0.5, 0.5]]])
def test_probabilities_that_are_none_are_passed_over(told: object) -> None:
    good = {"stage": "search", "epoch": 2.0, "probabilities": [[0.2, 0.8]]}
    files = RunFiles(Path("r"), search=({"stage": "search", "epoch": 1.0, "probabilities": told}, good))
    (found,) = paths(files, timeline(files.search))
    assert found.rows == ((0.2, 0.8),)


def test_steps_told_again_by_a_resumed_run_count_once() -> None:
    told = [("search", 1, "a"), ("search", 2, "b"), ("search", 3, "lost"), ("search", 2, "c"), ("search", 4, "d")]
    kept = last_told({"stage": stage, "step": step, "loss": loss} for stage, step, loss in told)
    assert [record["loss"] for record in kept] == ["a", "c", "d"]
    apart = [{"stage": "warmup", "step": 9}, {"stage": "search", "step": 1}]
    assert last_told(apart) == apart


def test_probabilities_are_told_by_the_names_of_the_table(run: Path) -> None:
    files = read_run(run)
    found = {path.choice: path for path in paths(files, timeline(files.search))}
    assert list(found) == list(files.choices)
    last = files.search[-1]["probabilities"]
    for place, (choice, path) in enumerate(found.items()):
        assert path.names == tuple(files.latency["choices"][choice])
        assert path.rows[-1] == tuple(last[place])
        assert path.likeliest == path.names[int(np.argmax(last[place]))]


def test_probabilities_without_a_table_are_numbered() -> None:
    record = {"stage": "search", "epoch": 1.0, "probabilities": [[0.2, 0.8], [0.5, 0.3, 0.2]]}
    files = RunFiles(Path("r"), search=(record,))
    found = paths(files, timeline(files.search))
    assert [path.choice for path in found] == ["choice 1", "choice 2"]
    assert found[0].likeliest == "candidate 2"
    assert "candidate 2 80 %" in heat_map(found[0])


def test_a_heat_map_colours_by_probability_and_marks_the_chosen(run: Path) -> None:
    latency = {"choices": {"a": {"k3": {"ms": 1.0}, "k5": {"ms": 2.0}}}}
    records = tuple({"stage": "search", "epoch": float(e), "probabilities": [[1.0 - e / 4, e / 4]]} for e in range(5))
    files = RunFiles(Path("r"), latency=latency, search=records, architecture={"choices": {"a": "k5"}})
    drawn = heat_map(paths(files, timeline(records))[0])
    cells = dict(re.findall(r'<path d="([^"]+)" fill="(#\w{6})"', drawn))
    assert set(cells.values()) >= {viridis(0), viridis(1)}
    assert sum(path.count("M") for path in cells) == 10
    assert "▸ k5" in drawn
    assert "▸ k3" not in drawn


@pytest.mark.parametrize(
    ("temperatures", "ends"), [((1.0, 1.0), None), ((2.0, 2.0), "2"), ((3.0, 0.25), "0.25"), ((), None)]
)
def test_the_temperature_is_shown_beside_the_entropy_unless_it_is_the_papers(
    run: Path, temperatures: tuple[float, ...], ends: str | None
) -> None:
    path = run / "search" / "history.jsonl"
    records = [json.loads(line) for line in path.read_text().splitlines()]
    for record, temperature in zip(records[-2:], temperatures, strict=False):
        record["temperature"] = temperature
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    page = render(read_run(run))
    assert "Entropy of a choice, nats" in page
    label = f"Line chart of Temperature of the probabilities by epoch: temperature. temperature ends at {ends}."
    assert (label in page) == (ends is not None)
    assert ("softmax(α / T)" in page) == ("Temperature of" in page) == (ends is not None)


def test_another_choice_than_the_likeliest_is_pointed_out(run: Path) -> None:
    assert "than the most probable one" not in render(read_run(run))
    architecture = json.loads((run / "architecture.json").read_text())
    architecture["choices"]["stage3.block0"] = "k3_e3"
    (run / "architecture.json").write_text(json.dumps(architecture))
    page = render(read_run(run))
    assert "In 1 of 21 choices the network takes another candidate than the most probable one" in page


# Training and settings --------------------------------------------------------------------------------------------


def test_class_accuracy_is_the_part_of_the_true_class_that_was_recognised() -> None:
    assert class_accuracies([[8, 2, 0], [1, 3, 0], [0, 0, 0]]) == [0.8, 0.75, None]


def test_the_most_frequent_confusion_is_named(run: Path) -> None:
    change(run / "confusion.json", classes=["cat", "dog"], matrix=[[30, 20], [1, 49]])
    page = render(read_run(run))
    assert "Most frequent confusions: cat taken for dog (40.0 % of its images); dog taken for cat (2.0 %" in page


def test_a_matrix_that_does_not_fit_its_classes_is_left_out(run: Path) -> None:
    change(run / "confusion.json", matrix=[[1, 2], [3]])
    assert "Errors by class" not in render(read_run(run))


def test_many_classes_are_told_by_the_worst(run: Path) -> None:
    names = [f"class {index}" for index in range(100)]
    matrix = (np.eye(100, dtype=int) * 50 + 1).tolist()
    change(run / "confusion.json", classes=names, matrix=matrix)
    page = render(read_run(run))
    assert "the bars are the 20 worst classes" in page
    assert "Confusion matrix of" not in page


def test_nested_settings_become_dotted_names() -> None:
    settings = {"search": {"epochs": 4, "betas": [0, 0.999]}, "mixup": None, "amp": True, "extra": {}}
    assert dict(flat(settings)) == {
        "search.epochs": "4",
        "search.betas": "0, 0.999",
        "mixup": "–",
        "amp": "yes",
        "extra": "{}",
    }


# Charts -----------------------------------------------------------------------------------------------------------


def test_ticks_are_round_and_inside() -> None:
    assert Axis(0, 1, 0, 100).ticks(5) == [0, 0.2, 0.4, 0.6, 0.8, 1.0]
    assert Axis(13, 87, 0, 100).ticks(4) == [20, 40, 60, 80]
    assert Axis(3.1, 5.6, 0, 100).ticks(5) == [3.5, 4, 4.5, 5, 5.5]


def test_an_axis_holds_equal_and_negative_values() -> None:
    for values in ([2.0, 2.0], [0.0], [-3.0, -1.0]):
        found = axis(values, 0, 100)
        assert all(0 < found(value) < 100 for value in values)


def test_thinning_keeps_the_mean_and_the_order() -> None:
    points = [(float(index), float(index % 7)) for index in range(1000)]
    few = thinned(points, 100)
    assert len(few) == 100
    assert [x for x, _ in few] == sorted(x for x, _ in few)
    assert np.mean([y for _, y in few]) == pytest.approx(np.mean([y for _, y in points]))
    assert thinned(points[:5], 100) == points[:5]


@pytest.mark.parametrize(("value", "colour"), [(0, "#440154"), (0.25, "#3b528b"), (0.75, "#5ec962"), (1, "#fde725")])
def test_viridis_is_viridis(value: float, colour: str) -> None:
    def parts(text: str) -> list[int]:
        return list(bytes.fromhex(text[1:]))

    assert parts(viridis(value)) == pytest.approx(parts(colour), abs=4)
