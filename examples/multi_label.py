"""Several labels for each image, with a network and loaders of your own.

Each image holds three digits of scikit-learn side by side; which of the ten are among them is to be said.

python examples/multi_label.py --out runs/multi-label      # two or three minutes
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import proxyless
from proxyless import Choice, Zero
from proxyless.tasks import MultiLabel

LABELS = tuple(f"has {digit}" for digit in range(10))
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
        self.stem = conv(1, 16, 3)
        self.one = block(16)
        self.down = Choice(k3=conv(16, 48, 3, stride=2), k5=conv(16, 48, 5, stride=2))
        self.two, self.three = block(48), block(48)
        self.head = nn.Linear(48, len(LABELS))

    def forward(self, x: Tensor) -> Tensor:
        """x: (batch, 1, 8, 24) -> one number for each label, above 0 where the image has it: (batch, 10)."""
        return self.head(self.three(self.two(self.down(self.one(self.stem(x))))).amax(dim=(2, 3)))


def made_up(count: int, seed: int) -> TensorDataset:
    """Images (count, 1, 8, 24), and 1 for each digit that is there: (count, 10)."""
    digits, generator = load_digits(), torch.Generator().manual_seed(seed)
    drawn = torch.randint(len(digits.target), (count, 3), generator=generator)
    images = torch.tensor(digits.images, dtype=torch.float32)[drawn] / 16  # (count, 3, 8, 8)
    labels = torch.zeros(count, 10).scatter_(1, torch.tensor(digits.target)[drawn], 1.0)
    return TensorDataset(images.permute(0, 2, 1, 3).reshape(count, 1, 8, 24), labels)


def main() -> None:
    """Design a network, then ask it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/multi-label"))
    parser.add_argument("--latency", type=float, default=0.04, help="ms that one inference may take on the CPU")
    parser.add_argument("--quick", action="store_true", help="a few steps only, to see that it runs")
    chosen = parser.parse_args()

    torch.manual_seed(0)
    test = made_up(500, seed=2)
    run = proxyless.search(
        network=Net(),
        task=MultiLabel(LABELS),
        train=DataLoader(made_up(200 if chosen.quick else 3000, seed=0), batch_size=50, shuffle=True),
        valid=DataLoader(made_up(500, seed=1), batch_size=50, shuffle=True),
        test=DataLoader(test, batch_size=50),
        device="cpu",
        latency=chosen.latency,
        out=chosen.out,
        settings=QUICK if chosen.quick else LONG,
    )
    print("architecture:", run.result["architecture"])
    print(f"F1 {run.result['test_f1']:.1%}, images with exactly their labels {run.result['test_exact']:.1%}")
    images, labels = test[:3]
    for row, found in zip(labels, run.predict(images), strict=True):
        print("expected", [name for name, there in zip(LABELS, row, strict=True) if there], "found", found)


if __name__ == "__main__":
    main()
