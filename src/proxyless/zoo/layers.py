"""Single layers of the authors' files, read and written: dataclasses whose fields have the names of the files."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from torch import nn

from proxyless.errors import ProxylessError
from proxyless.files.fields import WINDOW, Fields
from proxyless.spaces import tree_layers
from proxyless.spaces.tree_layers import (
    ACTIVATIONS,
    ConvLayer,
    DepthConvLayer,
    IdentityLayer,
    LinearLayer,
    PoolingLayer,
)

Object = dict[str, Any]
Spec = TypeVar("Spec")

KINDS = {kind.__name__: kind for kind in (ConvLayer, DepthConvLayer, PoolingLayer, IdentityLayer)}


def _count_or_none(file: Fields, key: str) -> int | None:
    return None if file.get(key) is None else file.count(key)


def _kernel(file: Fields, key: str) -> int:
    kernel, pools = file.count(key, most=WINDOW), file.kind == "PoolingLayer" and file.get("stride", 1) != 1
    if kernel % 2 == 0 and not pools:  # padding could not keep the size
        raise file.problem(f"{key} must be odd, got {kernel}")
    return kernel


def _rate(file: Fields, key: str) -> float:
    rate = file.number(key, 0)
    if rate >= 1:
        raise file.problem(f"{key} must be below 1, got {rate}")
    return rate


READERS: dict[str, Callable[[Fields, str], Any]] = {
    "in_channels": Fields.count,
    "out_channels": Fields.count,
    "in_features": Fields.count,
    "out_features": Fields.count,
    "kernel_size": _kernel,
    "stride": lambda file, key: file.count(key, 1, most=WINDOW),
    "dilation": lambda file, key: file.count(key, 1, most=WINDOW),
    "groups": lambda file, key: file.count(key, 1) if file.kind in KINDS else _count_or_none(file, key),
    "bias": lambda file, key: file.flag(key, file.kind == "LinearLayer"),
    "has_shuffle": Fields.flag,
    "use_bn": lambda file, key: file.flag(key, file.kind == "ConvLayer"),
    "use_se": Fields.flag,
    "expand_ratio": lambda file, key: None if key in file and file.get(key) is None else file.number(key, 6),
    "mid_channels": _count_or_none,
    "act_func": lambda file, key: file.one_of(key, list(ACTIVATIONS)),
    "ops_order": lambda file, key: file.one_of(key, (None, *tree_layers.ORDERS)) or "weight_bn_act",
    "pool_type": lambda file, key: file.one_of(key, ("avg", "max")),
    "dropout_rate": _rate,
}
"""How each field of a layer is read; where it may be missing, with its usual value."""


def read_spec(file: Fields, kind: type[Spec]) -> Spec:
    """Read an object of the files as the dataclass ``kind``, with the fields that it shares with the files."""
    names = [field.name for field in dataclasses.fields(kind)]  # type: ignore[arg-type]
    return kind(**{name: READERS[name](file, name) for name in names})


def read_layer(file: Fields, width: int | None, *kinds: str) -> IdentityLayer:
    """Read a layer of one of ``kinds``, or of any; ``width`` channels reach it, None for any number."""
    spec: IdentityLayer = read_spec(file, KINDS[file.kind_among("layer", kinds or tuple(KINDS))])
    if isinstance(spec, ConvLayer) and (spec.in_channels % spec.groups or spec.out_channels % spec.groups):
        channels = f"{spec.in_channels} and {spec.out_channels} channels"
        raise file.problem(f"{channels} do not divide into {spec.groups} groups")
    if isinstance(spec, DepthConvLayer) and file.count("groups", 1) != 1:
        raise file.problem("groups in a DepthConvLayer are not supported")
    if not isinstance(spec, ConvLayer | DepthConvLayer) and spec.out_channels != spec.in_channels:
        raise file.problem(f"a {file.kind} returns as many channels as it gets, got other out_channels")
    check_width(file, spec.in_channels, width)
    file.finish()
    return spec


def read_linear(file: Fields, width: int | None) -> LinearLayer:
    """Read the classifier; ``width`` channels reach it, None for any number."""
    file.kind_among("layer", ("LinearLayer",))
    spec = read_spec(file, LinearLayer)
    check_width(file, spec.in_features, width)
    file.finish()
    return spec


def write_layer(spec: IdentityLayer | LinearLayer) -> Object:
    """The object of the files for a layer."""
    written = {"name": type(spec).__name__, "use_bn": False, "act_func": None, "dropout_rate": 0}
    depthwise = {"groups": 1, "bias": False, "has_shuffle": False} if isinstance(spec, DepthConvLayer) else {}
    return written | dataclasses.asdict(spec) | depthwise


def spec_of(value: Object, kind: type[Spec]) -> Spec:
    """The layer of which :func:`write_layer` wrote ``value``."""
    return kind(**{field.name: value[field.name] for field in dataclasses.fields(kind)})  # type: ignore[arg-type]


def check_width(file: Fields, got: int, width: int | None) -> None:
    """Make sure that a layer takes as many channels as reach it."""
    if width is not None and got != width:
        raise file.problem(f"it takes {got} channels, but what comes before it returns {width}")


def blocks_of(file: Fields, *kinds: str, hint: str = "") -> Iterator[Fields]:
    """The blocks of a network, each of one of ``kinds``; the message that one is not ends with ``hint``."""
    for number, block in enumerate(file.children("blocks")):
        kind = "null" if block is None else block.kind
        if block is None or kind not in kinds:
            known = " or ".join(kinds)
            raise file.problem(f"blocks.{number}: unknown block kind {kind!r}: expected {known}{hint}")
        yield block


def norm_of(network: nn.Module) -> Object | None:
    """Momentum and eps of the first batch norm, as the files give them for all; None without any."""
    norms = (module for module in network.modules() if isinstance(module, nn.BatchNorm2d))
    return next(({"momentum": norm.momentum, "eps": norm.eps} for norm in norms), None)


def read_norm(file: Fields, usual_eps: float) -> Object:
    """Momentum and eps of all batch norms of a network; the usual ones where its object does not say them."""
    inner = file.optional("bn")
    if inner is None:
        return {"momentum": 0.1, "eps": usual_eps}
    norm = {"momentum": inner.number("momentum", 0.1), "eps": inner.number("eps", usual_eps)}
    inner.finish()
    return norm


def set_norm(network: nn.Module, norm: Object) -> None:
    """Give all batch norms this momentum and eps."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum, module.eps = norm["momentum"], norm["eps"]


def unknown_to_the_format(module: nn.Module) -> ProxylessError:
    """The error that a module cannot be written."""
    return ProxylessError(
        f"a {type(module).__name__} has layers that the authors' format does not know: it holds timm's MBConv networks"
        " with ReLU6, and what load_official reads"
    )
