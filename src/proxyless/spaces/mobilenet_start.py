"""A quick start for the supernet of the MobileNet space: one candidate learns first, the others take over from it.

Sampled uniformly from a random start, every candidate of a block speaks another language to the blocks after it, and
each is trained in one step of six or seven: hundreds of steps pass before the network learns anything at all (in the
paper the warm-up takes 40 epochs of ImageNet). Here the smallest MBConv of each block is trained alone at first, and
then every other candidate is given the same function: larger kernels hold the smaller one in their middle, wider
expansions hold its channels beside fresh ones that do not speak yet.
"""

from __future__ import annotations

import torch
from timm.models._efficientnet_blocks import InvertedResidual
from torch import nn

from proxyless.choice import Choice
from proxyless.supernet import Supernet


class MobileNetStart:
    """See the module; follows :class:`proxyless.supernet.SharedStart`."""

    def __init__(self, supernet: Supernet) -> None:
        self.supernet = supernet

    def path(self, uniform: list[int]) -> list[int]:
        """``uniform``, but with the smallest MBConv wherever it takes any."""
        choices = self.supernet.choices.values()
        return [
            i if not _blocks(c) or i not in _blocks(c) else _smallest(c) for c, i in zip(choices, uniform, strict=True)
        ]

    @torch.no_grad()
    def begin(self) -> None:
        """Blocks with a shortcut begin as the identity, so that a skipped block is missed by nobody."""
        for choice in self.supernet.choices.values():
            if choice.shortcut:
                for block in _blocks(choice).values():
                    block.bn3.weight.zero_()

    @torch.no_grad()
    def spread(self) -> None:
        """Give every MBConv the function of the smallest one of its choice."""
        for choice in self.supernet.choices.values():
            blocks = _blocks(choice)
            if not blocks:
                continue
            smallest = blocks[_smallest(choice)]
            for block in blocks.values():
                if block is not smallest:
                    _take_over(block, smallest)


def _blocks(choice: Choice) -> dict[int, InvertedResidual]:
    candidates = enumerate(choice.candidates.values())
    return {index: block for index, block in candidates if isinstance(block, InvertedResidual)}


def _smallest(choice: Choice) -> int:
    blocks = _blocks(choice)
    return min(blocks, key=lambda index: sum(p.numel() for p in blocks[index].parameters()))


def _take_over(block: InvertedResidual, other: InvertedResidual) -> None:
    """Make ``block`` compute what ``other`` computes, whose kernel and expansion are at most its own."""
    hidden = other.conv_dw.weight.shape[0]
    margin = (block.conv_dw.weight.shape[-1] - other.conv_dw.weight.shape[-1]) // 2
    block.conv_pw.weight[:hidden] = other.conv_pw.weight
    block.conv_dw.weight[:hidden] = nn.functional.pad(other.conv_dw.weight, (margin,) * 4)
    block.conv_pwl.weight[:, :hidden] = other.conv_pwl.weight
    block.conv_pwl.weight[:, hidden:] = 0
    for norm, source in ((block.bn1, other.bn1), (block.bn2, other.bn2)):
        norm.weight[:hidden] = source.weight
        norm.bias[:hidden] = source.bias
    block.bn3.weight.copy_(other.bn3.weight)
    block.bn3.bias.copy_(other.bn3.bias)
