"""The section of the settings that chooses a search space: its name, and the settings of that space alone."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field, make_dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from proxyless.configuration import is_setting, merged, setting
from proxyless.errors import ProxylessError
from proxyless.spaces import SPACES
from proxyless.spaces.space import ImageSpace

if TYPE_CHECKING:
    from proxyless.architecture import Architecture

DEFAULT = "mobilenet"

_HELP = (
    "Search space: mobilenet, tree, nas-bench-macro, or one that another package or --import registers. Each has its"
    " own settings, which `--space NAME --help` shows."
)


@dataclass(frozen=True)
class SpaceSettings:
    """The name of a search space. For each space :func:`section` makes a class that has its settings beside it."""

    name: str = setting(DEFAULT, _HELP)

    def arguments(self) -> dict[str, Any]:
        """What is chosen of the arguments of the space; those that follow from others are left out."""
        values = {item.name: getattr(self, item.name) for item in dataclasses.fields(self)}
        return {name: value for name, value in values.items() if name != "name" and value is not None}

    def changed(self, values: Mapping[Any, Any], where: str) -> tuple[SpaceSettings, Mapping[Any, Any]]:
        """The settings of the space that ``values`` name, and the values to put in.

        See :class:`proxyless.configuration.Changing`. What was chosen for another space stays where the new space has
        such a setting too.

        Raises:
            ProxylessError: there is no such space, or a value is one of another space.
        """
        name = values.get("name", self.name)
        if name == self.name or not isinstance(name, str):
            return self, self._own(values, where)
        new = section(name)
        usual = section(self.name)
        chosen = {key: value for key, value in vars(self).items() if value != getattr(usual, key)}
        return new, new._own(chosen | dict(values), where)

    def _own(self, values: Mapping[Any, Any], where: str) -> dict[Any, Any]:
        """``values`` without those that leave a setting as it is.

        Null is the default also of a setting that cannot be null: files of earlier versions have it for the settings of
        all spaces.
        """
        own = {item.name: item.default for item in dataclasses.fields(self)}
        wanted = {}
        for key, value in values.items():
            owners = () if key in own else owners_of(key)
            if owners and value is not None:
                raise ProxylessError(
                    f"setting {where}{key} is one of the space {' and '.join(owners)}, and the space is {self.name}:"
                    " leave it away"
                )
            if not owners:
                wanted[key] = own[key] if key in own and value is None else value
        return wanted


def section(name: str = DEFAULT) -> SpaceSettings:
    """The settings of the space called ``name``, all at their defaults.

    Raises:
        ProxylessError: there is no such space.
    """
    return _section(SPACES.get(name))


def of_space(architecture: Architecture) -> SpaceSettings:
    """The settings of the space that an architecture names, with the values that its space was made with."""
    usual = section(architecture.space)
    own = {item.name for item in dataclasses.fields(usual)} - {"name"}
    chosen = {name: value for name, value in architecture.arguments.items() if name in own}
    made: SpaceSettings = merged(usual, chosen, "space.")
    return made


def owners_of(name: str) -> tuple[str, ...]:
    """The spaces, of those that are known without importing another package, that have a setting ``name``."""
    return tuple(space for space, kind in SPACES.registered().items() if name in _settings(kind))


@cache
def _section(kind: type[ImageSpace]) -> SpaceSettings:
    hints = typing.get_type_hints(kind)
    own = [
        (item.name, hints[item.name], field(default=item.default, metadata=item.metadata))
        for item in _settings(kind).values()
    ]
    name = ("name", str, setting(kind.name, _HELP))
    made: type[SpaceSettings] = make_dataclass(
        f"{kind.__name__}Settings", [name, *own], bases=(SpaceSettings,), frozen=True
    )
    return made()


def _settings(kind: type[ImageSpace]) -> dict[str, dataclasses.Field[Any]]:
    return {item.name: item for item in dataclasses.fields(kind) if is_setting(item)}
