"""An architecture as data: the candidate taken at each choice; and the compact network derived from a supernet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from torch import nn
from torch.nn.parameter import is_lazy

from proxyless import files
from proxyless.choice import Choice, settled
from proxyless.errors import ProxylessError, meant
from proxyless.files.fields import Fields
from proxyless.modules.copying import copied
from proxyless.supernet import Supernet


@dataclass(frozen=True)
class Architecture:
    """What was chosen: enough to rebuild the network in another process.

    Args:
        choices: name of the candidate taken, by name of the choice, in network order.
        space: name of the search space it belongs to (see :mod:`proxyless.spaces`), or "" for a module of one's own.
        arguments: what the space was made with.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> architecture = Architecture({"block1": "k5", "block2": "skip"})
        >>> path = Path(tempfile.mkdtemp()) / "architecture.json"
        >>> architecture.save(path)
        >>> Architecture.load(path) == architecture
        True
    """

    choices: Mapping[str, str]
    space: str = ""
    arguments: Mapping[str, Any] = field(default_factory=dict)

    def save(self, path: str | Path) -> None:
        """Write it as JSON."""
        files.write_json(path, asdict(self))

    @classmethod
    def load(cls, path: str | Path) -> Architecture:
        """Read what :meth:`save` wrote.

        Raises:
            ProxylessError: the file is missing or is no architecture.
        """
        value = files.read_json(path)
        if not isinstance(value, dict) or "choices" not in value:
            raise ProxylessError(f"{path}: not an architecture: it needs 'choices', a candidate's name for each choice")
        fields = Fields(value, "", source=f"{path}: not an architecture")
        arguments = fields.mapping("arguments") if "arguments" in fields else {}
        return cls(fields.texts("choices"), fields.text("space", ""), arguments)

    def path(self, supernet: Supernet) -> list[int]:
        """Its candidates as indices into the choices of ``supernet``.

        Raises:
            ProxylessError: the choices or candidates are not those of ``supernet``.
        """
        return indices(self.choices, {name: choice.operations for name, choice in supernet.choices.items()})


def architecture_of(supernet: Supernet, path: Sequence[int] | None = None) -> Architecture:
    """The architecture of ``path``, or of the most probable path (paper, section 3.2.1), of ``supernet``.

    Args:
        supernet: the network with choices.
        path: index of the candidate taken at each choice.

    Example:
        >>> from torch import nn
        >>> from proxyless import Choice, Supernet
        >>> supernet = Supernet(nn.Sequential(Choice(small=nn.Linear(4, 2), large=nn.Linear(4, 2))))
        >>> architecture_of(supernet, [1]).choices
        {'0': 'large'}
    """
    path = supernet.most_probable() if path is None else path
    names = {n: c.operations[i] for (n, c), i in zip(supernet.choices.items(), path, strict=True)}
    return Architecture(names)


def indices(choices: Mapping[str, str], candidates: Mapping[str, Sequence[str]]) -> list[int]:
    """Positions of the taken candidates among ``candidates``, the candidates' names of each choice.

    Raises:
        ProxylessError: a choice is missing or unknown, or has no such candidate.
    """
    missing, unknown = (
        [n for n in candidates if n not in choices],
        [n for n in choices if n not in candidates],
    )
    if missing or unknown:
        raise ProxylessError(
            f"the architecture does not fit the network: it lacks {missing[:3] or 'nothing'}"
            f" and has {unknown[:3] or 'nothing'} beside"
        )
    for name, operation in choices.items():
        if operation not in candidates[name]:
            known = f"it has {', '.join(candidates[name])}{meant(operation, candidates[name])}"
            raise ProxylessError(f"choice {name} has no candidate {operation!r}: {known}")
    return [list(candidates[name]).index(choices[name]) for name in candidates]


def derive(network: nn.Module, architecture: Architecture | Sequence[int]) -> nn.Module:
    """A copy of ``network`` (or of a supernet's) with every choice replaced by its candidate, weights included.

    Redundant paths are gone (paper, section 3.2.1): an ordinary module with no trace of the search.

    Args:
        network: a network with choices, or its supernet.
        architecture: what to take, as names or as the index of a candidate for each choice.

    Example:
        >>> from torch import nn
        >>> from proxyless import Choice, Zero
        >>> net = nn.Sequential(Choice(linear=nn.Linear(4, 4), skip=Zero(), shortcut=True), nn.Linear(4, 2))
        >>> derive(net, [1])
        Sequential(
          (0): Skip()
          (1): Linear(in_features=4, out_features=2, bias=True)
        )

    Raises:
        ProxylessError: the architecture is of another network, or a part that it takes cannot be copied or is a lazy
            module that has no weights yet.
    """
    supernet = network if isinstance(network, Supernet) else Supernet(network)
    path = architecture.path(supernet) if isinstance(architecture, Architecture) else list(architecture)
    taken = {id(choice): index for choice, index in zip(supernet.choices.values(), path, strict=True)}
    # Choices left out of the copy by naming their replacement in the memo: the unused candidates are never copied.
    memo: dict[int, Any] = {}

    def replace(module: nn.Module) -> None:
        for choice in module.modules():
            if isinstance(choice, Choice) and id(choice) not in memo:
                index = taken[id(choice)]
                candidate = settled(choice, index)
                _check_run(choice.called(index), candidate)
                replace(candidate)  # inner choices of a candidate before the outer one
                memo[id(choice)] = copied(candidate, memo, called=choice.called(index))

    replace(supernet.network)
    _check_run("the network", supernet.network)
    compact = copied(supernet.network, memo)
    assert not any(isinstance(module, Choice) for module in compact.modules())
    return compact


def _check_run(called: str, module: nn.Module) -> None:
    """Make sure that no lazy module of ``module``, apart from those in choices, waits for its first input."""
    parts = [module]
    while parts:
        part = parts.pop()
        if isinstance(part, Choice):  # whose taken candidate is looked at by itself
            continue
        if _waits(part):
            raise ProxylessError(
                f"{called} holds a {type(part).__name__} that was never run and has no weights yet: run"
                " supernet.input_shapes(example) first, which runs every candidate once"
            )
        parts += reversed(list(part.children()))


def _waits(module: nn.Module) -> bool:
    own = (*module._parameters.values(), *module._buffers.values())
    return any(tensor is not None and is_lazy(tensor) for tensor in own)
