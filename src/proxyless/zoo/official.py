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
from proxyless.zoo.inverted import NEWER, OLDER, InvertedNetwork, read_inverted
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
    config = files.read_json(config_path)
    try:
        network = from_config(config)
    except ProxylessError as error:
        raise ProxylessError(f"{config_path}: {error}") from None
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


def from_config(config: Any) -> nn.Module:
    """The network of a parsed file in the authors' format, with fresh weights; see :func:`load_official`."""
    with torch.device("meta"):  # nothing is known yet of the size that the file asks for
        network = network_from(Fields(config, ""))
    size = sum(parameter.numel() for parameter in network.parameters())
    if size > MOST_PARAMETERS:
        raise ProxylessError(f"the network: it has {size:.3g} parameters, and at most {MOST_PARAMETERS:g} are read")
    model = timm_models.timm_model(network.config) if isinstance(network, InvertedNetwork) else None
    return model or network_from(Fields(config, ""))


def network_from(file: Fields) -> InvertedNetwork | PyramidTreeNet:
    """The network that the object of a file describes, with fresh weights, also where timm has the same layers."""
    return InvertedNetwork(read_inverted(file)) if "first_conv" in file else read_tree(file)


def official_config(network: nn.Module) -> dict[str, Any]:
    """``network`` as the JSON object of the authors' format.

    Raises:
        ProxylessError: it has layers that the format does not know.
    """
    if isinstance(network, PyramidTreeNet):
        return write_tree(network)
    if isinstance(network, InvertedNetwork):
        return network.config
    return timm_models.config_of(network)


def official_state_dict(network: nn.Module) -> dict[str, Tensor]:
    """The weights of ``network`` under the authors' names; the tensors themselves, not copies.

    The names count blocks as :func:`official_config` lists them. Where blocks were removed from a timm model that came
    neither from :func:`load_official` nor from :func:`proxyless.zoo.build`, those that are there are counted.

    Raises:
        ProxylessError: it has layers that the format does not know.
    """
    own = network.state_dict()
    return {official: own[name] for official, name in _names(network).items()}


def load_official_state_dict(network: nn.Module, state: Mapping[str, Any]) -> None:
    """Put weights under the authors' names into ``network``.

    ``num_batches_tracked`` may be missing. Once-for-all publishes networks of the newer form with checkpoints of the
    older one, so the names of blocks are understood in both.

    Raises:
        ProxylessError: an entry is missing, unknown, no tensor or of another shape; nothing is loaded then.
    """
    if state and all(isinstance(name, str) and name.startswith("module.") for name in state):
        state = {name.removeprefix("module."): tensor for name, tensor in state.items()}
    names, own = _names(network), network.state_dict()
    other = {_other_form(name): name for name in names}
    # What is there in both forms stays, and is refused as unknown.
    state = {name if other.get(name, name) in state else other[name]: tensor for name, tensor in state.items()}
    missing = [name for name in names if name not in state and not name.endswith("num_batches_tracked")]
    unknown = [name for name in state if name not in names]
    for what, which in (("lacks", missing), ("has an unknown", unknown)):
        if which:
            more = f" and {len(which) - 1} more" if len(which) > 1 else ""
            raise ProxylessError(f"the state dict {what} {which[0]!r}{more}: it is not of this network")
    for name, tensor in state.items():
        check_tensor(tensor, own[names[name]], repr(name))
    network.load_state_dict(own | {names[name]: tensor for name, tensor in state.items()})


def _names(network: nn.Module) -> dict[str, str]:
    """For each entry of the authors' state dict the entry of ``network``'s."""
    if isinstance(network, PyramidTreeNet | InvertedNetwork):
        return {name: name for name in network.state_dict()}
    return timm_models.names(network)


def _other_form(name: str) -> str:
    """The name of an entry of a block in the other form of the authors' checkpoints."""
    one, another = (rf"^(blocks\.\d+)\.{form.conv}\." for form in (OLDER, NEWER))
    if re.match(one, name):
        return re.sub(one, rf"\1.{NEWER.conv}.", name)
    return re.sub(another, rf"\1.{OLDER.conv}.", name)
