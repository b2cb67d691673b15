"""What a user adds from outside: a search space, a runtime with a device, a task and a metric."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from proxyless import Choice, Metric, Task, register_metric, register_runtime, register_space, register_task
from proxyless.latency.device import Device
from proxyless.spaces import ImageSpace, setting


@register_space("striped")
@dataclass(frozen=True)
class StripedSpace(ImageSpace):
    """A chain of layers, each with or without a stripe."""

    stripes: int = setting(2, "Layers that may have a stripe.", least=1, most=5)

    def network(self) -> nn.Module:
        layers = [
            Choice(plain=nn.Conv2d(4, 4, 1), striped=nn.Conv2d(4, 4, (1, 3), padding=(0, 1)))
            for _ in range(self.stripes)
        ]
        head = [nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(16, self.classes)]
        return nn.Sequential(nn.Conv2d(self.channels, 4, 1), *layers, *head)


@register_runtime("traced", title="Traced PyTorch", packages=["torch"], devices=[Device("cpu-traced", "traced")])
class TracedRuntime:
    """Runs the file of a traced module, so that it is timed in processes of their own."""

    def version(self) -> str:
        return str(torch.__version__)

    def convert(self, module: nn.Module, inputs: Sequence[Tensor], device: Device) -> bytes:
        import io

        content = io.BytesIO()
        torch.jit.save(torch.jit.trace(module.eval(), tuple(inputs)), content)
        return content.getvalue()

    def prepare(self, module: nn.Module, inputs: Sequence[Tensor], device: Device) -> Traced:
        return Traced(module.eval(), inputs)

    def load(self, model: Path, inputs: Sequence[np.ndarray], device: Device) -> Traced:
        return Traced(torch.jit.load(str(model)), [torch.from_numpy(x) for x in inputs])


class Traced:
    def __init__(self, module: Any, inputs: Sequence[Tensor]) -> None:
        self.module, self.inputs = module, inputs

    def times_ms(self, count: int) -> np.ndarray:
        self.outputs()
        return np.full(count, 0.5)

    def outputs(self) -> list[np.ndarray]:
        with torch.no_grad():
            return [self.module(*self.inputs).numpy()]


def _right(outputs: Tensor, targets: Tensor) -> Tensor:
    return (outputs.round() == targets).float().flatten()


EXACT = register_metric(Metric.mean("counted_right", _right, higher_is_better=True))


@register_task
class Counting(Task):
    """How many there are of something."""

    name = "counted"
    metrics = ("counted_right",)

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return nn.functional.mse_loss(outputs, targets)
