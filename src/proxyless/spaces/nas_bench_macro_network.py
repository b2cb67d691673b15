"""The over-parameterized network of the space of NAS-Bench-Macro."""

from __future__ import annotations

from torch import Tensor, nn

from proxyless.choice import Choice, Zero
from proxyless.spaces.nas_bench_macro import (
    CANDIDATES,
    HEAD,
    IDENTITY,
    MBCONVS,
    STAGES,
    STEM,
    Layer,
    NasBenchMacroSpace,
)


def _conv(inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> list[nn.Module]:
    return [
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(outputs),
    ]


def _candidate(layer: Layer, name: str) -> nn.Module:
    c, o, stride = layer.inputs, layer.outputs, layer.stride
    if name == IDENTITY:
        # Beside a shortcut the identity adds nothing.
        return Zero() if stride == 1 else nn.Sequential(*_conv(c, o, 1, stride))
    kernel, expansion = MBCONVS[name]
    middle = expansion * c
    expand, depthwise = _conv(c, middle, 1), _conv(middle, middle, kernel, stride, groups=middle)
    return nn.Sequential(*expand, nn.ReLU(), *depthwise, nn.ReLU(), *_conv(middle, o, 1))


class NasBenchMacroChoices(nn.Module):
    """The over-parameterized network of a :class:`NasBenchMacroSpace`; its choices are ``layer0`` to ``layer7``."""

    def __init__(self, space: NasBenchMacroSpace) -> None:
        super().__init__()
        self.stem = nn.Sequential(*_conv(space.channels, STEM, 3), nn.ReLU())
        self.layers = [layer.name for layer in space.layers()]
        for layer in space.layers():
            candidates = {name: _candidate(layer, name) for name in CANDIDATES}
            self.add_module(layer.name, Choice(shortcut=layer.stride == 1, **candidates))
        self.head = nn.Sequential(*_conv(STAGES[-1][0], HEAD, 1), nn.ReLU())
        self.classifier = nn.Linear(HEAD, space.classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        """x: (batch, channels, height, width) -> logits (batch, classes)."""
        x = self.stem(x)
        for layer in self.layers:
            x = getattr(self, layer)(x)
        logits: Tensor = self.classifier(self.head(x).mean(dim=(2, 3)))
        return logits
