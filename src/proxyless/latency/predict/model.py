"""A latency model: latency as a function of the dimensions of an operator, fitted on measured ones (section 3.3).

It predicts operators that were never measured, of another width, image size or batch, and whole networks. It has two
parts: a physical one of time per launch, multiply-accumulate and byte (:mod:`proxyless.latency.predict.physical`), and
the residuals of that, which are alike for kernels of like dimensions
(:mod:`proxyless.latency.predict.gaussian_process`). What a network pays for data that the caches do not hold is learnt
from networks alone: to predict networks, measure a few as well.

The fit takes about a second and gives the same bits every time, so it is the measurements that are saved.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from proxyless import files
from proxyless.errors import ProxylessError, short
from proxyless.files.fields import Fields
from proxyless.latency.operators import SpaceOperators
from proxyless.latency.predict.gaussian_process import Array, Posterior, Process, Sums, condition, learn
from proxyless.latency.predict.kernels import Kernel, Kind, kernels
from proxyless.latency.predict.physical import Physical, fit_physical
from proxyless.latency.table import LatencyTable
from proxyless.latency.timing.statistics import Interval
from proxyless.modules.operators import example_inputs

FORMAT = 1
"""Version of the format of the files that models are written to."""

LEAST_OPERATORS = 10
"""How many operators a fit needs at the least."""

FOLDS = 10
"""Into how many parts the operators are divided for cross-validation."""


@dataclass(frozen=True)
class Measured:
    """A measured operator or whole network: what it launches, and its latency in ms with the 95 % interval."""

    kernels: tuple[Kernel, ...]
    ms: float
    low_ms: float
    high_ms: float


@dataclass(frozen=True)
class LatencyModel:
    """The latency model of one device with one number of threads; made by :func:`fit`.

    Args:
        operators: what it was fitted on.
        left_out_errors: error of the prediction of each operator when that was left out of the fit, in the standard
            deviations that the model gave it, ascending.
    """

    operators: tuple[Measured, ...]
    left_out_errors: Array = field(repr=False, compare=False)
    posterior: Posterior = field(repr=False, compare=False)

    @property
    def physical(self) -> Physical:
        """The physical part of the model, with its coefficients in ms."""
        return self.posterior.physical

    def predict(self, operator: Sequence[Kernel], *, level: float = 0.95) -> Interval:
        """Predict the latency in ms of one call of an operator.

        Args:
            operator: its kernels.
            level: probability with which a measurement is within the interval.

        Returns:
            The latency with its interval.

        Raises:
            ProxylessError: no kernel of the same kind was measured; names the kernel.
        """
        return self.predict_all([operator], level=level)[0]

    def predict_all(self, operators: Sequence[Sequence[Kernel]], *, level: float = 0.95) -> list[Interval]:
        """Predict many operators together, which is quicker; see :meth:`predict`."""
        kinds = _kinds([measured.kernels for measured in self.operators])
        for kernel in (kernel for operator in operators for kernel in operator):
            if kernel.kind not in kinds:
                raise ProxylessError(f"no {kernel.kind} was measured to predict a {kernel} from: measure one")
        if not operators:
            return []
        found, deviations = self.posterior.predict(operators)
        rank = math.ceil(level * (len(self.left_out_errors) + 1))
        reach = self.left_out_errors[min(rank, len(self.left_out_errors)) - 1] * deviations
        lows = np.maximum(found - reach, 0)
        rows = zip(found.tolist(), lows.tolist(), (found + reach).tolist(), strict=True)
        return [Interval(ms, low, high) for ms, low, high in rows]

    def table(
        self, space: SpaceOperators, device: Mapping[str, object], known: Mapping[str, Interval] | None = None
    ) -> LatencyTable:
        """Make the table of a space, without correction; operators that were not measured are predicted.

        Args:
            space: the operators of the space.
            device: as in the table, see :func:`proxyless.latency.identity.describe`.
            known: measured operators by signature.

        Raises:
            ProxylessError: an operator cannot be predicted; names the candidate.
        """
        times = dict(known or {})
        names = space.names()
        for key, operator in space.operators.items():
            if key in times:
                continue
            try:
                times[key] = self.predict(kernels(operator.module, example_inputs(operator.shapes)))
            except ProxylessError as error:
                raise ProxylessError(f"candidate {names[key]}: {error}") from None
        return space.table(times, device, predicted=times.keys() - (known or {}).keys())

    def save(self, path: str | Path) -> None:
        """Write the measurements as JSON, from which :meth:`load` makes the same model again."""
        files.write_json(path, {"format": FORMAT, "operators": [asdict(measured) for measured in self.operators]})

    @classmethod
    def load(cls, path: str | Path) -> LatencyModel:
        """Fit the model on the measurements that :meth:`save` wrote.

        Raises:
            ProxylessError: the file is missing or holds no such measurements.
        """
        value = files.read_json(path)
        fields = Fields(value, "", source=f"{path}: not a latency model", whole="the file")
        if fields.get("format") != FORMAT:
            raise ProxylessError(f"{path}: a latency model of another format; measure again")
        return fit([_measured(row) for row in fields.objects("operators")])


def measured(value: Mapping[str, Any]) -> Measured:
    """Read a measured operator from the plain numbers that ``dataclasses.asdict`` makes of it.

    Raises:
        ProxylessError: a number is missing, or of another kind.
    """
    return _measured(Fields(value, "", whole="the operator"))


def _measured(fields: Fields) -> Measured:
    low, ms, high = (fields.measured(key, least=0) for key in ("low_ms", "ms", "high_ms"))
    if not ms > 0:
        raise fields.problem("ms must be above 0")
    return Measured(tuple(_kernel(kernel) for kernel in fields.objects("kernels")), ms, low, high)


def _kernel(fields: Fields) -> Kernel:
    fields.one_of("kind", list(Kind))
    found: dict[str, Any] = {}
    for item in dataclasses.fields(Kernel):
        if item.name == "kind" or (item.name not in fields and item.default is not dataclasses.MISSING):
            continue
        if str(item.type) == "int":
            least = 0 if item.name.endswith(("macs", "bytes")) else 1
            found[item.name] = fields.count(item.name, least=least, most=2**53)
        else:
            sizes = fields.values(item.name)
            if not all(isinstance(size, int) and not isinstance(size, bool) and 1 <= size < 2**31 for size in sizes):
                raise fields.problem(f"{item.name} must be sizes, got {short(sizes)}")
            found[item.name] = tuple(sizes)
    return Kernel(kind=Kind(fields.text("kind")), **found)


def fit(operators: Sequence[Measured]) -> LatencyModel:
    """Fit the model of the device on which ``operators`` were measured.

    Operators that launch nothing tell nothing and are left out. Relative errors are minimised, so that small operators
    count as much as large ones. Intervals are made as wide as cross-validation shows to be right.

    Raises:
        ProxylessError: fewer than :data:`LEAST_OPERATORS` operators, or one without a positive latency.
    """
    operators = [one for one in operators if one.kernels]
    if len(operators) < LEAST_OPERATORS:
        raise ProxylessError(
            f"{len(operators)} measured operators are too few for a latency model: measure {LEAST_OPERATORS}"
        )
    for number, one in enumerate(operators):
        if not 0 < one.ms < math.inf:
            raise ProxylessError(
                f"measured operator {number} took {one.ms:g} ms, which is no latency: measure it again"
            )
    ms = np.array([one.ms for one in operators])
    spread = np.array([(one.high_ms - one.low_ms) / one.ms for one in operators]) ** 2
    # Half of the noise is of the clock, as the intervals tell, half of what the model does not know.
    noise = 0.5 + 0.5 * spread / spread.mean() if spread.any() else np.ones(len(ms))
    physical = fit_physical([one.kernels for one in operators], ms)
    known = Sums.of([one.kernels for one in operators], physical)
    process = learn(known, ms, noise)
    posterior = condition(process, physical, known, ms, noise)
    return LatencyModel(tuple(operators), _left_out_errors(operators, process, physical, ms, noise), posterior)


def _left_out_errors(
    operators: Sequence[Measured], process: Process, physical: Physical, ms: Array, noise: Array
) -> Array:
    """Return the errors of cross-validation, in the standard deviations that each fit gives them, ascending."""
    found = []
    parts = np.random.default_rng(0).permutation(len(operators)) % FOLDS
    for part in range(FOLDS):
        kept = np.flatnonzero(parts != part).tolist()
        some = [operators[i].kernels for i in kept]
        kinds = _kinds(some)
        left = [i for i in np.flatnonzero(parts == part).tolist() if _kinds([operators[i].kernels]) <= kinds]
        if not left:
            continue
        again = fit_physical(some, ms[kept], like=physical)
        posterior = condition(process, again, Sums.of(some, again), ms[kept], noise[kept])
        predicted, deviations = posterior.predict([operators[i].kernels for i in left])
        found.append(np.abs(predicted - ms[left]) / np.maximum(deviations, 1e-12))
    return np.sort(np.concatenate(found))


def _kinds(operators: Sequence[Sequence[Kernel]]) -> set[Kind]:
    return {kernel.kind for operator in operators for kernel in operator}
