"""A class for each pixel, with a network and loaders of your own: discs and rings in noise.

python examples/segmentation.py --out runs/segmentation    # about five minutes
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import proxyless
from proxyless import Choice, Zero
from proxyless.tasks import Segmentation

CLASSES = ("background", "disc", "ring")
SIDE = 24
LONG = {"search.epochs": 15, "training.epochs": 15, "training.learning_rate": 0.05}
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
    """A small U-Net; wherever there is something to decide, it holds a Choice."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = conv(1, 12, 3)
        self.fine = block(12)
        self.down = Choice(k3=conv(12, 24, 3, stride=2), k5=conv(12, 24, 5, stride=2))
        self.coarse, self.deep = block(24), block(24)
        self.up = nn.ConvTranspose2d(24, 12, 2, stride=2)
        self.join = Choice(k1=conv(24, 12, 1), k3=conv(24, 12, 3))
        self.head = nn.Conv2d(12, len(CLASSES), 1)

    def forward(self, x: Tensor) -> Tensor:
        """x: (batch, 1, 24, 24) -> one number for each class and pixel: (batch, 3, 24, 24)."""
        fine = self.fine(self.stem(x))
        coarse = self.up(self.deep(self.coarse(self.down(fine))))
        return self.head(self.join(torch.cat([fine, coarse], dim=1)))


def made_up(count: int, seed: int) -> TensorDataset:
    """Images (count, 1, 24, 24) of a disc and a ring, and the class of each pixel (count, 24, 24)."""
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.rand(count, 2, 3, generator=generator)  # size and place of disc and ring
    size, column, row = (torch.tensor([3.0, 3.0, 3.0]) + torch.tensor([3.0, 18.0, 18.0]) * drawn).unbind(dim=2)
    rows, columns = torch.meshgrid(torch.arange(SIDE), torch.arange(SIDE), indexing="ij")
    away = torch.hypot(columns - column[:, :, None, None], rows - row[:, :, None, None])  # (count, 2, 24, 24)
    within = away < size[:, :, None, None]
    ring = within[:, 1] & (away[:, 1] > 2)
    classes = torch.where(within[:, 0], 1, torch.where(ring, 2, 0))
    images = (classes > 0) + 0.3 * torch.randn(classes.shape, generator=generator)
    return TensorDataset(images[:, None], classes)


def main() -> None:
    """Design a network, then ask it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/segmentation"))
    parser.add_argument("--latency", type=float, default=0.06, help="ms that one inference may take on the CPU")
    parser.add_argument("--quick", action="store_true", help="a few steps only, to see that it runs")
    chosen = parser.parse_args()

    torch.manual_seed(0)
    test = made_up(300, seed=2)
    run = proxyless.search(
        network=Net(),
        task=Segmentation(CLASSES),
        train=DataLoader(made_up(200 if chosen.quick else 1500, seed=0), batch_size=25, shuffle=True),
        valid=DataLoader(made_up(300, seed=1), batch_size=25, shuffle=True),
        test=DataLoader(test, batch_size=25),
        device="cpu",
        latency=chosen.latency,
        out=chosen.out,
        settings=QUICK if chosen.quick else LONG,
    )
    print("architecture:", run.result["architecture"])
    print(f"mean IoU {run.result['test_mean_iou']:.1%}, pixels {run.result['test_pixel_accuracy']:.1%}")
    images, _ = test[:1]
    for line in run.predict(images)[0].tolist()[::2]:
        print("".join(" o#"[index] for index in line))


if __name__ == "__main__":
    main()
