"""Flags made from the settings, and settings made from flags."""

from __future__ import annotations

import argparse
import dataclasses
import re
import typing
from collections.abc import Callable, Collection, Mapping, Sequence
from enum import Enum
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

from proxyless.cli.parsing import CommandParser
from proxyless.errors import ProxylessError, meant
from proxyless.job import settings
from proxyless.job.settings import Described, Settings
from proxyless.spaces.settings import DEFAULT, owners_of

SECTIONS = {
    "": "the job",
    "images": "images",
    "space": "search space",
    "measure": "measuring",
    "search": "search",
    "training": "training of the network that was found",
    "calibration": "int8 networks",
}

SHORT = {"images.size": "--image-size", "space.name": "--space"}
"""Flags that are not spelt as their setting: those of things that every command has."""

OF_THE_DATA = {"--channels": "the channels are those of the data", "--classes": "the classes are those of the data"}
"""Why flags of the commands without images have no effect in those that take some."""

METAVARS = {"data": "DATA", "device": "DEVICE", "latency": "MS", "images.size": "PX", "space.name": "NAME"}


def flag(name: str) -> str:
    """The flag of a setting, or of another thing that is chosen."""
    return SHORT.get(name, _spelt(name))


def add_settings(parser: CommandParser, sections: Collection[str], *, skip: Collection[str] = ()) -> None:
    """Add a flag for each setting of ``sections``, but none of ``skip``, and ``--config``.

    The settings of the space are those of the space that ``parser`` is made for.
    """
    chosen = Settings().replace({"space.name": parser.space})
    names = ", ".join(settings.recipes())
    text = f"YAML file of settings, or a recipe of the paper ({names}). Flags override it."
    parser.add_argument("--config", type=Path, metavar="FILE", help=text)
    groups = {name: parser.add_argument_group(title) for name, title in SECTIONS.items() if name in sections}
    if "space" in groups:
        groups["space"].description = f"Settings of the space {parser.space}; `--space NAME --help` shows another's."
        parser.elsewhere = partial(_of_another_space, parser.space)
    for item in settings.describe(chosen):
        section = item.name.rpartition(".")[0]
        if section in groups and item.name not in skip:
            _add(groups[section], item)


def has_space(parser: CommandParser) -> bool:
    """Whether the settings of a space are among the flags of ``parser``."""
    return any(action.dest == "space.name" for action in parser.flags().values())


def named_space(words: Sequence[str]) -> str:
    """The space that the words of a command name by ``--space``, or by the file of ``--config``.

    Raises:
        ProxylessError: the file is not readable, or a setting in it is wrong.
    """
    given: dict[str, str] = {}
    for word, after in pairwise([*words, ""]):
        name, equals, value = word.partition("=")
        given[name] = value if equals else after
    named = [given[name] for name in ("--space", _spelt("space.name")) if given.get(name)]
    if named:
        return named[-1]
    return settings.load(given["--config"]).space.name if given.get("--config") else DEFAULT


def _of_another_space(space: str, name: str) -> str | None:
    """Whose flag ``name`` is, if it is one of a space other than ``space``."""
    owners = owners_of(name.removeprefix("--space-").replace("-", "_")) if name.startswith("--space-") else ()
    return f"it is one of --space {' and '.join(owners)}, and the space is {space}" if owners else None


def add_format(parser: argparse.ArgumentParser) -> None:
    """Add the flags of what commands without images must be told of them."""
    size = next(item for item in settings.describe() if item.name == "images.size")
    text = "Height and width of the images in px. Default: those of the config, or 224."
    _add(parser, dataclasses.replace(size, help=text))
    text = "Channels of the images, 1 or 3. Default: 3."
    parser.add_argument("--channels", type=whole, metavar="N", help=text)
    parser.add_argument(
        "--classes", type=whole, metavar="N", help="Classes that images are told apart by. Default: 1000."
    )


def image_format(parsed: argparse.Namespace, chosen: Settings) -> dict[str, int]:
    """Classes, channels and size of the images, for commands that take none.

    They are as the flags say, or else as the config says, or else those of ImageNet.
    """
    return {
        "classes": 1000 if parsed.classes is None else parsed.classes,
        "channels": 3 if parsed.channels is None else parsed.channels,
        "size": 224 if chosen.images.size is None else chosen.images.size,
    }


def add_without_effect(parser: argparse.ArgumentParser, reasons: Mapping[str, str]) -> None:
    """Add flags of other commands which have no effect in this one, but may be left in a command that is changed.

    Args:
        parser: of the command.
        reasons: by flag, what stands in its place.
    """
    parser.set_defaults(without_effect=reasons)
    for name in reasons:
        parser.add_argument(name, dest=f"unused {name}", metavar="VALUE", help=argparse.SUPPRESS)


