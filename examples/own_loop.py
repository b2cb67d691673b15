"""A search in a training loop of your own: any module with choices, any data, any cost.

python examples/own_loop.py            # scikit-learn's digits, well under a minute
python examples/own_loop.py --epochs 2
"""

from __future__ import annotations

import argparse
from itertools import cycle

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset, random_split

from proxyless import Choice, Supernet, Zero, derive
from proxyless.latency.device import device
from proxyless.latency.measure import measure_table
from proxyless.latency.timing.statistics import Effort
from proxyless.search.gradient import TwoPathUpdate
from proxyless.search.objective import BudgetLoss


def conv(inputs: int, outputs: int, kernel: int, stride: int = 1) -> nn.Module:
    """Convolution, batch norm, ReLU."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()
    )


class Net(nn.Module):
    """An ordinary network; wherever there is something to decide, it holds a Choice."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = conv(1, 16, 3)
        self.one = Choice(k1=conv(16, 16, 1), k3=conv(16, 16, 3), k5=conv(16, 16, 5), skip=Zero(), shortcut=True)
        self.down = Choice(k3=conv(16, 32, 3, stride=2), k5=conv(16, 32, 5, stride=2))
        self.two = Choice(k1=conv(32, 32, 1), k3=conv(32, 32, 3), k5=conv(32, 32, 5), skip=Zero(), shortcut=True)
        self.head = nn.Linear(32, 10)

    def forward(self, x: Tensor) -> Tensor:
        """x: (batch, 1, 8, 8) -> logits (batch, 10)."""
        return self.head(self.two(self.down(self.one(self.stem(x)))).mean(dim=(2, 3)))


def main() -> None:
    """Search, then show what was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=15)
    epochs = parser.parse_args().epochs
    torch.manual_seed(0)
    digits = load_digits()
    images = torch.tensor(digits.images, dtype=torch.float32)[:, None] / 16
    train, held_out = random_split(TensorDataset(images, torch.tensor(digits.target)), [0.8, 0.2])

    supernet = Supernet(Net())
    table = measure_table(supernet, (1, 8, 8), device("cpu"), effort=Effort(limit_s=15))
    budget_ms = (table.smallest() + table.largest()) / 2
    update = TwoPathUpdate(supernet, BudgetLoss(table, budget_ms, gain=0.05), learning_rate=0.02)
    optimizer = torch.optim.SGD(supernet.weights(), lr=0.05, momentum=0.9)
    criterion = nn.CrossEntropyLoss()

    valid = cycle(DataLoader(held_out, batch_size=64, shuffle=True))
    for epoch in range(epochs):
        for (x, y), other in zip(DataLoader(train, batch_size=64, shuffle=True), valid, strict=False):
            supernet.sample()
            loss = criterion(supernet(x), y)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            update.step(other, criterion)
        expected_ms = table.expected(supernet.probabilities()).item()
        print(f"epoch {epoch + 1}: loss {loss.item():.3f}, expected latency {expected_ms:.4f} ms of {budget_ms:.4f}")

    architecture = update.architecture()
    network = derive(supernet, architecture)
    print("architecture:", dict(architecture.choices))
    print(f"predicted {table.of(architecture):.4f} ms, {sum(p.numel() for p in network.parameters()):,} parameters")


if __name__ == "__main__":
    main()
