"""Modules are copied in whatever state they are."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, TypeVar

from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.overrides import TorchFunctionMode

from proxyless.errors import ProxylessError, first_line

Module = TypeVar("Module", bound=nn.Module)


def copied(module: Module, memo: dict[int, Any] | None = None, *, called: str = "the network") -> Module:
    """Make a deep copy, also of a module that holds a tensor with a graph; the copy of that tensor has none.

    Such tensors are what ``torch.nn.utils.weight_norm``, ``spectral_norm`` and ``prune`` leave behind, which make the
    weight anew in each forward pass, and whatever a module keeps of its last one.

    Args:
        module: the module.
        memo: as :func:`copy.deepcopy` takes it.
        called: what ``module`` is called in messages.

    Raises:
        ProxylessError: a part cannot be copied; names it.
    """
    try:
        with _WithoutGraph():
            result = copy.deepcopy(module, memo)
    except Exception as error:  # of whatever kind the part that cannot be copied raises
        name, part = _culprit(module)
        what = f"{name} of {called}" if name else called
        raise ProxylessError(
            f"{what} cannot be copied ({first_line(error)}): let {type(part).__name__} hold nothing but tensors and"
            " plain values; of norms of weights, those of torch.nn.utils.parametrizations work"
        ) from error
    for part in result.modules():
        if parametrize.is_parametrized(part):
            # Each parametrized module has a class of its own, which loses its properties with the parametrization.
            kind = type(part)
            own = {name: value for name, value in vars(kind).items() if name not in ("__dict__", "__weakref__")}
            part.__class__ = type(kind.__name__, kind.__bases__, own)
    return result


def unparametrized(module: nn.Module) -> nn.Module:
    """``module``, or a copy in evaluation mode whose weights are as its parametrizations make them, which it lacks."""
    if not any(parametrize.is_parametrized(part) for part in module.modules()):
        return module
    result = copied(module).eval()
    for part in list(result.modules()):
        if parametrize.is_parametrized(part):
            for name in list(part.parametrizations):  # type: ignore[arg-type]  # a dict of modules
                parametrize.remove_parametrizations(part, name, leave_parametrized=True)
    return result


class _WithoutGraph(TorchFunctionMode):
    """Copies of tensors that are no leaves of a graph, which PyTorch refuses to copy, are leaves."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func is Tensor.__deepcopy__ and not args[0].is_leaf:
            tensor, memo = args
            memo[id(tensor)] = tensor.detach().clone()
            return memo[id(tensor)]
        return func(*args, **(kwargs or {}))


def _culprit(module: nn.Module) -> tuple[str, nn.Module]:
    """The innermost part of ``module`` that cannot be copied, with its name."""
    for name, part in reversed(list(module.named_modules())):
        try:
            with _WithoutGraph():
                copy.deepcopy(part)
        except Exception:
            return name, part
    return "", module
