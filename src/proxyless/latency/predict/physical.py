"""Latency of a kernel as a linear function of what it computes and moves: launches, multiply-accumulates, bytes.

    ms = sum of coefficient * amount,   with coefficients of at least 0 for each kind of kernel

The amounts are those that a processor with vector registers pays for. Channels count in whole vectors, so that 17
channels take as long as 32 if a vector holds 16. A row of outputs is computed in tiles that fill the registers, and
what is left of it one by one. An operator that is called again and again finds its data in the caches, whereas the data
of a whole network does not fit in there. The sizes of vector, tile and cache belong to the device, and are found by
trying.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from proxyless.latency.predict.kernels import Kernel, Kind

Array = NDArray[np.float64]

VECTORS = (1, 4, 8, 16, 32, 64)
"""Sizes of a vector that are tried, in channels."""

TILES = (1, 2, 3, 4, 5, 6, 7, 8, 12)
"""Sizes of a tile that are tried, in outputs."""

CACHES = tuple(2**power for power in range(20, 26))
"""Sizes of the cache that are tried, in bytes: 1 to 32 MiB."""

PRIOR = 0.06
"""Strength of the ridge: noise as a share of the latency, divided by the largest share expected of an amount."""

FLOOR = 1e-4
"""Every amount takes at least this share of the latency of the operator that has most of it: nothing is free."""

CALL = "call"
"""The amount that is 1 for a whole operator, however many kernels it has."""

SPILLED = "bytes beyond the cache"
"""The amount of bytes of weights and outputs of a whole operator that exceed the cache."""

_CONVOLUTIONS = (Kind.DENSE, Kind.POINTWISE, Kind.DEPTHWISE, Kind.GROUPED)


@dataclass(frozen=True)
class Physical:
    """The physical model of one device.

    Args:
        vector: channels of a vector.
        tile: outputs of a tile.
        cache: bytes that stay in the caches from one call to the next.
        coefficients: ms for one of each amount.
    """

    vector: int
    tile: int
    cache: int
    coefficients: dict[str, float]

    def parts_ms(self, kernel: Kernel) -> dict[str, float]:
        """Return the ms of each amount of a kernel, without amounts that nothing measured had any of."""
        return self._priced(amounts(kernel, self.vector, self.tile))

    def call_parts_ms(self, operator: Sequence[Kernel]) -> dict[str, float]:
        """Return the ms of each amount that an operator has as a whole."""
        return self._priced(call_amounts(operator, self.cache))

    def ms(self, operator: Sequence[Kernel]) -> float:
        """Predict the ms of one call of an operator, given by its kernels."""
        kernels = sum(sum(self.parts_ms(kernel).values()) for kernel in operator)
        return kernels + sum(self.call_parts_ms(operator).values())

    def _priced(self, found: dict[str, float]) -> dict[str, float]:
        return {name: value * self.coefficients[name] for name, value in found.items() if name in self.coefficients}


def call_amounts(operator: Sequence[Kernel], cache: int) -> dict[str, float]:
    """Return the amounts that an operator has as a whole: one call, and bytes beyond the cache."""
    touched = sum(kernel.weight_bytes + kernel.output_bytes for kernel in operator)
    return {CALL: 1.0, SPILLED: max(0, touched - cache)}


def amounts(kernel: Kernel, vector: int, tile: int) -> dict[str, float]:
    """Return the amounts of a kernel, by name of the coefficient: launches, multiply-accumulates, elements moved.

    Launches are counted twice, for the device as a whole and for the kind of kernel, so that none is taken to be free.
    """
    inputs = kernel.batch * kernel.in_height * kernel.in_width * _padded(kernel.in_channels, vector)
    outputs = kernel.batch * kernel.out_height * kernel.out_width * _padded(kernel.out_channels, vector)
    found: dict[str, float] = {"launch": 1}
    of_kind: dict[str, float] = {
        "launch": 1,
        "input": inputs,
        "output": outputs,
        "weights": kernel.weight_bytes,
    }
    if kernel.macs:
        # Depthwise convolutions hold one output channel for each input channel: nothing to pad but the vector itself.
        group_in, group_out = kernel.in_channels / kernel.groups, kernel.out_channels / kernel.groups
        alone = kernel.kind is Kind.DEPTHWISE
        padding = _padded(kernel.out_channels, vector) / kernel.out_channels if alone else (
            _padded(group_in, vector) / group_in * _padded(group_out, vector) / group_out
        )  # fmt: skip
        macs = kernel.macs * padding
        of_kind["macs"] = macs
        if kernel.kind in _CONVOLUTIONS:
            of_kind["rows of windows"] = macs / kernel.kernel[-1]
            of_kind["macs one by one"] = macs * _left_over(kernel, tile)
            if math.prod(kernel.stride) > 1:
                of_kind["strided macs"] = macs
            if math.prod(kernel.dilation) > 1:
                of_kind["dilated macs"] = macs
        if not alone:
            # The input is read once for each few vectors of outputs.
            of_kind["passes"] = inputs * math.ceil(group_out / (4 * vector))
    elif kernel.kind is Kind.POOLING:
        of_kind["window"] = outputs * math.prod(kernel.kernel)
    return found | {f"{kernel.kind}: {name}": value for name, value in of_kind.items()}


def _padded(channels: float, vector: int) -> float:
    return math.ceil(channels / vector) * vector


def _left_over(kernel: Kernel, tile: int) -> float:
    """Return the share of the outputs that are in no full tile.

    A pointwise convolution goes through the feature map as through one row. Otherwise tiles hold outputs whose windows
    lie within the input's row.
    """
    if kernel.kind is Kind.POINTWISE:
        count = kernel.out_height * kernel.out_width
        return (count % tile) / count
    reach = (kernel.kernel[-1] - 1) * kernel.dilation[-1]
    stride = kernel.stride[-1]
    padding = max(0, math.ceil(((kernel.out_width - 1) * stride + reach + 1 - kernel.in_width) / 2))
    left = math.ceil(padding / stride)
    last = (kernel.in_width - 1 - reach + padding) // stride
    inside = max(0, min(kernel.out_width, last + 1) - left)
    return (inside % tile) / kernel.out_width


def fit_physical(operators: Sequence[Sequence[Kernel]], ms: Array, *, like: Physical | None = None) -> Physical:
    """Fit the model with the least squares of relative errors.

    Args:
        operators: kernels of each measured operator.
        ms: (operators,) their latencies.
        like: a model whose sizes of vector, tile and cache are kept; all are tried by default.

    Returns:
        The model.
    """
    if like is not None:
        return _fitted(operators, ms, like.vector, like.tile, like.cache)[1]
    best = min((_fitted(operators, ms, vector, 1, CACHES[0]) for vector in VECTORS), key=_error)
    best = min((_fitted(operators, ms, best[1].vector, tile, CACHES[0]) for tile in TILES), key=_error)
    return min((_fitted(operators, ms, best[1].vector, best[1].tile, cache) for cache in CACHES), key=_error)[1]


def _error(fitted: tuple[float, Physical]) -> float:
    return round(fitted[0], 9)  # among equals, the first


def _fitted(
    operators: Sequence[Sequence[Kernel]], ms: Array, vector: int, tile: int, cache: int
) -> tuple[float, Physical]:
    """Fit coefficients of at least 0 for given sizes: (error, model)."""
    from scipy.optimize import nnls

    rows = [_total(operator, vector, tile, cache) for operator in operators]
    names = sorted({name for row in rows for name, value in row.items() if value})
    design = np.array([[row.get(name, 0.0) for name in names] for row in rows]) / ms[:, None]
    scale = design.max(axis=0)
    left = np.vstack([design / scale, PRIOR * np.eye(len(names))])
    right = np.concatenate([np.ones(len(ms)), np.zeros(len(names))])
    above, error = nnls(left, right - FLOOR * left.sum(axis=1), maxiter=100 * len(names))
    coefficients = dict(zip(names, ((FLOOR + above) / scale).tolist(), strict=True))
    return float(error), Physical(vector, tile, cache, coefficients)


def _total(operator: Sequence[Kernel], vector: int, tile: int, cache: int) -> dict[str, float]:
    """Return the amounts of all kernels of an operator together, and those it has as a whole."""
    found = call_amounts(operator, cache)
    for kernel in operator:
        for name, value in amounts(kernel, vector, tile).items():
            found[name] = found.get(name, 0.0) + value
    return found


def typical(operators: Sequence[Sequence[Kernel]]) -> Physical:
    """Guess a model before anything was measured: what takes most time on a usual processor."""
    usual = {CALL: 1e-3, "launch": 1e-3, "macs": 1e-8, "input": 2e-8, "output": 2e-8, "window": 2e-8}
    names = {name for operator in operators for name in _total(operator, 16, 1, CACHES[-1])}
    return Physical(16, 1, CACHES[-1], {name: usual.get(name.split(": ")[-1], 0.0) for name in sorted(names)})