def remarks(parsed: argparse.Namespace) -> list[str]:
    """What was given that :func:`add_without_effect` added, in words."""
    given = [
        (name, why) for name, why in getattr(parsed, "without_effect", {}).items() if vars(parsed)[f"unused {name}"]
    ]
    return [f"{name} has no effect here: {why}" for name, why in given]


def chosen(parsed: argparse.Namespace) -> Settings:
    """The settings of ``--config`` with the flags put over them.

    Raises:
        ProxylessError: the file is not readable, or a setting is unknown or of the wrong type.
    """
    base = settings.load(parsed.config) if parsed.config else Settings()
    values = {
        name: None if value is _NULL else value
        for name, value in vars(parsed).items()
        if value is not None and ("." in name or name in _OF_THE_JOB)
    }
    try:
        return base.replace(values)
    except ProxylessError as error:
        found = re.match(r"setting ([\w.]+)", str(error))
        if found is None or found[1] not in values:
            raise
        raise ProxylessError(str(error).replace(found[0], flag(found[1]), 1)) from None


def whole(text: str) -> int:
    """The type of flags that take a whole number."""
    return _number(int, "a whole number", text)


def real(text: str) -> float:
    """The type of flags that take any number."""
    return _number(float, "a number", text)


_NULL = object()
"""A flag was given the text ``null``: none, in place of what the file says."""

_OF_THE_JOB = {item.name for item in settings.describe() if "." not in item.name}


def _spelt(name: str) -> str:
    return "--" + name.replace(".", "-").replace("_", "-")


def _add(group: Any, item: Described) -> None:
    shown = item.help
    if item.default not in (None, ""):
        shown += f" Default: {_text(item.default)}."
    kind = _plain_type(item.type)
    how: dict[str, Any] = {"dest": item.name, "help": shown.replace("%", "%%")}
    if kind is bool:
        group.add_argument(flag(item.name), action=argparse.BooleanOptionalAction, default=None, **how)
        return
    if isinstance(kind, type) and issubclass(kind, Enum):
        members = [str(member.value) for member in kind]
        how |= {"type": _one_of(members), "metavar": "{" + ",".join(members) + "}"}
    else:
        types: dict[Any, tuple[Callable[[str], Any], str]] = {
            int: (whole, "N"),
            float: (real, "X"),
            str: (str, "TEXT"),
            tuple: (whole, "N"),
        }
        function, metavar = types[kind]
        how |= {"type": function, "metavar": METAVARS.get(item.name, metavar)}
        if type(None) in typing.get_args(item.type) or item.name.startswith("space."):
            how["type"] = _or_null(function)
        if kind is tuple:
            how |= {"nargs": "+", "action": _Numbers}
    group.add_argument(flag(item.name), **how)
    if item.name in SHORT:
        group.add_argument(_spelt(item.name), **how | {"help": argparse.SUPPRESS})


class _Numbers(argparse.Action):
    """Keeps a list of numbers, or that there is to be none."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: str | None = None) -> None:
        if _NULL in values and len(values) > 1:
            parser.error(f"{option_string} takes numbers or null, not both")
        setattr(namespace, self.dest, _NULL if _NULL in values else values)


def _text(default: Any) -> str:
    if isinstance(default, bool):
        return "yes" if default else "no"
    if isinstance(default, Enum):
        default = default.value
    return " ".join(map(str, default)) if isinstance(default, tuple) else str(default)


def _number(kind: Callable[[str], Any], called: str, text: str) -> Any:
    try:
        if text.isascii():  # Python reads the digits of every script, which a page or a file may not mean
            return kind(text)
    except ValueError:
        pass
    quoted = text if len(text) <= 40 else f"{text[:40]}..."
    raise argparse.ArgumentTypeError(f"must be {called}, got {quoted!r}")


def _one_of(members: Collection[str]) -> Callable[[str], str]:
    def parsed(text: str) -> str:
        if text not in members:
            raise argparse.ArgumentTypeError(f"must be {' or '.join(members)}, got {text!r}{meant(text, members)}")
        return text

    return parsed


def _or_null(parse: Callable[[str], Any]) -> Callable[[str], Any]:
    return lambda text: _NULL if text == "null" else parse(text)


def _plain_type(hint: Any) -> Any:
    options = [option for option in typing.get_args(hint) if option is not type(None)]
    if typing.get_origin(hint) is tuple:
        return tuple
    return _plain_type(options[0]) if options else hint
