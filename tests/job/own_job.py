"""A job with a network and loaders of one's own, as a program: it can be made to kill itself at some batch."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

import proxyless
from proxyless import Choice, CostTable, LatencyTable, Zero

ROWS = {"first": {"k1": 0.1, "k3": 0.4, "skip": 0.0}, "second": {"wide": 0.3, "narrow": 0.2}}
DEVICE = {"name": "board", "runtime": "none", "runtime_version": "1", "machine": "a board", "batch": 1}
SHORT = {"search.warmup_epochs": 1, "search.epochs": 2, "training.epochs": 2, "search.architecture_every": 1}


class Net(nn.Module):
    """A convolution, two choices, dropout and a head: (batch, 1, 6, 6) -> (batch, outputs)."""

    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 4, 3, padding=1)
        self.first = Choice(k1=nn.Conv2d(4, 4, 1), k3=nn.Conv2d(4, 4, 3, padding=1), skip=Zero(), shortcut=True)
        self.second = Choice(wide=nn.Conv2d(4, 5, 3), narrow=nn.Conv2d(4, 5, 3, bias=False))
        self.head = nn.Sequential(nn.Dropout(0.2), nn.Linear(5, outputs))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(torch.relu(self.second(torch.relu(self.first(self.stem(x))))).mean(dim=(2, 3)))


class Noisy(Dataset):
    """Images with a level that is to be told, changed at random each time that they are read."""

    def __init__(self, count: int, seed: int, levels: bool) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.levels = torch.rand(count, generator=generator)
        self.images = torch.randn(count, 1, 6, 6, generator=generator) * 0.1 + self.levels[:, None, None, None]
        self.targets = self.levels if levels else (self.levels > 0.5).long()

    def __len__(self) -> int:
        return len(self.levels)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        return self.images[index] + 0.01 * torch.randn(1), self.targets[index]


class Killing(DataLoader):
    """Kills the process when so many batches have been asked for in it, all loaders together."""

    left = 10**9

    def __iter__(self):
        for batch in super().__iter__():
            Killing.left -= 1
            if not Killing.left:
                os.kill(os.getpid(), signal.SIGKILL)
            yield batch


def table(folder: Path) -> Path:
    """A made-up table of the network's latencies, as a file."""
    path = folder / "board.json"
    LatencyTable.of_cost(CostTable("ms", 0.1, ROWS), DEVICE).save(path)
    return path


def loaders(count: int = 64, *, levels: bool = False) -> dict[str, DataLoader]:
    train, valid, test = (Noisy(count // (1 if not seed else 2), seed, levels) for seed in range(3))
    return {
        "train": Killing(train, 16, shuffle=True),
        "valid": Killing(valid, 8, shuffle=True),
        "test": Killing(test, 16),
    }


def run(out: Path, device: Path, *, levels: bool = False, **more: object) -> proxyless.Run:
    given = {"network": Net(1 if levels else 2), **loaders(levels=levels), "device": str(device), "latency": 0.7}
    given |= {"task": "regression" if levels else "classification", "settings": SHORT, "quiet": True}
    return proxyless.search(**(given | more), out=out)


if __name__ == "__main__":
    Killing.left = int(sys.argv[3])
    run(Path(sys.argv[1]), Path(sys.argv[2]))
