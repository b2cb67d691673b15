"""Builds the network that a file in the authors' format describes, of whichever kind it is."""

from __future__ import annotations

from torch import nn

from proxyless.files.fields import Fields
from proxyless.spaces.tree_layers import PyramidTreeNet, initialise
from proxyless.zoo.official_inverted import read_inverted, usual_eps
from proxyless.zoo.official_modules import InvertedNetwork
from proxyless.zoo.official_tree import read_tree


def network_from(fields: Fields) -> InvertedNetwork | PyramidTreeNet:
    """The network a file describes, with fresh weights.

    Raises:
        ProxylessError: a layer of an unknown kind, a missing, malformed or unsupported field, or channels that do not
            fit together; names its place in the file.
    """
    network = read_inverted(fields) if "first_conv" in fields else read_tree(fields)
    initialise(network)
    usual = nn.BatchNorm2d(1)
    momentum, eps = usual.momentum, usual_eps(network) if isinstance(network, InvertedNetwork) else usual.eps
    if fields.get("bn") is not None:
        norm = fields.child("bn")
        momentum, eps = norm.number("momentum", momentum), norm.number("eps", eps)
        norm.finish()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum, module.eps = momentum, eps
    fields.finish()
    return network
