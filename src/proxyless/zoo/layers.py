"""Single layers of the authors' files, read and written: dataclasses whose fields have the names of the files."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

from torch import nn

from proxyless.errors import ProxylessError
from proxyless.files.fields import WINDOW, Fields
from proxyless.spaces.tree_layers import (
    ACTIVATIONS,
    ORDERS,
    ConvLayer,
    DepthConvLayer,
    IdentityLayer,
    LinearLayer,
    PoolingLayer,
)

Object = dict[str, Any]
Spec = TypeVar("Spec")

KINDS = {kind.__name__: kind for kind in (ConvLayer, DepthConvLayer, PoolingLayer, IdentityLayer)}


def _kernel(file: Fields, key: str) -> int:
    kernel, pools = file.count(key, most=WINDOW), file.kind == "PoolingLayer" and file.get("stride", 1) != 1
    if kernel % 2 == 0 and not pools:  # padding could not keep the size
        raise file.problem(f"{key} must be odd, got {kernel}")
    return kernel


def _rate(file: Fields, key: str) -> float:
    rate = file.number(key)
    if rate >= 1:
        raise file.problem(f"{key} must be below 1, got {rate}")
    return rate


READERS: dict[str, Callable[[Fields, str], Any]] = {
    "in_channels": Fields.count,
    "out_channels": Fields.count,
    "in_features": Fields.count,
    "out_features": Fields.count,
    "kernel_size": _kernel,
    "stride": partial(Fields.count, most=WINDOW),
    "dilation": partial(Fields.count, most=WINDOW),
    "groups": lambda file, key: None if file.kind not in KINDS and file.get(key) is None else file.count(key),
    "bias": Fields.flag,
    "has_shuffle": Fields.flag,
    "use_bn": Fields.flag,
    "use_se": Fields.flag,
    "expand_ratio": lambda file, key: None if file.get(key) is None else file.number(key),
    "mid_channels": lambda file, key: None if file.get(key) is None else file.count(key),
    "act_func": partial(Fields.one_of, options=tuple(ACTIVATIONS)),
    "ops_order": lambda file, key: file.one_of(key, (None, *ORDERS)) or "weight_bn_act",
    "pool_type": partial(Fields.one_of, options=("avg", "max")),
    "dropout_rate": _rate,
}
"""How each field of a layer is read where the file has it."""


def read_spec(file: Fields, kind: type[Spec], width: int | None, **usual: Any) -> Spec:
    """Read an object of the files as the dataclass ``kind``.

    Args:
        file: the object.
        kind: its fields have the names of the files.
        width: channels that reach the layer, None for any number.
        usual: fields that may be missing, where they differ from the defaults of ``kind``.
    """
    fields = dataclasses.fields(kind)  # type: ignore[arg-type]
    needed = {field.name for field in fields if field.default is dataclasses.MISSING} | {"kernel_size"}
    names = [field.name for field in fields if field.name in READERS and (field.name in file or field.name in needed)]
    found = {name: READERS[name](file, name) for name in names}
    check_width(file, found["in_features" if kind is LinearLayer else "in_channels"], width)
    file.finish()
    return kind(**usual | found)


def read_layer(file: Fields, width: int | None, *kinds: str) -> IdentityLayer:
    """Read a layer of one of ``kinds``, or of any; ``width`` channels reach it, None for any number."""
    kind = KINDS[file.kind_among("layer", kinds or tuple(KINDS))]
    if kind is DepthConvLayer and file.count("groups", 1) != 1:
        raise file.problem("groups in a DepthConvLayer are not supported")
    spec: IdentityLayer = read_spec(file, kind, width, use_bn=kind is ConvLayer, ops_order="weight_bn_act")
    if isinstance(spec, ConvLayer) and (spec.in_channels % spec.groups or spec.out_channels % spec.groups):
        channels = f"{spec.in_channels} and {spec.out_channels} channels"
        raise file.problem(f"{channels} do not divide into {spec.groups} groups")
    if not isinstance(spec, ConvLayer | DepthConvLayer) and spec.out_channels != spec.in_channels:
        raise file.problem(f"a {file.kind} returns as many channels as it gets, got other out_channels")
    return spec


def read_classifier(file: Fields, width: int | None) -> LinearLayer:
    """Read the classifier of a network; ``width`` channels reach it, None for any number."""
    inner = file.child("classifier")
    inner.kind_among("layer", ("LinearLayer",))
    return read_spec(inner, LinearLayer, width, ops_order="weight_bn_act")


def write_layer(spec: IdentityLayer | LinearLayer) -> Object:
    """The object of the files for a layer."""
    written = {"name": type(spec).__name__, "use_bn": False, "act_func": None, "dropout_rate": 0}
    depthwise = {"groups": 1, "bias": False, "has_shuffle": False} if isinstance(spec, DepthConvLayer) else {}
    return written | dataclasses.asdict(spec) | depthwise


def check_width(file: Fields, got: int, width: int | None) -> None:
    """Make sure that a layer takes as many channels as reach it."""
    if width is not None and got != width:
        raise file.problem(f"it takes {got} channels, but what comes before it returns {width}")


def read_norm(file: Fields, usual_eps: float) -> Object:
    """Momentum and eps of all batch norms of a network; the usual ones where its object does not say them."""
    inner = file.optional("bn") or Fields({}, "bn")
    norm = {"momentum": inner.number("momentum", 0.1), "eps": inner.number("eps", usual_eps)}
    inner.finish()
    return norm


def norm_of(network: nn.Module) -> Object | None:
    """Momentum and eps of the first batch norm, as the files give them for all; None without any."""
    norms = (module for module in network.modules() if isinstance(module, nn.BatchNorm2d))
    return next(({"momentum": norm.momentum, "eps": norm.eps} for norm in norms), None)


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
