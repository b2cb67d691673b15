"""A space of which only a part is measured: which operators tell the most, and the table once those are known."""

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
"""Octaves over which kernels are taken to be alike, of channels and of sizes, before anything was measured."""

MEASURING_DEVIATION = 0.05
"""Standard deviation of what one measurement leaves open, in proportion to a kernel's departure."""


def choose_operators(layout: SpaceOperators, share: float, seed: int) -> list[str]:
    """Choose the operators to measure, the most telling first.

    Each of them is the one that the model would know least about after those before it were measured. So they spread
    over kinds of kernels, windows, expansions and sizes. Every kind is among them, and enough of them to fit the model;
    if there are fewer than that, all are chosen.

    Args:
        layout: The operators of a space.
        share: How many of them, rounded up, above 0 and at most 1.
        seed: Chooses between operators that tell about as much.

    Returns:
        Their signatures.

    Raises:
        ProxylessError: the share is not above 0 and at most 1.
    """
    if not 0 < share <= 1:
        raise ProxylessError(f"the share of operators to measure must be above 0 and at most 1, got {share:g}")
    names = list(layout.operators)
    found = [kernels(operator.module, example_inputs(operator.shapes)) for operator in layout.operators.values()]
    count = min(len(names), max(LEAST_OPERATORS, math.ceil(share * len(names))))
    return [names[i] for i in most_telling(found, count, seed)]


def most_telling(operators: Sequence[Sequence[Kernel]], count: int, seed: int) -> list[int]:
    """Indices of ``count`` operators, or as many more as it takes to have each kind of kernel, see :func:`choose`."""
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


def complete_table(layout: SpaceOperators, known: Mapping[str, Interval], device: Mapping[str, object]) -> LatencyTable:
    """Make the table of a space, without correction, from some of its operators.

    Args:
        layout: The operators of the space.
        known: Measured operators by signature; those of the space that are missing are predicted from the others.
        device: As in the table.

    Raises:
        ProxylessError: too few are known, or an operator cannot be predicted; names the candidate.
    """
    if all(key in known for key in layout.operators):
        return layout.table(known, device)
    measured = [
        Measured(kernels(operator.module, example_inputs(operator.shapes)), time.ms, time.low_ms, time.high_ms)
        for operator, time in ((layout.operators[key], time) for key, time in known.items() if key in layout.operators)
    ]
    return fit(measured).table(layout, device, known)
