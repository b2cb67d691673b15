"""Makes a latency table for a new device from tables of other devices and a few whole networks timed on the new one.

The cost is linear in the gates (paper, section 3.3), so the new table is a linear regression on the gate vector. A few
timings do not determine its hundred-odd entries; the known tables say what to expect of the rest:

    ms(network) / mean ms = m + beta * z_k(network) + r(network) + noise

``z_k`` is a known table without its fixed part, scaled to unit spread; ``m`` and ``beta`` are its intercept and scale
on the new device. ``r`` is what is particular to the new device: a table drawn from a normal distribution. Its
covariance is learnt from how the known tables differ from one another, or, if there is only one, from the size of its
entries.

No single ``k``, covariance, size of ``r`` or size of the noise is picked. The posterior is averaged over a grid of all
of them, each weighted by its marginal likelihood on the timings. With many timings the prior no longer matters, and the
noise, rounding to whole ms included, is estimated at the same time.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from proxyless.cost import Cost, CostTable
from proxyless.errors import ProxylessError

Array = NDArray[np.float64]

NOISE_DEVIATIONS = np.geomspace(0.0005, 0.5, 22)
"""Standard deviations that are tried for the noise, as shares of the mean latency."""

DEVICE_DEVIATIONS = np.geomspace(0.001, 0.5, 12)
"""Standard deviations that are tried for what is particular to the new device, as shares of the mean latency."""

SCALE_SPREAD = (0.2, 0.5)
"""How far the relative spread of a new device may be from a known one, as a share: at least, and if one is known."""

FREEDOM = 4.0
"""Degrees of freedom of the noise, whose distribution is Student's t: fewer mean heavier tails."""

ROUNDS = 3
"""How often the timings are weighted anew."""

KEPT = 0.9
"""The uncertainty is computed from the models that have this share of the posterior weight; the mean from all."""


@dataclass(frozen=True)
class Adapted:
    """What a few timings and the known tables say about a new device.

    Args:
        table: the new device's latency, in ms.
        noise_ms: standard deviation of a timing around the best table: what the clock and the non-additivity add.
        weights: posterior weight of each known table, in the order passed; they sum to 1.
        counts: number of candidates of each choice.
        covariance: of (mean latency, entries), (1 + entries, 1 + entries) in ms squared.
    """

    table: CostTable
    noise_ms: float
    weights: tuple[float, ...]
    counts: tuple[int, ...]
    covariance: Array = field(repr=False, compare=False)

    def std_ms(self, path: Sequence[int]) -> float:
        """Return the standard deviation in ms of one timing of a network around its prediction, noise included."""
        gates = np.concatenate([[1.0], gate_vectors([path], self.counts)[0]])
        return math.sqrt(max(float(gates @ self.covariance @ gates), 0.0) + self.noise_ms**2)


def adapt(known: Sequence[Cost], paths: Sequence[Sequence[int]], measured_ms: Sequence[float]) -> Adapted:
    """Make the table of a new device.

    Args:
        known: one or more tables of the space, of other devices. Any unit will do, even MACs: scales are fitted.
        paths: networks timed on the new device, the candidate taken at each choice; random ones tell the most.
        measured_ms: their latencies there.

    Raises:
        ProxylessError: no known table, tables of different spaces or without any spread, fewer than two networks,
            another number of latencies than of networks, a path that is none of the space, a latency that is not
            positive.
    """
    counts = _counts(known)
    gates = gate_vectors(_checked(paths, measured_ms, counts), counts)
    times = np.array(measured_ms, dtype=np.float64)
    unit = times.mean()
    directions, spreads = _directions(known, counts)
    posterior = _robust(gates, times / unit, directions, spreads, _covariances(known, directions, counts))
    return Adapted(
        table=_table(known, counts, unit * posterior.mean, posterior.weights),
        noise_ms=float(unit * posterior.noise * math.sqrt(FREEDOM / (FREEDOM - 2))),
        weights=tuple(float(weight) for weight in posterior.weights),
        counts=counts,
        covariance=unit**2 * posterior.covariance,
    )


def gate_vectors(paths: Sequence[Sequence[int]], counts: Sequence[int]) -> Array:
    """Return the gates of each path, centred by choice.

    Args:
        paths: the candidate taken at each choice.
        counts: number of candidates of each choice.

    Returns:
        (paths, sum of counts): 1 - 1/count for a candidate that is taken, and -1/count for others.
    """
    starts = np.cumsum([0, *counts[:-1]])
    gates = np.tile(np.repeat([-1 / count for count in counts], counts), (len(paths), 1))
    for row, path in zip(gates, paths, strict=True):
        row[starts + np.asarray(path)] += 1
    return gates


