"""Chooses the operators of a space that tell most about the others, and makes a table when only those were measured."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from proxyless.errors import ProxylessError
from proxyless.latency.operators import SpaceOperators
from proxyless.latency.predict.gaussian_process import Sums, covariance
from proxyless.latency.predict.kernels import Kernel, Kind, kernels
from proxyless.latency.predict.model import LEAST_OPERATORS, Measured, fit
from proxyless.latency.predict.physical import typical
from proxyless.latency.table import LatencyTable
from proxyless.latency.timing.statistics import Interval
from proxyless.modules.operators import example_inputs

LENGTHS = (6.0, 0.3)
"""Octaves over which kernels are assumed to be alike before anything was measured: of channels, and of sizes."""

MEASURING_DEVIATION = 0.05
"""Standard deviation of one measurement, as a share of that of the residual of a kernel."""


def choose_operators(space: SpaceOperators, share: float, seed: int) -> list[str]:
    """Choose the operators to measure, those that tell most about the others first.

    Each is the one that the model would know least about after those before it were measured, which spreads them over
    kinds of kernels, windows, expansions and sizes. Every kind is among them, and there are enough for a fit.

    Args:
        space: the operators of the space.
        share: of all operators, rounded up.
        seed: decides between operators that tell about as much.

    Returns:
        The signatures of the chosen operators; of all, where there are too few for a fit.

    Raises:
        ProxylessError: the share is not above 0 and at most 1.
    """
    if not 0 < share <= 1:
        raise ProxylessError(f"the share of operators to measure must be above 0 and at most 1, got {share:g}")
    names = list(space.operators)
    found = [kernels(operator.module, example_inputs(operator.shapes)) for operator in space.operators.values()]
    count = min(len(names), max(LEAST_OPERATORS, math.ceil(share * len(names))))
    return [names[i] for i in most_telling(found, count, seed)]


def most_telling(operators: Sequence[Sequence[Kernel]], count: int, seed: int) -> list[int]:
    """Choose ``count`` operators by index, or more to have every kind of kernel; see :func:`choose_operators`."""
    sums = Sums.of(operators, typical(operators))
    uncertainty = covariance(sums, sums, LENGTHS)
    jitter = 1 + 0.01 * np.random.default_rng(seed).random(len(operators))
    kinds = [{kernel.kind for kernel in operator} for operator in operators]
    lacking: set[Kind] = set().union(*kinds)
    taken: list[int] = []
    while len(taken) < count or lacking:
        telling = np.diag(uncertainty) * jitter
        telling[[i for i in range(len(operators)) if i in taken or (lacking and not kinds[i] & lacking)]] = -np.inf
        best = int(telling.argmax())
        taken.append(best)
        lacking -= kinds[best]
        uncertainty = uncertainty - np.outer(uncertainty[best], uncertainty[best]) / (
            uncertainty[best, best] + MEASURING_DEVIATION**2
        )
    return taken


def complete_table(space: SpaceOperators, known: Mapping[str, Interval], device: Mapping[str, object]) -> LatencyTable:
    """Make the table of a space, without correction, of whose operators only a part was measured.

    Args:
        space: the operators of the space.
        known: measured operators by signature; the others are predicted from those of them that the space has.
        device: as in the table.

    Raises:
        ProxylessError: too few are known, or an operator cannot be predicted; names the candidate.
    """
    if all(key in known for key in space.operators):
        return space.table(known, device)
    measured = [
        Measured(kernels(operator.module, example_inputs(operator.shapes)), time.ms, time.low_ms, time.high_ms)
        for operator, time in ((space.operators[key], time) for key, time in known.items() if key in space.operators)
    ]
    return fit(measured).table(space, device, known)
