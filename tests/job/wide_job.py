"""A job with large depthwise convolutions of five and seven columns, as a program that can be made to kill itself."""

from __future__ import annotations

import sys
from pathlib import Path

import own_job
import torch
from torch import nn

import proxyless
from proxyless import Choice, CostTable, LatencyTable

CHANNELS = 48


def depthwise(kernel: int) -> nn.Conv2d:
    return nn.Conv2d(CHANNELS, CHANNELS, kernel, padding=kernel // 2, groups=CHANNELS)


class Wide(nn.Module):
    """Batches of 16 x 48 x 30 x 30 reach the convolutions, which is enough for them to be timed."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, CHANNELS, 1), nn.Upsample(scale_factor=5))
        self.wide = Choice(k5=depthwise(5), k7=depthwise(7))
        self.head = nn.Linear(CHANNELS, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(torch.relu(self.wide(self.stem(x))).mean(dim=(2, 3)))


def run(out: Path) -> proxyless.Run:
    device = out.parent / "wide_board.json"
    if not device.exists():
        LatencyTable.of_cost(CostTable("ms", 0.1, {"wide": {"k5": 0.1, "k7": 0.2}}), own_job.DEVICE).save(device)
    torch.manual_seed(0)
    return own_job.run(out, device, network=Wide())


if __name__ == "__main__":
    own_job.Killing.left = int(sys.argv[2])
    run(Path(sys.argv[1]))
