"""Batches as the steps of a search take them, and batches of any other form with a function that runs them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor
from torch.utils._pytree import tree_map

from proxyless.errors import ContractError
from proxyless.supernet import Supernet

Forward = Callable[[Supernet, Any], tuple[Any, Any]]
"""(supernet, batch) -> (outputs, targets), as the criterion takes them."""


def pair(supernet: Supernet, batch: Any) -> tuple[Any, Any]:
    """The :data:`Forward` of a batch (inputs, targets): the supernet is given the inputs as they are.

    Raises:
        ContractError: the batch has another form.
    """
    if not isinstance(batch, tuple | list) or len(batch) != 2:
        size = f" of {len(batch)}" if isinstance(batch, tuple | list) else ""
        raise ContractError(
            f"a batch must be (inputs, targets), got a {type(batch).__name__}{size}: for others give a forward, which"
            " takes (supernet, batch) and returns (outputs, targets)"
        )
    inputs, targets = batch
    return supernet(inputs), targets


def detached(outputs: Any) -> Any:
    """The same outputs without their graph."""
    return tree_map(lambda value: value.detach() if isinstance(value, Tensor) else value, outputs)
