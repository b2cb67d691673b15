"""Measures latencies on this machine: of whole networks, of model files, and of all candidates of a space."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
from torch import nn

from proxyless.architecture import architecture_of, derive, indices
from proxyless.latency import identity
from proxyless.latency.cache import RoundsCache
from proxyless.latency.calibration import calibrated
from proxyless.latency.device import Device
from proxyless.latency.operators import SpaceOperators, space_operators, spread_paths
from proxyless.latency.predict.selection import choose_operators, complete_table
from proxyless.latency.session import timing_session
from proxyless.latency.table import LatencyTable, MeasuredNetwork
from proxyless.latency.timing.statistics import Conditions, Effort, Interval, Round, intervals, missing
from proxyless.supernet import Shapes, Supernet

Advance = Callable[[float], None]
"""Called with the share done, 0 to 1."""

NETWORKS = 48
"""Whole networks measured to fit a table's correction."""

ANCHORS = 8
"""How many operators known from an earlier session are measured again with new ones, to compare the two sessions."""

CONVERT_SHARE = 0.2
"""Share of the progress that is given to converting, which takes about that share of the time."""


def measure_networks(
    networks: Sequence[nn.Module],
    shapes: Shapes,
    device: Device,
    effort: Effort,
    *,
    advance: Advance = lambda share: None,
) -> tuple[list[Interval], Conditions]:
    """Measure the latency of whole networks, side by side.

    Args:
        networks: on the CPU.
        shapes: of their inputs, batch included.
        device: where to measure.
        effort: how thoroughly to measure.
        advance: told the share done, 0 to 1.

    Returns:
        The latency of each network in ms, and what the machine was like.

    Raises:
        ProxylessError: a network cannot be converted or run.
    """
    with timing_session(device) as session:
        for number, network in enumerate(networks):
            session.add(str(number), network, shapes, called=type(network).__name__)
            advance(CONVERT_SHARE * (number + 1) / len(networks))
        found, conditions = session.time(effort, advance=_rest(advance))
    return [found[str(number)] for number in range(len(networks))], conditions


def measure_files(
    models: Sequence[Path], shapes: Shapes, device: Device, effort: Effort
) -> tuple[list[Interval], Conditions]:
    """Measure the latency of model files as they are, side by side.

    Args:
        models: files of the format that the runtime of the device runs.
        shapes: of their inputs, batch included.
        device: where to measure.
        effort: how thoroughly to measure.

    Returns:
        The latency of each file in ms, and what the machine was like.

    Raises:
        ProxylessError: a file cannot be run.
    """
    with timing_session(device) as session:
        for model in models:
            session.add_file(model.name, model, shapes)
        times, conditions = session.time(effort)
    return [times[model.name] for model in models], conditions


