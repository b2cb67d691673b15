"""Flags made from the settings, and settings made from flags."""

from __future__ import annotations

import argparse
import typing
from collections.abc import Callable, Collection
from enum import Enum
from pathlib import Path
from typing import Any

from proxyless import settings
from proxyless.settings import Described, Settings

SECTIONS = {
    "": "the job",
    "images": "images",
    "space": "search space",
    "measure": "measuring",
    "search": "search",
    "training": "training of the network that was found",
}


def add_settings(parser: argparse.ArgumentParser, sections: Collection[str], *, skip: Collection[str] = ()) -> None:
    """Add a flag for each setting of ``sections``, and ``--config``."""
    names = ", ".join(settings.recipes())
    text = f"YAML file of settings, or a recipe of the paper ({names}); flags override it"
    parser.add_argument("--config", type=Path, metavar="FILE", help=text)
    groups = {name: parser.add_argument_group(title) for name, title in SECTIONS.items() if name in sections}
    for item in settings.describe():
        section = item.name.rpartition(".")[0]
        if section in groups and item.name not in skip:
            _add(groups[section], item)


def chosen(parsed: argparse.Namespace) -> Settings:
    """The settings of ``--config`` with the flags put over them.

    Raises:
        ProxylessError: the file is not readable, or a setting is unknown or of the wrong type.
    """
    base = settings.load(parsed.config) if parsed.config else Settings()
    flags = {name: value for name, value in vars(parsed).items() if name in _NAMES and value is not None}
    return base.replace({name: None if value is _NULL else value for name, value in flags.items()})


def image_size(parsed: argparse.Namespace, chosen: Settings) -> int:
    """Of commands that take no images: that of ``--image-size``, or the config's, or 224 px."""
    return next(size for size in (parsed.image_size, chosen.images.size, 224) if size is not None)


_NULL = object()
"""A flag was given the text ``null``: none, in place of what the file says."""

_NAMES = {item.name for item in settings.describe()}


def _add(group: Any, item: Described) -> None:
    flag = "--" + item.name.replace(".", "-").replace("_", "-")
    text = item.help
    if item.default not in (None, ""):
        shown = item.default.value if isinstance(item.default, Enum) else item.default
        shown = " ".join(map(str, shown)) if isinstance(shown, tuple) else shown
        text += f" (default: {shown})"
    text = text.replace("%", "%%")
    kind = _plain_type(item.type)
    if kind is bool:
        group.add_argument(flag, dest=item.name, action=argparse.BooleanOptionalAction, default=None, help=text)
    elif kind is tuple:
        group.add_argument(flag, dest=item.name, type=int, nargs="+", metavar="N", help=text)
    elif isinstance(kind, type) and issubclass(kind, Enum):
        group.add_argument(flag, dest=item.name, choices=[member.value for member in kind], help=text)
    else:
        parse: dict[Any, tuple[Callable[[str], Any], str]] = {int: (int, "N"), float: (float, "X"), str: (str, "TEXT")}
        function, metavar = parse[kind]
        if type(None) in typing.get_args(item.type):
            function = _or_null(function)
        metavar = {"data": "DATA", "device": "DEVICE", "latency": "MS"}.get(item.name, metavar)
        group.add_argument(flag, dest=item.name, type=function, metavar=metavar, help=text)


def _or_null(parse: Callable[[str], Any]) -> Callable[[str], Any]:
    def parsed(text: str) -> Any:
        return _NULL if text == "null" else parse(text)

    parsed.__name__ = parse.__name__  # argparse names it in its error
    return parsed


def _plain_type(hint: Any) -> Any:
    options = [option for option in typing.get_args(hint) if option is not type(None)]
    if typing.get_origin(hint) is tuple:
        return tuple
    return _plain_type(options[0]) if options else hint
