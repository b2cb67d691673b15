"""Numbers of each image, with a network and loaders of your own: the size and the place of a disc, in pixels.

python examples/regression.py --out runs/regression        # two or three minutes
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import proxyless
from proxyless import Choice, Zero
from proxyless.tasks import Regression

SIDE = 24
LONG = {"search.epochs": 20, "training.epochs": 20}
QUICK = {"search.epochs": 1, "training.epochs": 1, "measure.rounds": 3, "measure.limit_s": 1}


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
        self.stem = conv(1, 12, 3, stride=2)
        self.one = block(12)
        self.down = Choice(k3=conv(12, 24, 3, stride=2), k5=conv(12, 24, 5, stride=2))
        self.two = block(24)
        self.head = nn.Linear(24 * (SIDE // 4) ** 2, 3)

    def forward(self, x: Tensor) -> Tensor:
        """x: (batch, 1, 24, 24) -> radius and place, standardised: (batch, 3)."""
        return self.head(self.two(self.down(self.one(self.stem(x)))).flatten(1))


def made_up(count: int, seed: int) -> TensorDataset:
    """Images of a disc in noise (count, 1, 24, 24), and its radius, column and row in pixels (count, 3)."""
    generator = torch.Generator().manual_seed(seed)
    numbers = torch.rand(count, 3, generator=generator) * torch.tensor([5.0, 12.0, 12.0]) + torch.tensor(
        [3.0, 6.0, 6.0]
    )
    radius, column, row = numbers[:, :, None, None].unbind(dim=1)
    rows, columns = torch.meshgrid(torch.arange(SIDE), torch.arange(SIDE), indexing="ij")
    inside = (columns - column) ** 2 + (rows - row) ** 2 < radius**2
    return TensorDataset((inside + 0.3 * torch.randn(inside.shape, generator=generator))[:, None], numbers)


def main() -> None:
    """Design a network, then ask it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/regression"))
    parser.add_argument("--latency", type=float, default=0.02, help="ms that one inference may take on the CPU")
    parser.add_argument("--quick", action="store_true", help="a few steps only, to see that it runs")
    chosen = parser.parse_args()

    torch.manual_seed(0)
    test = made_up(500, seed=2)
    run = proxyless.search(
        network=Net(),
        task=Regression(("radius", "column", "row")),
        train=DataLoader(made_up(200 if chosen.quick else 3000, seed=0), batch_size=50, shuffle=True),
        valid=DataLoader(made_up(500, seed=1), batch_size=50, shuffle=True),
        test=DataLoader(test, batch_size=50),
        device="cpu",
        latency=chosen.latency,
        out=chosen.out,
        settings=QUICK if chosen.quick else LONG,
    )
    print("architecture:", run.result["architecture"])
    print(f"root mean squared error {run.result['test_rmse']:.2f} pixels, R2 {run.result['test_r2']:.3f}")
    images, numbers = test[:3]
    for row, found in zip(numbers.tolist(), run.predict(images), strict=True):
        print(
            "expected", [round(number, 1) for number in row], "found", [round(number, 1) for number in found.values()]
        )


if __name__ == "__main__":
    main()