def _counts(known: Sequence[Cost]) -> tuple[int, ...]:
    if not known:
        raise ProxylessError("no known table to adapt: pass at least one of the same space")
    first = [(name, *row) for name, row in known[0].rows.items()]
    for number, cost in enumerate(known[1:], start=2):
        if [(name, *row) for name, row in cost.rows.items()] != first:
            raise ProxylessError(
                f"known table {number} is of another space than the first: choices and candidates must be the same"
            )
    return tuple(len(row) for row in known[0].rows.values())


def _checked(
    paths: Sequence[Sequence[int]], measured_ms: Sequence[float], counts: Sequence[int]
) -> Sequence[Sequence[int]]:
    if len(paths) != len(measured_ms):
        raise ProxylessError(f"{len(paths)} networks but {len(measured_ms)} latencies: pass one latency a network")
    if len(paths) < 2:
        raise ProxylessError(f"{len(paths)} timed networks are too few to adapt a table: time 10 or more")
    for number, (path, ms) in enumerate(zip(paths, measured_ms, strict=True)):
        if len(path) != len(counts) or not all(0 <= i < count for i, count in zip(path, counts, strict=True)):
            raise ProxylessError(
                f"paths[{number}] is no network of the tables' space: it needs {len(counts)} candidates"
            )
        if not (math.isfinite(ms) and ms > 0):
            raise ProxylessError(f"measured_ms[{number}] is {ms}: a latency must be a positive number of ms")
    return paths


def _entries(cost: Cost) -> Array:
    return np.array([value for row in cost.rows.values() for value in row.values()], dtype=np.float64)


def _means(values: Array, counts: Sequence[int]) -> Array:
    """Average over the candidates of each choice, along the last axis: (..., choices)."""
    means: Array = np.add.reduceat(values, np.cumsum([0, *counts[:-1]]), axis=-1) / np.array(counts)
    return means


def _directions(known: Sequence[Cost], counts: Sequence[int]) -> tuple[Array, Array]:
    """Centre the known tables by choice and scale them to unit spread: (known, entries); also return their spreads.

    A spread is the standard deviation over random networks as a share of their mean.
    """
    entries = np.array([_entries(cost) for cost in known])
    means = _means(entries, counts)
    centred = entries - np.repeat(means, counts, axis=-1)
    std = np.sqrt(_means(centred**2, counts).sum(axis=-1))
    average = np.array([cost.fixed for cost in known]) + means.sum(axis=-1)
    for number, good in enumerate(np.isfinite(average) & (average > 0) & (std > 1e-9 * abs(average)), start=1):
        if not good:
            raise ProxylessError(f"known table {number} tells no networks apart or has no positive cost: leave it out")
    return centred / std[:, None], std / average


def _covariances(known: Sequence[Cost], directions: Array, counts: Sequence[int]) -> list[Array]:
    """Return the covariances that are tried for ``r``, each at unit spread over random networks: (entries, entries).

    They are three ideas of how a device differs from the known ones: each entry by itself; also all entries of one
    candidate together (a kernel size that is slow everywhere); also along the directions in which the known ones
    differ.
    """
    differences = directions - directions.mean(axis=0) if len(directions) > 1 else directions
    squares = np.mean(differences**2, axis=0)
    if not squares.any():  # known tables that are one another's multiples differ in nothing to learn from
        squares = np.mean(directions**2, axis=0)
    # An entry in which the few known devices happen to agree is not known for certain.
    size = np.sqrt((squares + np.repeat(_means(squares, counts), counts) + squares.mean()) / 3)
    names = [candidate for row in known[0].rows.values() for candidate in row]
    shared = np.array([[name == other for name in names] for other in dict.fromkeys(names)]) * size
    entry = _unit_spread(np.diag(size), counts)
    found = [entry, (entry + _unit_spread(shared, counts)) / 2]
    if len(directions) > 2 and differences.any():
        found.append((entry + _unit_spread(differences, counts)) / 2)
    return found


def _unit_spread(vectors: Array, counts: Sequence[int]) -> Array:
    """Return the covariance of a random sum of ``vectors`` (any, entries), centred by choice, at unit spread."""
    centred = vectors - np.repeat(_means(vectors, counts), counts, axis=-1)
    covariance: Array = centred.T @ centred / _means(centred**2, counts).sum()
    return covariance


@dataclass(frozen=True)
class _Posterior:
    """(mean, entries) in units of the mean latency, their covariance, noise, and the weight of each known table."""

    mean: Array
    covariance: Array
    noise: float
    weights: Array


