"""A Gaussian process over the dimensions of kernels, for what the physical model leaves unexplained.

    ms(operator) = physical(operator) * (1 + relative residual),
    relative residual = sum over amounts of share * c + sum over kernels of share * g(kernel) + noise

The residuals ``g`` of kernels have variance 1, are alike for kernels of like dimensions, and independent between kinds.
The ``c`` are errors of the coefficients. Only sums over the kernels of an operator are measured. Such a sum is Gaussian
too, so nothing is approximated, and a whole network, which is a longer sum, is predicted in the same way as a block.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from proxyless.latency.predict.kernels import Kernel, Kind
from proxyless.latency.predict.physical import Physical

Array = NDArray[np.float64]

COEFFICIENTS = 2.0
"""Standard deviation of the errors of coefficients, as a multiple of that of the residuals of kernels."""

CHANNELS = (1.5, 3.0, 6.0, 12.0)
SIZES = (0.15, 0.3, 0.6, 1.2)
"""Octaves over which kernels stay alike, all tried: of channels; of feature map, window, stride and dilation.

The second are shorter, since how well a row fills the tiles of the processor changes with every pixel."""

KERNEL_DEVIATIONS = np.geomspace(0.003, 0.5, 24)
NOISE_DEVIATIONS = np.geomspace(0.001, 0.1, 24)
"""Standard deviations that are tried for the residuals of kernels and for the noise, as shares of the latency."""

_CHANNEL_DIMENSIONS = 3


@dataclass(frozen=True)
class Sums:
    """Operators, written as sums over distinct kernels.

    Args:
        ms: (operators,) what the physical model says.
        shares: (operators, kernels) share of it that is each kernel's.
        parts: (operators, amounts) share of it that is each coefficient's.
        kinds: (kernels,) kind of each distinct kernel.
        place: (kernels, dimensions) its dimensions in octaves, those of channels first.
    """

    ms: Array
    shares: Array
    parts: Array
    kinds: NDArray[np.int64]
    place: Array

    @classmethod
    def of(cls, operators: Sequence[Sequence[Kernel]], physical: Physical) -> Sums:
        """Write operators, each given by its kernels, as sums."""
        distinct = list(dict.fromkeys(kernel for operator in operators for kernel in operator))
        number = {kernel: i for i, kernel in enumerate(distinct)}
        names = {name: i for i, name in enumerate(physical.coefficients)}
        shares = np.zeros((len(operators), len(distinct)))
        parts = np.zeros((len(operators), len(names)))
        found = {kernel: physical.parts_ms(kernel) for kernel in distinct}
        for i, operator in enumerate(operators):
            for name, value in physical.call_parts_ms(operator).items():
                parts[i, names[name]] = value
            for kernel in operator:
                shares[i, number[kernel]] += sum(found[kernel].values())
                for name, value in found[kernel].items():
                    parts[i, names[name]] += value
        ms = parts.sum(axis=1)
        whole = np.maximum(ms, 1e-12)[:, None]
        order = list(Kind)
        kinds = np.array([order.index(kernel.kind) for kernel in distinct], dtype=np.int64)
        place = np.array([_place(kernel) for kernel in distinct]).reshape(len(distinct), -1)
        return cls(ms, shares / whole, parts / whole, kinds, place)

    def row(self, index: int) -> Sums:
        """Return the operator at ``index`` alone."""
        used, rows = np.flatnonzero(self.shares[index]), slice(index, index + 1)
        return Sums(self.ms[rows], self.shares[rows, used], self.parts[rows], self.kinds[used], self.place[used])


def covariance(left: Sums, right: Sums, lengths: tuple[float, float]) -> Array:
    """Compute the covariance of relative residuals, where that of one kernel has variance 1 (Matern 3/2).

    Args:
        left: some operators.
        right: some operators.
        lengths: octaves over which kernels stay alike, of channels and of sizes.

    Returns:
        The covariance: (left operators, right operators).
    """
    linear: Array = COEFFICIENTS**2 * left.parts @ right.parts.T
    if not len(left.place) or not len(right.place):
        return linear
    scale = np.full(left.place.shape[1], lengths[1])
    scale[:_CHANNEL_DIMENSIONS] = lengths[0]
    one, two = left.place / scale, right.place / scale
    square = (one**2).sum(axis=1)[:, None] + (two**2).sum(axis=1) - 2 * one @ two.T
    distance = np.sqrt(3 * np.maximum(square, 0))
    alike = np.where(left.kinds[:, None] == right.kinds, (1 + distance) * np.exp(-distance), 0.0)
    return linear + left.shares @ alike @ right.shares.T


@dataclass(frozen=True)
class Process:
    """What is assumed of residuals.

    Args:
        lengths: octaves over which kernels stay alike, of channels and of sizes.
        scale: standard deviation of the residual of a kernel, as a share of its latency.
        noise: standard deviation of what is particular to one operator, as a share of its latency.
    """

    lengths: tuple[float, float]
    scale: float
    noise: float


@dataclass(frozen=True)
class Posterior:
    """The distribution of residuals, given measured operators; see :func:`condition`."""

    process: Process
    physical: Physical
    known: Sums
    weights: Array
    inverse: Array

    def predict(self, operators: Sequence[Sequence[Kernel]]) -> tuple[Array, Array]:
        """Predict a measurement of each operator: (ms, standard deviation in ms), noise included."""
        process, sums = self.process, Sums.of(operators, self.physical)
        between = process.scale**2 * covariance(sums, self.known, process.lengths)
        rows = (sums.row(i) for i in range(len(operators)))
        own = process.scale**2 * np.array([covariance(row, row, process.lengths)[0, 0] for row in rows])
        variance = np.maximum(own - np.einsum("ij,jk,ik->i", between, self.inverse, between), 0)
        # A residual of nearly the whole latency is outside what was measured: the time stays positive.
        mean = np.maximum(1 + between @ self.weights, 0.1)
        return sums.ms * mean, sums.ms * np.sqrt(variance + process.noise**2)


def learn(known: Sums, ms: Array, noise: Array) -> Process:
    """Find the process under which the measured latencies are the likeliest.

    Args:
        known: the measured operators.
        ms: (operators,) their latencies.
        noise: (operators,) variance of the noise of each operator in proportion to the others, around 1.

    Returns:
        The likeliest of those tried.
    """
    white = 1 / np.sqrt(noise)
    residual = white * (ms / known.ms - 1)
    best, found = -np.inf, Process((CHANNELS[0], SIZES[0]), float(KERNEL_DEVIATIONS[0]), float(NOISE_DEVIATIONS[0]))
    for lengths in ((channels, sizes) for channels in CHANNELS for sizes in SIZES):
        values, axes = np.linalg.eigh(white[:, None] * covariance(known, known, lengths) * white)
        squares = (axes.T @ residual) ** 2
        variance = KERNEL_DEVIATIONS[:, None, None] ** 2 * np.maximum(values, 0) + NOISE_DEVIATIONS[:, None] ** 2
        likelihood = -0.5 * (squares / variance + np.log(variance)).sum(axis=2)
        if likelihood.max() > best:
            best = likelihood.max()
            scale, deviation = np.unravel_index(likelihood.argmax(), likelihood.shape)
            found = Process(lengths, float(KERNEL_DEVIATIONS[scale]), float(NOISE_DEVIATIONS[deviation]))
    return found


def condition(process: Process, physical: Physical, known: Sums, ms: Array, noise: Array) -> Posterior:
    """Condition ``process`` on measured latencies; see :func:`learn` for ``known``, ``ms`` and ``noise``."""
    own = process.scale**2 * covariance(known, known, process.lengths)
    inverse = np.asarray(np.linalg.inv(own + np.diag(process.noise**2 * noise)), dtype=np.float64)
    return Posterior(process, physical, known, inverse @ (ms / known.ms - 1), inverse)


def _place(kernel: Kernel) -> list[float]:
    windows = (math.prod(window) for window in (kernel.kernel, kernel.stride, kernel.dilation))
    sizes = (kernel.in_channels, kernel.out_channels, kernel.groups, kernel.batch, kernel.out_height, kernel.out_width)
    return [math.log2(size) for size in (*sizes, *windows)]
