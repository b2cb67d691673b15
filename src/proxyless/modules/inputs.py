"""The arguments of one run of a choice: tensors and other values, by position and by keyword."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from proxyless.errors import ContractError

Shapes = tuple[tuple[int, ...], ...]
"""Shapes of the tensors one module receives, batch dimension included."""


def first_tensor(positional: Iterable[Any], keywords: Mapping[str, Any]) -> Tensor:
    """The first tensor among the arguments of a module."""
    return next(value for value in (*positional, *keywords.values()) if isinstance(value, Tensor))


def _bits(tensor: Tensor) -> Tensor:
    """The bytes of a tensor of whatever type, among which a NaN equals itself."""
    return tensor.detach().reshape(-1).view(torch.uint8)


class Slot:
    """A mark in the place of a tensor that is kept elsewhere."""


@dataclass(frozen=True)
class Inputs:
    """The arguments of one run.

    Args:
        values: those by position, then those by keyword.
        names: of the keywords, which belong to the last of the values.
    """

    values: tuple[Any, ...]
    names: tuple[str, ...] = ()

    @classmethod
    def of(cls, positional: Iterable[Any], keywords: Mapping[str, Any]) -> Inputs:
        """The arguments as a function is given them."""
        return cls((*positional, *keywords.values()), tuple(keywords))

    @property
    def positional(self) -> tuple[Any, ...]:
        return self.values[: len(self.values) - len(self.names)]

    @property
    def keywords(self) -> dict[str, Any]:
        return dict(zip(self.names, self.values[len(self.values) - len(self.names) :], strict=True))

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        return tuple(value for value in self.values if isinstance(value, Tensor))

    @property
    def shapes(self) -> Shapes:
        return tuple(tuple(tensor.shape) for tensor in self.tensors)

    def first(self, owner: str) -> Tensor:
        """The first tensor: what a shortcut adds, and what has the shape of a zero.

        Raises:
            ContractError: there is none, or tensors are hidden in a list, tuple or dict, which ``owner`` is told.
        """
        for value in self.values:
            if isinstance(value, list | tuple | dict) and any(isinstance(leaf, Tensor) for leaf in tree_leaves(value)):
                raise ContractError(
                    f"{owner} is given a {type(value).__name__} that holds tensors: give it each tensor as an argument"
                    " of its own"
                )
        if not self.tensors:
            found = ", ".join(type(value).__name__ for value in self.values) or "nothing"
            raise ContractError(f"{owner} is given {found}: one argument at least must be a tensor")
        return self.tensors[0]

    def emptied(self) -> Inputs:
        """The same arguments with marks in the place of tensors, where :meth:`filled` puts tensors in again."""
        return Inputs(tuple(Slot if isinstance(value, Tensor) else value for value in self.values), self.names)

    def filled(self, tensors: Iterable[Tensor]) -> Inputs:
        """The same arguments with ``tensors`` in the places that :meth:`emptied` marked."""
        others = iter(tensors)
        return Inputs(tuple(next(others) if value is Slot else value for value in self.values), self.names)

    def versions(self) -> list[int]:
        """Counters that grow when a tensor, or a view of it, is changed in place; none while a compiler traces."""
        if torch.compiler.is_compiling():
            return []
        return [0 if tensor.is_inference() else tensor._version for tensor in self.tensors]

    def copies(self) -> Inputs:
        """The same arguments with copies of the tensors."""
        return self.emptied().filled(tensor.detach().clone() for tensor in self.tensors)

    def equal(self, other: Inputs) -> bool:
        """Whether the tensors hold the same bytes as those of ``other``, which has tensors of the same shapes."""
        pairs = zip(self.tensors, other.tensors, strict=True)
        dense = [pair for pair in pairs if pair[0].layout == torch.strided and not pair[0].is_meta]
        return all(torch.equal(_bits(one), _bits(another)) for one, another in dense)

    def hold(self, output: Tensor) -> bool:
        """Whether ``output`` lies in the memory of one of the tensors; False while a compiler traces."""
        if torch.compiler.is_compiling():
            return False
        place = output.untyped_storage().data_ptr()
        return any(tensor.untyped_storage().data_ptr() == place for tensor in self.tensors)

    def bound(self, module: nn.Module) -> nn.Module:
        """``module`` as one that takes the tensors alone, by position, with the other arguments as they are here."""
        plain = not self.names and len(self.tensors) == len(self.values)
        return module if plain else Bound(module, self)


class Bound(nn.Module):
    """A module together with the arguments of a run that are no tensors."""

    def __init__(self, module: nn.Module, inputs: Inputs) -> None:
        super().__init__()
        self.module = module
        self.inputs = inputs.emptied()

    def forward(self, *tensors: Tensor) -> Any:
        """The module's output."""
        inputs = self.inputs.filled(tensors)
        return self.module(*inputs.positional, **inputs.keywords)
