"""A task of your own: the two ends of a line are found in an image, and judged by a metric of your own.

python examples/own_task.py --out runs/own-task            # two or three minutes
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import proxyless
from proxyless import Choice, Zero
from proxyless.tasks import Metric, Task, register_task

SIDE = 16
LONG = {"search.epochs": 20, "training.epochs": 20}
QUICK = {"search.epochs": 1, "training.epochs": 1, "measure.rounds": 3, "measure.limit_s": 1}


# -- the task: 20 lines --


def found(points: Tensor, targets: Tensor) -> Tensor:
    """Which points are within a pixel and a half of where they should be; (batch, 2, 2) both -> (batch, 2)."""
    return (points - targets).norm(dim=-1) < 1.5


def distance(points: Tensor, targets: Tensor) -> Tensor:
    """How far the points are from where they should be, in pixels; (batch, 2, 2) both -> (batch, 2)."""
    return (points - targets).norm(dim=-1)


@register_task
class Keypoints(Task):
    """Places (column, row) of points in an image."""

    name = "keypoints"
    metrics = (Metric.mean("found", found, percent=True), Metric.mean("distance", distance, higher_is_better=False))

    def loss(self, points: Tensor, targets: Tensor) -> Tensor:
        return nn.functional.smooth_l1_loss(points, targets)

    def predict(self, points: Tensor) -> list[Any]:
        return points.double().round(decimals=1).tolist()


# -- a network with choices, and data --


def conv(inputs: int, outputs: int, kernel: int, stride: int = 1) -> nn.Module:
    """Convolution, batch norm, ReLU."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()
    )


def block(width: int) -> Choice:
    """A convolution of one of two sizes, or nothing."""
    return Choice(k3=conv(width, width, 3), k5=conv(width, width, 5), skip=Zero(), shortcut=True)


class Net(nn.Module):
    """An ordinary network; wherever there is something to decide, it holds a Choice."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = conv(1, 16, 3)
        self.one = block(16)
        self.down = Choice(k3=conv(16, 24, 3, stride=2), k5=conv(16, 24, 5, stride=2))
        self.two = block(24)
        self.head = nn.Linear(24 * (SIDE // 2) ** 2, 4)

    def forward(self, x: Tensor) -> Tensor:
        """x: (batch, 1, 16, 16) -> two points, (batch, 2, 2)."""
        numbers = self.head(self.two(self.down(self.one(self.stem(x)))).flatten(1))
        return numbers.unflatten(1, (2, 2)) + SIDE / 2


def made_up(count: int, seed: int) -> TensorDataset:
    """Images of a line in noise (count, 1, 16, 16), and its left and right end (count, 2, 2)."""
    generator = torch.Generator().manual_seed(seed)
    ends = 2 + (SIDE - 5) * torch.rand(count, 2, 2, generator=generator)
    ends = ends.gather(1, ends[:, :, :1].argsort(dim=1).expand(-1, -1, 2))  # the left one first
    share = torch.linspace(0, 1, 3 * SIDE)[None, :, None]
    columns, rows = (ends[:, :1] * (1 - share) + ends[:, 1:] * share).round().long().unbind(dim=-1)
    images = torch.zeros(count, SIDE * SIDE).scatter_(1, rows * SIDE + columns, 1.0)
    images += 0.1 * torch.randn(images.shape, generator=generator)
    return TensorDataset(images.view(count, 1, SIDE, SIDE), ends)


def main() -> None:
    """Design a network, then ask it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/own-task"))
    parser.add_argument("--latency", type=float, default=0.03, help="ms that one inference may take on the CPU")
    parser.add_argument("--quick", action="store_true", help="a few steps only, to see that it runs")
    chosen = parser.parse_args()

    torch.manual_seed(0)
    test = made_up(500, seed=2)
    run = proxyless.search(
        network=Net(),
        task=Keypoints(),
        train=DataLoader(made_up(200 if chosen.quick else 3000, seed=0), batch_size=50, shuffle=True),
        valid=DataLoader(made_up(500, seed=1), batch_size=50, shuffle=True),
        test=DataLoader(test, batch_size=50),
        device="cpu",
        latency=chosen.latency,
        out=chosen.out,
        settings=QUICK if chosen.quick else LONG,
    )
    print("architecture:", run.result["architecture"])
    print(f"points found {run.result['test_found']:.1%}, mean distance {run.result['test_distance']:.2f} pixels")
    images, ends = test[:3]
    for expected, points in zip(ends, run.predict(images), strict=True):
        print("expected", expected.double().round(decimals=1).tolist(), "found", points)


if __name__ == "__main__":
    main()
