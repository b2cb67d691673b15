"""A derived network of the MobileNet family as a timm model, rebuilt from a few numbers and timm's block strings."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from torch import nn


def build(arguments: Mapping[str, Any]) -> nn.Module:
    """A ``timm.models.efficientnet.EfficientNet`` with fresh weights.

    Args:
        arguments: ``arch_def`` (timm's block strings by stage, channels final), ``num_classes``, ``in_chans``,
            ``stem_size``, ``stem_stride``, ``num_features``, ``drop_rate`` and ``bn_eps``.
    """
    from timm.models._efficientnet_builder import decode_arch_def
    from timm.models.efficientnet import EfficientNet

    network = EfficientNet(
        decode_arch_def(arguments["arch_def"]),
        num_classes=arguments["num_classes"],
        in_chans=arguments["in_chans"],
        stem_size=arguments["stem_size"],
        fix_stem=True,
        num_features=arguments["num_features"],
        drop_rate=arguments["drop_rate"],
        act_layer=nn.ReLU6,
        norm_layer=partial(nn.BatchNorm2d, eps=arguments["bn_eps"]),
    )
    # timm's stem always has stride 2; small images are not reduced there.
    network.conv_stem.stride = (arguments["stem_stride"], arguments["stem_stride"])
    return network
