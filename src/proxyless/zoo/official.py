"""The authors' file formats: networks as JSON and their checkpoints, read into ordinary modules and written again."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from proxyless import files
from proxyless.errors import ProxylessError
from proxyless.files.checkpoints import check_tensor, read_checkpoint
from proxyless.files.fields import Fields
from proxyless.spaces.tree_layers import PyramidTreeNet
from proxyless.zoo import timm_models
from proxyless.zoo.inverted import NEWER, OLDER, InvertedNetwork, read_inverted, write_inverted
from proxyless.zoo.trees import read_tree, write_tree

MOST_PARAMETERS = 10**8
"""Of a network that is read: the largest that the authors published has a tenth of it."""


def load_official(config_path: str | Path, weights_path: str | Path | None = None) -> nn.Module:
    """The network of a file in the authors' format, with the weights of one of their checkpoints, for evaluation.

    Args:
        config_path: JSON with ``first_conv``, ``blocks`` of MBConvs, ``feature_mix_layer`` and ``classifier`` (those of
            ProxylessNAS and the MobileNetV3 and ProxylessNAS ones of Once-for-all), or with the ``blocks`` of a
            tree-structured network and a ``classifier``.
        weights_path: what ``torch.save`` wrote of a state dict, or of a dict that holds it as ``state_dict``; the names
            may begin with ``module.``, and those of blocks may be of the older or the newer form. None for fresh
            weights.

    Returns:
        (batch, channels, height, width) -> (batch, classes): a timm EfficientNet where timm has the same layers,
        otherwise a module whose state dict has the authors' names.

    Raises:
        ProxylessError: one line that names the layer or the entry which is unknown, missing or of another shape.
    """
    network = from_config(files.read_json(config_path), source=str(config_path))
    if weights_path is not None:
        value = read_checkpoint(weights_path)
        state = value.get("state_dict", value) if isinstance(value, dict) else value
        try:
            if not isinstance(state, dict) or not state:
                raise ProxylessError(f"it holds no state dict but a {type(state).__name__}")
            load_official_state_dict(network, state)
        except ProxylessError as error:
            raise ProxylessError(f"{weights_path}: {error}") from None
    return network.eval()


def from_config(config: Any, *, source: str = "") -> nn.Module:
    """The network of a parsed file in the authors' format, with fresh weights; messages begin with ``source``."""
    file = Fields(config, "", source=source)
    with torch.device("meta"):  # nothing is known yet of the size that the file asks for
        network = network_from(file)
    size = sum(parameter.numel() for parameter in network.parameters())
    if size > MOST_PARAMETERS:
        raise file.problem(f"it has {size:.3g} parameters, and at most {MOST_PARAMETERS:g} are read")
    model = timm_models.timm_model(network) if isinstance(network, InvertedNetwork) else None
    return model or network_from(file)


def network_from(file: Fields) -> InvertedNetwork | PyramidTreeNet:
    """The network that the object of a file describes, with fresh weights, also where timm has the same layers."""
    return read_inverted(file) if "first_conv" in file else read_tree(file)


def official_config(network: nn.Module) -> dict[str, Any]:
    """``network`` as the JSON object of the authors' format.

    Raises:
        ProxylessError: it has layers that the format does not know.
    """
    own = _own(network)
    return write_tree(own) if isinstance(own, PyramidTreeNet) else write_inverted(own)


def official_state_dict(network: nn.Module) -> dict[str, Tensor]:
    """The weights of ``network`` under the authors' names; the tensors themselves, not copies.

    The names count blocks as :func:`official_config` lists them. Where blocks were removed from a timm model that came
    neither from :func:`load_official` nor from :func:`proxyless.zoo.build`, those that are there are counted.

    Raises:
        ProxylessError: it has layers that the format does not know.
    """
    return dict(zip(_own(network).state_dict(), network.state_dict().values(), strict=True))


def load_official_state_dict(network: nn.Module, state: Mapping[str, Any]) -> None:
    """Put weights under the authors' names into ``network``.

    ``num_batches_tracked`` may be missing. Once-for-all publishes networks of the newer form with checkpoints of the
    older one, so the names of blocks are understood in both.

    Raises:
        ProxylessError: an entry is missing, unknown, no tensor or of another shape; nothing is loaded then.
    """
    if state and all(isinstance(name, str) and name.startswith("module.") for name in state):
        state = {name.removeprefix("module."): tensor for name, tensor in state.items()}
    own, names = network.state_dict(), list(_own(network).state_dict())
    places = dict(zip(map(_newer, names), own, strict=True))
    found: dict[str, Any] = {}
    unknown = []
    for name, tensor in state.items():
        place = places.get(_newer(str(name)))
        if place is None or place in found:  # a block may be there under both names
            unknown.append(name)
        else:
            found[place] = tensor
    missing = [name for name, place in zip(names, own, strict=True) if place not in found and "num_batches" not in name]
    for what, which in (("lacks", missing), ("has an unknown", unknown)):
        if which:
            more = f" and {len(which) - 1} more" if len(which) > 1 else ""
            raise ProxylessError(f"the state dict {what} {which[0]!r}{more}: it is not of this network")
    for name, place in zip(names, own, strict=True):
        check_tensor(found.get(place, own[place]), own[place], repr(name))
    network.load_state_dict(own | found)


def _own(network: nn.Module) -> InvertedNetwork | PyramidTreeNet:
    """``network``, or for a timm model the network of its layers whose state dict has the authors' names."""
    if isinstance(network, PyramidTreeNet | InvertedNetwork):
        return network
    return timm_models.inverted_network(network)


def _newer(name: str) -> str:
    """The name of an entry as checkpoints of the newer form have it."""
    return re.sub(rf"^(blocks\.\d+)\.{OLDER.conv}\.", rf"\1.{NEWER.conv}.", name)