@dataclass(frozen=True)
class _Fits:
    """All models of one covariance: a grid of variances (Q of them) times the known tables (K).

    Coordinates (R of them) are those in which the covariance of ``r``'s predictions is diagonal.

    Args:
        evidence: (Q, K) log marginal likelihood.
        coefficients: (Q, K, 2) posterior mean of (m, beta).
        uncertainty: (Q, K, 2, 2) covariance of (m, beta).
        pull: (Q, R) residual in coordinates times this is the posterior mean of ``r`` in coordinates.
        shrunk: (Q, R) prior minus posterior variance of ``r`` in coordinates, given (m, beta).
        times: (R,), constant: (R,), slopes: (K, R) timings, ones and known tables in coordinates.
        axes: (entries, R) from coordinates to entries.
        prior: (entries, entries) covariance of ``r`` at unit spread.
    """

    evidence: Array
    coefficients: Array
    uncertainty: Array
    pull: Array
    shrunk: Array
    times: Array
    constant: Array
    slopes: Array
    axes: Array
    prior: Array


_NOISE2, _DEVICE2 = (grid.ravel() for grid in np.meshgrid(NOISE_DEVIATIONS**2, DEVICE_DEVIATIONS**2))


def _fit(rows: Array, count: int, directions: Array, spreads: Array, prior: Array) -> _Fits:
    """Compute the posterior of each model of the grid, in closed form.

    Args:
        rows: (timing, one, gates) of the networks, or fewer rows with the same inner products.
        count: number of networks.
        directions: (known, entries) known tables at unit spread.
        spreads: (known,) their own spreads.
        prior: (entries, entries) covariance of ``r``.
    """
    gates = rows[:, 2:]
    power, basis = np.linalg.eigh(gates @ prior @ gates.T)
    seen = power > 1e-12 * power[-1]
    signal = np.sqrt(np.where(seen, power, 0))
    axes = prior @ gates.T @ (basis * np.where(seen, 1 / np.sqrt(np.where(seen, power, 1)), 0))
    y, one = rows[:, :2].T @ basis
    z = directions @ gates.T @ basis
    variance = _DEVICE2[:, None] * signal**2 + _NOISE2[:, None]
    precision = 1 / variance

    known = len(directions)
    gram, moment = np.empty((len(variance), known, 2, 2)), np.empty((len(variance), known, 2))
    gram[..., 0, 0] = (precision @ (one * one))[:, None]
    gram[..., 0, 1] = gram[..., 1, 0] = precision @ (one * z).T
    gram[..., 1, 1] = precision @ (z * z).T
    moment[..., 0] = (precision @ (one * y))[:, None]
    moment[..., 1] = precision @ (z * y).T
    square = (precision @ (y * y))[:, None]

    # Expected is the known table times a number, fixed part and all: m = 1 and beta = its own relative spread.
    expected = np.column_stack([np.ones(known), spreads])
    away = max(SCALE_SPREAD[0], float(np.log(spreads).std())) if known > 1 else SCALE_SPREAD[1]
    inverse_prior = np.zeros((known, 2, 2))
    inverse_prior[:, 0, 0] = 1.0
    inverse_prior[:, 1, 1] = 1 / (away * spreads) ** 2
    information = inverse_prior + gram
    determinant = information[..., 0, 0] * information[..., 1, 1] - information[..., 0, 1] ** 2
    uncertainty = np.empty_like(information)  # of 2 x 2 matrices by hand: there are thousands
    uncertainty[..., 0, 0], uncertainty[..., 1, 1] = information[..., 1, 1], information[..., 0, 0]
    uncertainty[..., 0, 1] = uncertainty[..., 1, 0] = -information[..., 0, 1]
    uncertainty /= determinant[..., None, None]
    surprise = moment - np.einsum("qkij,kj->qki", gram, expected)
    step = np.einsum("qkij,qkj->qki", uncertainty, surprise)
    misfit = square - np.einsum("ki,qki->qk", expected, moment + surprise)
    spent = np.log(variance).sum(axis=1) + (count - len(rows)) * np.log(_NOISE2)
    occam = np.log(determinant) - np.log(inverse_prior[:, 1, 1])
    evidence = -0.5 * (misfit - np.einsum("qki,qki->qk", surprise, step) + spent[:, None] + occam)

    pull = _DEVICE2[:, None] * signal * precision
    shrunk = pull * signal * _DEVICE2[:, None]
    return _Fits(evidence, expected + step, uncertainty, pull, shrunk, y, one, z, axes, prior)


def _robust(gates: Array, times: Array, directions: Array, spreads: Array, priors: Sequence[Array]) -> _Posterior:
    """Find the posterior under noise of Student's t, by weighting each timing by how well it agrees with the rest.

    Clocks are disturbed in one direction and at times badly; under normal noise a single such timing of ten would
    move every entry.
    """
    rows = np.column_stack([times, np.ones(len(times)), gates])
    weights = np.ones(len(times))
    for _ in range(ROUNDS):
        posterior = _average(rows * np.sqrt(weights)[:, None], directions, spreads, priors)
        squared = (rows[:, 0] - rows[:, 1:] @ posterior.mean) ** 2
        squared += np.einsum("ni,ij,nj->n", rows[:, 1:], posterior.covariance, rows[:, 1:], optimize=True)
        weights = (FREEDOM + 1) / (FREEDOM + squared / posterior.noise**2)
    return posterior