def measure_table(
    supernet: Supernet,
    input_shape: tuple[int, ...],
    device: Device,
    *,
    effort: Effort | None = None,
    networks: int = NETWORKS,
    share: float = 1.0,
    cache: Path | None = None,
    advance: Advance = lambda share: None,
    seed: int = 0,
) -> LatencyTable:
    """Measure every distinct candidate of ``supernet`` on ``device``, and a few whole networks for the correction.

    Args:
        supernet: on the CPU; its path, mode and weights are left alone.
        input_shape: of one input, without the batch.
        device: where to measure.
        effort: how thoroughly to measure.
        networks: how many whole networks.
        share: of the distinct candidates to measure; the others are predicted by a model fitted on these.
        cache: folder of measured candidates, a file for each device, machine and runtime version. What is known there
            well enough is not measured again, also when another space or an interrupted run has measured it. Whole
            networks always are, so that the table follows the speed that the machine has today.
        advance: told the share done, 0 to 1.
        seed: decides which networks, and which candidates if not all, are measured.

    Raises:
        ProxylessError: a candidate cannot be converted or run; the message names it.
    """
    shapes: Shapes = ((device.batch, *input_shape),)
    with timing_session(device) as session:
        effort = session.effort(effort or Effort())
        found = space_operators(supernet, shapes)
        store = RoundsCache(cache, device) if cache else None
        history = _rounds_of(found, store.load()) if store else []
        unknown = set(missing(list(found.operators), history, effort))
        stored, _ = intervals([key for key in found.operators if key not in unknown], history, effort)
        taken = list(found.operators) if share == 1 else choose_operators(found, share, seed)
        wanted = [key for key in taken if key in unknown]
        anchors = spread_evenly(list(stored), ANCHORS) if wanted else []
        names = found.names()
        paths = spread_paths(supernet, networks, seed=seed)
        total = len(wanted) + len(anchors) + len(paths)
        for number, key in enumerate([*wanted, *anchors]):
            operator = found.operators[key]
            name = key if number < len(wanted) else f"anchor {key}"
            session.add(name, operator.module, operator.shapes, called=names[key])
            advance(CONVERT_SHARE * (number + 1) / total)
        for number, path in enumerate(paths):
            session.add(f"network {number}", derive(supernet, path), shapes, called=f"network {number}")
            advance(CONVERT_SHARE * (total - len(paths) + number + 1) / total)

        def keep(done: Round) -> None:
            operators = {key: ms for key, ms in done.bursts.items() if key in found.operators}
            if store and operators:
                store.add(replace(done, bursts=operators))

        times, conditions = session.time(effort, history=history, on_round=keep, advance=_rest(advance))
    # A machine is not equally fast in two sessions: blocks measured in different ones could not be compared.
    level = float(np.median([times[f"anchor {key}"].ms / stored[key].ms for key in anchors])) if anchors else 1.0
    known = {key: Interval(t.ms * level, t.low_ms * level, t.high_ms * level) for key, t in stored.items()}
    known |= {key: times[key] for key in wanted}
    table = complete_table(found, known, identity.describe(device))
    measured = tuple(
        _network(architecture_of(supernet, path).choices, times[f"network {number}"])
        for number, path in enumerate(paths)
    )
    table = replace(table, networks=measured, conditions=asdict(conditions))
    return calibrated(table, found.weight_mib())


def spread_evenly(keys: Sequence[str], count: int) -> list[str]:
    """Take ``count`` of ``keys``, or all, from the first to the last at even distances."""
    places = np.linspace(0, len(keys) - 1, min(count, len(keys))).round().astype(int)
    return [keys[place] for place in places.tolist()]


def recalibrated(
    table: LatencyTable, supernet: Supernet, input_shape: tuple[int, ...], device: Device, effort: Effort
) -> LatencyTable:
    """Measure the whole networks of a table again, and fit its correction anew.

    It is for a table that is hours old, or was measured while the machine had other work: what has slowed or sped up
    everything alike since then goes into the correction.
    """
    candidates = {name: choice.operations for name, choice in supernet.choices.items()}
    chosen = [network.choices for network in table.networks if network.role == "calibration"]
    shapes: Shapes = ((device.batch, *input_shape),)
    modules = [derive(supernet, indices(choices, candidates)) for choices in chosen]
    times, conditions = measure_networks(modules, shapes, device, effort)
    networks = tuple(_network(choices, time) for choices, time in zip(chosen, times, strict=True))
    table = replace(table, networks=networks, conditions=asdict(conditions))
    return calibrated(table, space_operators(supernet, shapes).weight_mib())


def _rounds_of(operators: SpaceOperators, rounds: Sequence[Round]) -> list[Round]:
    """Keep of the rounds what is of operators of the space."""
    kept = [
        replace(done, bursts={key: ms for key, ms in done.bursts.items() if key in operators.operators})
        for done in rounds
    ]
    return [done for done in kept if done.bursts]


def _network(choices: Mapping[str, str], time: Interval) -> MeasuredNetwork:
    return MeasuredNetwork(choices, time.ms, time.low_ms, time.high_ms, "calibration")


def _rest(advance: Advance) -> Advance:
    """Make a function that is told the share done of the timing, and tells the share done of all."""
    return lambda share: advance(CONVERT_SHARE + (1 - CONVERT_SHARE) * share)
