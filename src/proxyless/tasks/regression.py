"""Regression: one or several numbers for each image."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from proxyless.errors import ContractError, ProxylessError
from proxyless.tasks.metric import Metric, Sums, register_metric
from proxyless.tasks.registry import register_task
from proxyless.tasks.task import Table, Task, check_names, checked_names


def _errors(outputs: Tensor, targets: Tensor) -> dict[str, Tensor]:
    """Sums over a batch for each of the numbers, float64; outputs and targets in the units of the targets."""
    targets = targets.double()
    errors = outputs.double() - targets
    return {
        "numbers.images": torch.tensor(len(errors), device=errors.device),
        "numbers.squared": (errors**2).sum(dim=0),
        "numbers.absolute": errors.abs().sum(dim=0),
        "numbers.targets": targets.sum(dim=0),
        "numbers.targets_squared": (targets**2).sum(dim=0),
    }


def _rmse(sums: Sums) -> Tensor:
    return (sums["numbers.squared"] / sums["numbers.images"]).sqrt()


def _mae(sums: Sums) -> Tensor:
    return sums["numbers.absolute"] / sums["numbers.images"]


def _r2(sums: Sums) -> Tensor:
    """1 - squared error / squared deviation of the targets from their mean; 0 where they are all the same."""
    spread = sums["numbers.targets_squared"] - sums["numbers.targets"] ** 2 / sums["numbers.images"]
    known = spread > 1e-12 * sums["numbers.targets_squared"]
    return torch.where(known, 1 - sums["numbers.squared"] / spread.clamp_min(1e-300), 0.0)


RMSE = register_metric(Metric("rmse", _errors, lambda sums: float(_rmse(sums).mean()), higher_is_better=False))
"""Root of the mean squared error, in the unit of the targets; of several numbers their mean."""

MAE = register_metric(Metric("mae", _errors, lambda sums: float(_mae(sums).mean()), higher_is_better=False))
"""Mean absolute error, in the unit of the targets; of several numbers their mean."""

R2 = register_metric(Metric("r2", _errors, lambda sums: float(_r2(sums).mean())))
"""Share of the targets' variance that is explained: 1 at best, 0 for their mean; of several numbers the mean."""


@register_task
@dataclass(frozen=True)
class Regression(Task):
    """Numbers for each image: smooth L1 error of standardised targets; RMSE, MAE and R2 in the targets' own units.

    Targets are (batch, numbers), or (batch,) where there is one. The outputs of the network (batch, numbers) are
    standardised: ``mean + std * outputs`` is what they stand for, so that numbers of any size are learnt alike.

    Args:
        names: of the numbers, in the order of the outputs, where they have some.
        mean: of each number over the training targets; None: taken from them by :meth:`fitted`.
        std: standard deviation of each number likewise.
        metrics: what is reported, the first is the one that counts.

    Example:
        >>> import torch
        >>> task = Regression(("age",)).fitted([torch.tensor([10.0, 30.0])])
        >>> task.mean, task.std
        ((20.0,), (10.0,))
        >>> outputs, targets = torch.tensor([[0.0], [1.0]]), torch.tensor([20.0, 34.0])
        >>> {name: round(value, 3) for name, value in task.figures(task.sums(outputs, targets)).items()}
        {'rmse': 2.828, 'mae': 2.0, 'r2': 0.837}
        >>> task.predict(outputs)
        [{'age': 20.0}, {'age': 30.0}]
    """

    name: ClassVar[str] = "regression"

    names: tuple[str, ...] = ()
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    metrics: Sequence[Metric | str] = (RMSE, MAE, R2)

    def __post_init__(self) -> None:
        object.__setattr__(self, "names", checked_names(self.names))
        known = (self.mean or (), self.std or ())
        if not all(isinstance(value, int | float) and math.isfinite(value) for values in known for value in values):
            raise ValueError("mean and std must be finite numbers")
        if len(known[0]) != len(known[1]) or min(known[1], default=1) <= 0:
            raise ValueError("each number needs a mean, and a standard deviation above 0")

    def _in_units(self, outputs: Tensor) -> Tensor:
        if self.mean is None or self.std is None:
            return outputs
        return outputs * outputs.new_tensor(self.std) + outputs.new_tensor(self.mean)

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Smooth L1 error of standardised numbers.

        It is the squared error where that is small, but does not let a few numbers that are far off rule the others.

        Raises:
            ContractError: there are more targets than outputs, or fewer.
        """
        outputs, targets = outputs.view(len(outputs), -1), targets.to(outputs.dtype).view(len(targets), -1)
        if outputs.shape != targets.shape:  # PyTorch would repeat the one for the other
            raise ContractError(f"{outputs.shape[1]} outputs for {targets.shape[1]} targets of each sample")
        if self.mean is not None and self.std is not None:
            targets = (targets - targets.new_tensor(self.mean)) / targets.new_tensor(self.std)
        return nn.functional.smooth_l1_loss(outputs, targets)

    def sums(self, outputs: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """Those of the metrics, which are given outputs in the units of the targets, (batch, numbers) both."""
        outputs = self._in_units(outputs.double().view(len(outputs), -1))
        targets = targets.view(len(targets), -1)
        check_names(self.names, outputs)
        return super().sums(outputs, targets) | _errors(outputs, targets)

    def reward(self, sums: Sums) -> float:
        """R2, or 0 where that is below 0."""
        value = R2.value(sums)
        return 0.0 if value < 0 else value

    def predict(self, outputs: Tensor) -> list[Any]:
        """The numbers of each image, in the units of the targets: by name, or as a list where they have no names."""
        rows = self._in_units(outputs.double().view(len(outputs), -1)).tolist()
        return [dict(zip(self.names, row, strict=True)) for row in rows] if self.names else rows

    def tables(self, sums: Sums) -> list[Table]:
        """One line for each number."""
        figures = [values.tolist() for values in (_rmse(sums), _mae(sums), _r2(sums))]
        names = self.names or tuple(str(index) for index in range(len(figures[0])))
        return [Table("By number", ("Number", "RMSE", "MAE", "R2"), list(zip(names, *figures, strict=True)))]

    def fitted(self, targets: Iterable[Any]) -> Regression:
        """The same task with mean and standard deviation of the training targets, unless it has them.

        Raises:
            ProxylessError: a number is the same for all training images, or there are no targets.
        """
        if self.mean is not None and self.std is not None:
            return self
        parts = [part.double().view(len(part), -1).cpu() for part in targets]
        if not parts:
            raise ProxylessError("there are no training targets to standardise by")
        values = torch.cat(parts)
        std = values.std(dim=0, correction=0)
        for index in (std == 0).nonzero().flatten().tolist():
            name = self.names[index] if self.names else f"number {index}"
            raise ProxylessError(f"{name} is {values[0, index]:g} for every training image: there is nothing to learn")
        return replace(self, mean=tuple(values.mean(dim=0).tolist()), std=tuple(std.tolist()))
