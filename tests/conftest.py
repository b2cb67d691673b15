"""What every test shares: one thread, and a small network with choices."""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
import torch
from command_line import TINY, proxyless
from torch import Tensor, nn

from proxyless import Choice, Zero


class TinyNet(nn.Module):
    """A convolution, choices of three and of two candidates, and a classifier: (batch, 2, 6, 6) -> (batch, 3)."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(2, 4, 3, padding=1)
        self.first = Choice(
            k1=nn.Sequential(nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4)),
            k3=nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4)),
            skip=Zero(),
            shortcut=True,
        )
        self.second = Choice(wide=nn.Conv2d(4, 5, 3), narrow=nn.Conv2d(4, 5, (3, 3), bias=False))
        self.head = nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.tanh(self.stem(x))
        x = self.second(torch.tanh(self.first(x)))
        return self.head(x.mean(dim=(2, 3)))


@pytest.fixture
def tiny_net() -> nn.Module:
    torch.manual_seed(0)
    return TinyNet()


@pytest.fixture
def tiny_batch() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(8, 2, 6, 6, generator=generator), torch.randint(0, 3, (8,), generator=generator)


@pytest.fixture(scope="session")
def config(tmp_path_factory):
    path = tmp_path_factory.mktemp("config") / "tiny.yaml"
    path.write_text(TINY)
    return path


@pytest.fixture(scope="session")
def finished(config, tmp_path_factory):
    run = tmp_path_factory.mktemp("runs") / "whole"
    return run, proxyless("search", "--config", config, "--out", run)