def _average(rows: Array, directions: Array, spreads: Array, priors: Sequence[Array]) -> _Posterior:
    """Average over all models: the mean is a table again, the variance is that within them and among them."""
    count, size = rows.shape[0], rows.shape[1] - 1
    if count > rows.shape[1]:
        rows = np.asarray(np.linalg.qr(rows, mode="r"))  # the same inner products in fewer rows
    fits = [_fit(rows, count, directions, spreads, prior) for prior in priors]
    evidence = np.array([fit.evidence for fit in fits])
    weights = np.exp(evidence - evidence.max())
    weights[weights < 1e-12] = 0  # subnormal numbers would slow the products down
    weights /= weights.sum()

    mean, within = np.zeros(size), np.zeros((size, size))
    for fit, weight in zip(fits, weights, strict=True):
        part = weight[..., None] * fit.coefficients
        mean[0] += part[..., 0].sum()
        residual = weight.sum(axis=1)[:, None] * fit.times - part[..., 0].sum(axis=1)[:, None] * fit.constant
        mean[1:] += part[..., 1].sum(axis=0) @ directions
        mean[1:] += fit.axes @ (fit.pull * (residual - part[..., 1] @ fit.slopes)).sum(axis=0)
        within[1:, 1:] += (weight.sum(axis=1) @ _DEVICE2) * fit.prior
        within[1:, 1:] -= (fit.axes * (weight.sum(axis=1) @ fit.shrunk)) @ fit.axes.T

    kept, among = _heaviest(weights), np.zeros((size, size))
    for fit, weight, chosen in zip(fits, weights, kept, strict=True):
        model, table = np.nonzero(chosen)
        pull, slopes = fit.pull[model], fit.slopes[table]
        m, beta = fit.coefficients[model, table].T[..., None]
        centre, by_m, by_beta = (np.zeros((len(model), size)) for _ in range(3))
        centre[:, :1] = m
        centre[:, 1:] = beta * directions[table] + (pull * (fit.times - m * fit.constant - beta * slopes)) @ fit.axes.T
        by_m[:, 0] = 1
        by_m[:, 1:] = -(pull * fit.constant) @ fit.axes.T
        by_beta[:, 1:] = directions[table] - (pull * slopes) @ fit.axes.T
        root = np.linalg.cholesky(fit.uncertainty[model, table])[..., None]
        deviations = (root[:, 0, 0] * by_m + root[:, 1, 0] * by_beta, root[:, 1, 1] * by_beta, centre - mean)
        rows_of_share = np.vstack(
            [np.sqrt(weight[model, table] / weights[kept].sum())[:, None] * each for each in deviations]
        )
        among += rows_of_share.T @ rows_of_share
    noise = math.sqrt(weights.sum(axis=(0, 2)) @ _NOISE2)
    return _Posterior(mean, within + among, noise, weights.sum(axis=(0, 1)))


def _heaviest(weights: Array) -> NDArray[np.bool_]:
    """Say which models, the heaviest first, have the share KEPT of the weight together."""
    ordered = np.sort(weights, axis=None)[::-1]
    count = int(np.searchsorted(np.cumsum(ordered), KEPT))
    return weights >= ordered[min(count, len(ordered) - 1)]


def _table(known: Sequence[Cost], counts: Sequence[int], mean: Array, weights: Array) -> CostTable:
    """Turn the mean latency and the centred entries into a fixed part and entries.

    Timings of whole networks cannot tell the fixed part from what all candidates of a choice have in common. So the
    candidate that the known tables call cheapest keeps its share of the mean latency, and a Zero of 0 ms stays one.
    """
    flat, shares = mean[1:].copy(), np.zeros(len(mean) - 1)
    for cost, weight in zip(known, weights, strict=True):
        entries = _entries(cost)
        shares += weight * entries / (cost.fixed + _means(entries, counts).sum())
    fixed = mean[0]
    for start, stop in pairwise(np.cumsum([0, *counts]).tolist()):
        part = slice(start, stop)
        cheapest = int(np.argmin(shares[part]))
        shift = mean[0] * shares[part][cheapest] - flat[part][cheapest]
        flat[part] += shift
        fixed -= shift
    values = iter(flat.tolist())
    rows = {name: {candidate: next(values) for candidate in row} for name, row in known[0].rows.items()}
    return CostTable("ms", float(fixed), rows)
