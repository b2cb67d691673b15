"""Latencies measured on this machine: modules timed in interleaved rounds, and the table of a whole space."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from scipy.optimize import lsq_linear
from torch import nn

from proxyless import files
from proxyless.architecture import Architecture, architecture_of, derive, indices
from proxyless.choice import settled
from proxyless.errors import ProxylessError
from proxyless.latency import identity
from proxyless.latency.device import Device
from proxyless.latency.operators import example_inputs, signature
from proxyless.latency.runtimes import Prepared, runtime
from proxyless.latency.table import Interval, LatencyTable, MeasuredNetwork
from proxyless.supernet import Shapes, Supernet

Advance = Callable[[float], None]
"""Called with the share done, 0 to 1."""


@dataclass(frozen=True)
class Effort:
    """How thoroughly to measure.

    Args:
        rounds: passes over all modules; a module's time is a statistic over rounds, seconds apart.
        burst_ms: how long each module runs in a round.
        networks: whole networks measured to fit the table's correction.
    """

    rounds: int = 15
    burst_ms: float = 6.0
    networks: int = 16


def time_interleaved(
    prepared: Sequence[Prepared], effort: Effort, *, advance: Advance = lambda share: None
) -> list[Interval]:
    """Time modules against one another.

    Every round runs each module for a short burst and keeps the burst's median, so that a slow spell of the machine
    falls on all modules alike instead of on the one that happened to be measured. Of the rounds the lower quartile
    counts: other load only ever adds time. The interval is that quartile's 95 % interval under resampling of rounds.
    """
    repeats = [_repeats(module, effort.burst_ms) for module in prepared]
    bursts = np.empty((effort.rounds, len(prepared)))
    collecting = gc.isenabled()
    gc.disable()  # a collection within a burst would be timed
    try:
        for number in range(effort.rounds):
            for column, (module, count) in enumerate(zip(prepared, repeats, strict=True)):
                module.run()  # the caches hold the previous module's data
                bursts[number, column] = _burst(module, count)
            advance((number + 1) / effort.rounds)
    finally:
        if collecting:
            gc.enable()
    draws = np.random.default_rng(0).integers(0, effort.rounds, (200, effort.rounds))
    resampled = np.quantile(bursts[draws], 0.25, axis=1)
    value = np.quantile(bursts, 0.25, axis=0)
    low, high = np.quantile(resampled, [0.025, 0.975], axis=0)
    return [
        Interval(ms=float(v), low_ms=float(min(a, v)), high_ms=float(max(b, v)))
        for v, a, b in zip(value, low, high, strict=True)
    ]


def _burst(module: Prepared, count: int) -> float:
    times = np.empty(count)
    for i in range(count):
        start = time.perf_counter_ns()
        module.run()
        times[i] = time.perf_counter_ns() - start
    return float(np.median(times)) / 1e6


def _repeats(module: Prepared, burst_ms: float) -> int:
    """Warm up, then choose how often a module runs in a burst of ``burst_ms``."""
    for _ in range(3):
        module.run()
    single = _burst(module, 3)
    return int(np.clip(burst_ms / max(single, 1e-6), 3, 1000))


def measure_networks(
    networks: Sequence[nn.Module],
    shapes: Shapes,
    device: Device,
    effort: Effort,
    *,
    advance: Advance = lambda share: None,
) -> list[Interval]:
    """Latency in ms of whole networks, each given an input of ``shapes`` (batch included)."""
    program = runtime(device.runtime)
    inputs = example_inputs(shapes)
    return time_interleaved([program.prepare(n, inputs, device) for n in networks], effort, advance=advance)


def measure_table(
    supernet: Supernet,
    input_shape: tuple[int, ...],
    device: Device,
    *,
    effort: Effort | None = None,
    cache: Path | None = None,
    advance: Advance = lambda share: None,
    seed: int = 0,
) -> LatencyTable:
    """Measure every distinct candidate of ``supernet`` on ``device``, and a few whole networks for the correction.

    Args:
        supernet: on the CPU; its path, mode and weights are left alone.
        input_shape: of one input, without the batch.
        cache: folder of measured candidates, a file for each device, machine, runtime version and effort; what is found
            there is not measured again. Whole networks always are, so that the table follows the machine's speed today.
        advance: told of progress.

    Raises:
        ProxylessError: a candidate cannot be converted or run; the message names it.
    """
    with _one_thread():
        return _measure_table(supernet, input_shape, device, effort or Effort(), cache, advance, seed)


def _measure_table(
    supernet: Supernet,
    input_shape: tuple[int, ...],
    device: Device,
    effort: Effort,
    cache: Path | None,
    advance: Advance,
    seed: int,
) -> LatencyTable:
    shapes: Shapes = ((device.batch, *input_shape),)
    program = runtime(device.runtime)
    shapes_of = supernet.input_shapes(*example_inputs(shapes))
    modules: dict[str, tuple[nn.Module, Shapes]] = {}
    signatures: dict[str, dict[str, str | None]] = {}
    for name, choice in supernet.choices.items():
        signatures[name] = {}
        for index, operation in enumerate(choice.operations):
            module = settled(choice, index)
            if isinstance(module, nn.Identity):
                signatures[name][operation] = None  # Zero beside a shortcut: nothing is run
                continue
            key = signature(module, example_inputs(shapes_of[name]))
            signatures[name][operation] = key
            modules.setdefault(key, (module, shapes_of[name]))

    store = _Store(cache, device, effort) if cache else None
    known = store.load() if store else {}
    missing = [key for key in modules if key not in known]
    paths = spread_paths(supernet, effort.networks, seed=seed)
    inputs = example_inputs(shapes)
    prepared: list[Prepared] = []
    for number, key in enumerate(missing):
        module, needed = modules[key]
        prepared.append(program.prepare(module, example_inputs(needed), device))
        advance(0.3 * (number + 1) / len(missing))
    prepared += [program.prepare(derive(supernet, path), inputs, device) for path in paths]
    times = time_interleaved(prepared, effort, advance=lambda share: advance(0.3 + 0.7 * share))
    known = known | dict(zip(missing, times[: len(missing)], strict=True))
    if store:
        store.save(known)
    entries = {
        name: {op: known[key] if key else Interval(0.0, 0.0, 0.0) for op, key in row.items()}
        for name, row in signatures.items()
    }
    networks = tuple(
        MeasuredNetwork(architecture_of(supernet, path).choices, t.ms, t.low_ms, t.high_ms, "calibration")
        for path, t in zip(paths, times[len(missing) :], strict=True)
    )
    return calibrated(LatencyTable(identity.describe(device), 0.0, 1.0, 0.0, entries, networks))


@contextmanager
def _one_thread() -> Iterator[None]:
    """PyTorch on one thread: it only traces single images here, and its waiting threads would disturb the clock."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def spread_paths(supernet: Supernet, count: int, *, seed: int) -> list[list[int]]:
    """Paths spread from the smallest to the largest network of the space, both included.

    Path k of n takes, at each choice, a candidate near the quantile k / (n - 1) of that choice's candidates ordered by
    their number of parameters; the jitter makes kernels and expansions vary independently of one another.
    """
    rng = np.random.default_rng(seed)
    sizes = [
        [sum(p.numel() for p in choice.candidate(i).parameters()) for i in range(len(choice))]
        for choice in supernet.choices.values()
    ]
    paths = []
    for level in np.linspace(0.0, 1.0, count):
        jitter = 0.0 if level in (0.0, 1.0) else 0.5
        path = []
        for row in sizes:
            position = np.clip(level + jitter * rng.uniform(-1, 1), 0, 1) * (len(row) - 1)
            path.append(int(np.argsort(row, kind="stable")[round(position)]))
        paths.append(path)
    return paths


