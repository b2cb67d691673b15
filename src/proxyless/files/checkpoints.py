"""Files of tensors that anybody may have written are read without running any code that they hold."""

from __future__ import annotations

import math
import pickle
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from proxyless.errors import ProxylessError, first_line, short
from proxyless.files.reading import opened


def read_checkpoint(path: str | Path) -> Any:
    """Read the tensors and plain values that ``torch.save`` wrote, onto the CPU.

    Raises:
        ProxylessError: the file is missing, is no checkpoint, holds anything that would have to be run, or unpacks to
            more than its size.
    """
    with opened(path) as file:
        try:
            if zipfile.is_zipfile(file):
                file.seek(0)
                size = sum(item.file_size for item in zipfile.ZipFile(file).infolist())
                if size > 2 * file.seek(0, 2) + 2**20:
                    raise ProxylessError(f"{path}: unpacks to {size / 2**20:,.0f} MiB: not as torch.save writes it")
            file.seek(0)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of kinds of tensors that are refused afterwards
                return torch.load(file, map_location="cpu", weights_only=True)
        except ProxylessError:
            raise
        except pickle.UnpicklingError as error:
            reason = first_line(error).split(".")[0]
        except Exception as error:  # zip, pickle and torch each raise their own kinds for what is no checkpoint
            reason = first_line(error)
    raise ProxylessError(f"{path}: not a checkpoint of plain tensors, as torch.save writes them ({reason[:120]})")


def read_safetensors(path: str | Path) -> dict[str, Tensor]:
    """Read the tensors in a safetensors file, onto the CPU.

    Raises:
        ProxylessError: the file is missing, damaged or no such file.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    with opened(path) as file:
        size = file.seek(0, 2)
        file.seek(0)
        header = int.from_bytes(file.read(8), "little")
        if not 2 <= header <= size - 8:  # not read as a whole then, however large it is
            raise ProxylessError(f"{path}: not readable as safetensors (it does not begin with a header)")
        # Read here, as the library takes no name that is not UTF-8.
        file.seek(0)
        try:
            content = file.read()
        except MemoryError:
            raise ProxylessError(f"{path}: its {size / 2**20:,.0f} MiB do not fit into memory") from None
    try:
        return load(content)
    except (SafetensorError, OSError, MemoryError, KeyError, TypeError, ValueError, RuntimeError) as error:
        reason = first_line(error)
    raise ProxylessError(f"{path}: not readable as safetensors ({reason})")


def check_tensor(value: Any, wanted: Tensor, where: str) -> None:
    """Make sure that ``value`` can be put in the place of ``wanted``.

    Raises:
        ProxylessError: it is no tensor with values, or of another shape or kind.
    """
    if not isinstance(value, Tensor):
        raise ProxylessError(f"{where} is no tensor but a {type(value).__name__}")
    if value.shape != wanted.shape:
        raise ProxylessError(f"{where} has shape {tuple(value.shape)}, the network needs {tuple(wanted.shape)}")
    dense = value.layout is torch.strided and not value.is_quantized and value.device.type != "meta"
    if not dense or value.is_floating_point() != wanted.is_floating_point() or value.is_complex():
        raise ProxylessError(f"{where} holds {value.dtype} ({value.layout}) and not {wanted.dtype}")
    if value.is_floating_point() and not bool(torch.isfinite(value).all()):
        raise ProxylessError(f"{where} holds values that are not finite")


def check_state(found: Any, wanted: Any, where: str = "") -> None:
    """Make sure that ``found`` is made like ``wanted``: with its names, shapes and kinds of numbers.

    The ``state`` of an optimizer, which is empty at first, is left to :func:`load_optimizer`.

    Raises:
        ProxylessError: it is not; names the place.
    """
    place = where or "it"
    if isinstance(wanted, Tensor):
        check_tensor(found, wanted, place)
    elif isinstance(wanted, Mapping):
        names = list(found) if isinstance(found, Mapping) else None
        if names is None or set(names) != set(wanted):
            unlike = "" if names is None else sorted(map(str, set(names) ^ set(wanted)))[:3]
            raise ProxylessError(f"{place} holds {f'other entries: {unlike}' if unlike else short(found)}")
        optimizer = set(wanted) == {"state", "param_groups"}
        for name, value in wanted.items():
            if not (optimizer and name == "state"):
                check_state(found[name], value, f"{where}.{name}" if where else str(name))
    elif isinstance(wanted, list | tuple):
        if not isinstance(found, list | tuple) or len(found) != len(wanted):
            raise ProxylessError(f"{place} must be a list of {len(wanted)}, got {short(found)}")
        for number, value in enumerate(wanted):
            check_state(found[number], value, f"{place}.{number}")
    elif isinstance(wanted, bool | str | None):
        if type(found) is not type(wanted):
            raise ProxylessError(f"{place} must be like {wanted!r}, got {short(found)}")
    elif isinstance(wanted, int):
        if isinstance(found, bool) or not isinstance(found, int) or not 0 <= found < 2**63:
            raise ProxylessError(f"{place} must be a whole number of at least 0, got {short(found)}")
    elif isinstance(found, bool) or not isinstance(found, int | float) or not math.isfinite(found):
        raise ProxylessError(f"{place} must be a finite number, got {short(found)}")


def load_optimizer(optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Put ``state`` into ``optimizer``, if it is of the same parameters.

    Raises:
        ProxylessError: it is of other parameters, or what it remembers of one is of another shape.
    """
    before = optimizer.state_dict()["param_groups"]
    check_state(state, {"state": {}, "param_groups": before}, "optimizer")
    # In another order, what is remembered of one parameter would be taken for that of another.
    if any(list(found["params"]) != own["params"] for found, own in zip(state["param_groups"], before, strict=True)):
        raise ProxylessError("optimizer.param_groups are of other parameters")
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    if not isinstance(state["state"], dict):
        raise ProxylessError(f"optimizer.state holds {short(state['state'])}")
    for number, kept in state["state"].items():
        place = f"optimizer.state.{number}"
        if not isinstance(number, int) or not 0 <= number < len(parameters) or not isinstance(kept, dict):
            raise ProxylessError(f"{place} is of no parameter")
        for name, value in kept.items():
            if isinstance(value, Tensor):
                wanted = parameters[number].detach().cpu() if value.ndim else torch.zeros(())
                check_tensor(value, wanted, f"{place}.{name}")
            elif value is not None:
                raise ProxylessError(f"{place}.{name} must be a tensor, got {short(value)}")
    optimizer.load_state_dict(state)
