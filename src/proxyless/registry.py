"""What can be added from outside is known by its name: search spaces, runtimes and tasks.

A thing registers itself when its module is imported. Which module that is, is known without importing it: of our own
from a table, of other packages from their entry points. So the names can be listed quickly, and a module is imported
only when what it registers is used.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cached_property
from importlib import import_module
from typing import TYPE_CHECKING, Generic, TypeVar

from proxyless.errors import ProxylessError, first_line, meant

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

T = TypeVar("T")

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]*")


class Registry(Generic[T]):
    """Things of one kind by name.

    Args:
        kind: what is registered, in words for messages, such as ``search space``.
        group: entry point group by which other packages name theirs, such as ``proxyless.spaces``. The name of an entry
            point is the name of the thing; its value is the module, or ``module:attribute``, that registers it.
        modules: the module that registers each thing of ours, by the name of the thing.
    """

    def __init__(self, kind: str, group: str, modules: Mapping[str, str] | None = None) -> None:
        self.kind = kind
        self.group = group
        self._modules = dict(modules or {})
        self._things: dict[str, T] = {}
        self._origins: dict[str, str] = {}

    def register(self, name: str, thing: T, *, module: str) -> None:
        """Make ``thing`` known by ``name``.

        Args:
            name: small letters, digits, points, hyphens and underscores.
            thing: what :meth:`get` returns.
            module: the module that registers it.

        Raises:
            ProxylessError: the name has another form, or another module has registered it.
        """
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise ProxylessError(
                f"{name!r} cannot be the name of a {self.kind}: use small letters, digits, '.', '-' and '_'"
            )
        owner = self._origins.get(name) or self._modules.get(name) or module
        if owner != module:
            raise ProxylessError(f"there is a {self.kind} called {name!r} already, of {owner}: choose another name")
        self._things[name] = thing
        self._origins[name] = module

    def names(self) -> list[str]:
        """All names: ours, then those of other packages and those registered in this process."""
        return list(dict.fromkeys([*self._modules, *self._things, *self._entry_points]))

    def ours(self) -> list[str]:
        """The names of the things of this package."""
        return list(self._modules)

    def get(self, name: str) -> T:
        """The thing called ``name``; the module that registers it is imported first where that is needed.

        Raises:
            ProxylessError: there is none, or the package that offers it cannot be imported.
        """
        if name not in self._things:
            self._import(name)
        return self._things[name]

    def registered(self) -> dict[str, T]:
        """Ours, and the things of other modules that have been imported so far, by name."""
        for module in dict.fromkeys(self._modules.values()):
            import_module(module)
        return {name: self._things[name] for name in self.names() if name in self._things}

    def broken(self) -> dict[str, str]:
        """The things of other packages that cannot be imported, and why; all others are registered afterwards."""
        reasons = {}
        for name in self._entry_points:
            try:
                self.get(name)
            except ProxylessError as error:
                reasons[name] = str(error)
        return reasons

    def origin(self, name: str) -> str | None:
        """The module that has to be imported for ``name`` to be known; None where it is known in every process."""
        return None if name in self._modules or name in self._entry_points else self._origins.get(name)

    def _import(self, name: str) -> None:
        if name in self._modules:
            import_module(self._modules[name])
        elif name in self._entry_points:
            self._import_from_package(self._entry_points[name])
        else:
            known = self.names()
            raise ProxylessError(f"no {self.kind} called {name!r}: there is {', '.join(known)}{meant(name, known)}")

    def _import_from_package(self, entry: EntryPoint) -> None:
        package = entry.dist.name if entry.dist else entry.value
        try:
            entry.load()
        except Exception as error:  # whatever it is, it is one line for the user
            raise ProxylessError(
                f"{self.kind} {entry.name} of the package {package} cannot be imported:"
                f" {type(error).__name__}: {first_line(error)}"
            ) from error
        if entry.name not in self._things:
            raise ProxylessError(
                f"the package {package} names a {self.kind} {entry.name} in {entry.value}, which registers none"
                " of this name"
            )

    @cached_property
    def _entry_points(self) -> dict[str, EntryPoint]:
        from importlib.metadata import entry_points  # not quick to import

        return {entry.name: entry for entry in entry_points(group=self.group) if entry.name not in self._modules}
