"""The published networks: what is known of them, their architectures as data, and the networks themselves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from torch import nn

from proxyless import files
from proxyless.architecture import Architecture
from proxyless.errors import ProxylessError, meant
from proxyless.spaces.mobilenet import MobileNetSpace
from proxyless.spaces.tree import TreeSpace
from proxyless.zoo import timm_models

PAPER = "Cai, Zhu, Han: ProxylessNAS, ICLR 2019, arXiv:1812.00332"
HUB = "the authors' model card on PyTorch Hub (mit-han-lab/ProxylessNAS); not in the paper"


@dataclass(frozen=True)
class PublishedNetwork:
    """What is published of a network.

    Args:
        name: in :func:`build`.
        data: what it classifies.
        parameters: number of parameters.
        macs: multiply-accumulates of convolutions and classifier for one image.
        input_size: height and width of the image in px.
        top1: published accuracy of the authors' weights in percent.
        latencies_ms: published latency in ms by device and batch; empty where none is published.
        source: of the architecture, the accuracy and the latencies.
    """

    name: str
    data: str
    parameters: int
    macs: int
    input_size: int
    top1: float
    latencies_ms: Mapping[str, float]
    source: str = PAPER


def _latencies(*ms: float) -> Mapping[str, float]:
    """By device; without values for networks of which none are published."""
    devices = ("V100, batch 8", "Xeon E5-2640 v4, batch 1", "Pixel 1, batch 1")
    return MappingProxyType(dict(zip(devices, ms, strict=False)))


_NETWORKS = (
    PublishedNetwork("proxyless_cpu", "ImageNet", 4_361_648, 439_243_864, 224, 75.3, _latencies(7.4, 138.7, 116.0)),
    PublishedNetwork("proxyless_gpu", "ImageNet", 7_119_848, 465_260_160, 224, 75.1, _latencies(5.1, 204.9, 124.0)),
    PublishedNetwork("proxyless_mobile", "ImageNet", 4_080_512, 320_427_584, 224, 74.6, _latencies(7.2, 164.1, 78.0)),
    PublishedNetwork("proxyless_mobile_14", "ImageNet", 6_857_568, 580_883_408, 224, 76.7, _latencies(), HUB),
    PublishedNetwork("proxyless_cifar", "CIFAR-10", 5_731_530, 1_213_155_872, 32, 97.92, _latencies()),
)


def catalogue() -> tuple[PublishedNetwork, ...]:
    """The published networks."""
    return _NETWORKS


def architecture(name: str) -> Architecture:
    """The architecture of a published network, in its search space.

    Raises:
        ProxylessError: there is no such network.
    """
    data = {network.name: network.data for network in _NETWORKS}
    if name not in data:
        raise ProxylessError(f"no published network called {name!r}: there is {', '.join(data)}{meant(name, data)}")
    path = Path(__file__).with_name(f"{name}.json")
    if data[name] == "ImageNet":
        return Architecture.load(path)
    # 648 choices, so kept as one line of operations for each residual block.
    value = files.read_json(path)
    space = TreeSpace(**value["arguments"])
    taken = [operation for block in value["blocks"] for operation in block.split()]
    return space.architecture(dict(zip(space.choices(), taken, strict=True)))


def build(name: str, *, pretrained: bool = False) -> nn.Module:
    """A published network with fresh weights, (batch, 3, size, size) -> (batch, classes).

    The ImageNet networks are timm EfficientNets, as their search space builds them.

    Args:
        name: see :func:`catalogue`.
        pretrained: not possible, since no weights are shipped; the error says where they come from.

    Raises:
        ProxylessError: there is no such network, or ``pretrained`` was asked for.
    """
    found = architecture(name)
    if pretrained:
        raise ProxylessError(
            f"{name}: no weights are shipped: download the authors' checkpoint and config file"
            f" (github.com/mit-han-lab/proxylessnas) and call zoo.load_official('{name}.config', '{name}.pth')"
        )
    if found.space == TreeSpace.name:
        return TreeSpace(**found.arguments).build(found)
    network = MobileNetSpace(**found.arguments).build(found)
    timm_models.number_blocks(network, [True, *(taken != "skip" for taken in found.choices.values())])
    return network