def calibrated(table: LatencyTable) -> LatencyTable:
    """``table`` with the correction that fits its whole networks: fixed part, factor, and ms a block.

    Least squares on relative errors, so that small networks count as much as large ones. Factor and ms a block say
    nearly the same of networks that differ little in depth, so both are drawn towards "no correction" by a prior: the
    factor has a standard deviation of 0.2 about 1, the ms a block one of 0.01 ms about 0, against 1 % of noise.
    """
    if not table.networks:
        return table
    sums, blocks = [], []
    for network in table.networks:
        chosen = [table.entries[name][op].ms for name, op in network.choices.items()]
        sums.append(sum(chosen))
        blocks.append(sum(ms > 0 for ms in chosen))
    measured = np.array([network.measured_ms for network in table.networks])
    design = np.stack([np.ones_like(measured), np.array(sums), np.array(blocks, dtype=float)], axis=1)
    noise, priors = 0.01, np.array([np.inf, 0.2, 0.01])
    # Unknowns: fixed part, factor - 1, ms a block.
    left = np.concatenate([design / measured[:, None] / noise, np.diag(1 / priors)])
    right = np.concatenate([(measured - sums) / measured / noise, np.zeros(3)])
    # A network's fixed part takes time, and so does a factor's worth of its blocks.
    fitted = lsq_linear(left, right, bounds=([0.0, -0.9, -np.inf], np.inf))
    fixed, factor, per_block = fitted.x
    return LatencyTable(table.device, float(fixed), float(1 + factor), float(per_block), table.entries, table.networks)


def recalibrated(
    table: LatencyTable, supernet: Supernet, input_shape: tuple[int, ...], device: Device, effort: Effort
) -> LatencyTable:
    """``table`` with its whole networks measured again and its correction fitted anew.

    For a table that is hours old, or was measured while the machine had other work: what slowed or sped up everything
    alike since then goes into the correction.
    """
    candidates = {name: choice.operations for name, choice in supernet.choices.items()}
    paths = [indices(network.choices, candidates) for network in table.networks]
    shapes: Shapes = ((device.batch, *input_shape),)
    with _one_thread():
        times = measure_networks([derive(supernet, path) for path in paths], shapes, device, effort)
    networks = tuple(
        replace(network, measured_ms=t.ms, low_ms=t.low_ms, high_ms=t.high_ms)
        for network, t in zip(table.networks, times, strict=True)
    )
    return calibrated(replace(table, networks=networks))


def predictions(table: LatencyTable) -> list[tuple[float, float]]:
    """(predicted, measured) ms of the table's whole networks."""
    return [(table.of(Architecture(network.choices)), network.measured_ms) for network in table.networks]


class _Store:
    """Measured candidates of one device and effort on disk: a help only, what cannot be read or written is let be."""

    def __init__(self, folder: Path, device: Device, effort: Effort) -> None:
        thoroughness = f"{effort.rounds}x{effort.burst_ms:g}ms"
        self.path = folder / f"{device.name}-{identity.key(device)}-{thoroughness}.json"
        self.device = device

    def load(self) -> dict[str, Interval]:
        try:
            return {key: Interval(**value) for key, value in files.read_json(self.path)["candidates"].items()}
        except (ProxylessError, KeyError, TypeError, AttributeError):
            return {}

    def save(self, known: Mapping[str, Interval]) -> None:
        candidates = {key: asdict(value) for key, value in known.items()}
        with suppress(OSError):
            files.write_json(self.path, {"device": identity.describe(self.device), "candidates": candidates})
