"""What every choice of a network runs on, found by running the network along a few paths.

A choice may run more than once, as the trunk of a Siamese network does, or in a candidate of another choice. What it
costs depends on that, so it is counted here and not assumed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.dropout import _DropoutNd
from torch.nn.parameter import is_lazy
from torch.utils._pytree import tree_leaves, tree_map

from proxyless.choice import Choice, Zero, changes_input
from proxyless.errors import ContractError
from proxyless.modules.inputs import Inputs, Shapes
from proxyless.modules.modes import evaluation

MOST_RUNS = 10_000
"""Runs of one choice in one forward pass after which it is taken to be without end."""

Runs = Mapping[str, tuple[Inputs, ...]]
"""What each choice was given, run by run."""


@dataclass(frozen=True)
class Inspection:
    """What the choices of a network run on.

    Args:
        runs: by choice; of one that some paths leave out, those of the first path that runs it.
        conditional: why the runs of a choice are not those of every path, by choice; empty for an ordinary network.
    """

    runs: Runs
    conditional: Mapping[str, str]

    def shapes(self) -> dict[str, Shapes]:
        """Shapes that each choice receives.

        Raises:
            ContractError: a choice is run on different shapes.
        """
        for name, runs in self.runs.items():
            if len({run.shapes for run in runs}) > 1:
                raise ContractError(f"choice {name} is run on different shapes: {[run.shapes for run in runs]}")
        return {name: runs[0].shapes for name, runs in self.runs.items()}

    def always(self) -> Runs:
        """The runs, sure to be those of every path.

        Raises:
            ContractError: the cost of a choice depends on what others take, so that no table of costs can hold it.
        """
        for name, why in self.conditional.items():
            raise ContractError(
                f"choice {name} {why}: its cost depends on another choice, which a table of costs, a sum over choices,"
                " cannot hold; search without costs, or make each combination a candidate of one choice"
            )
        return self.runs


def inspect(network: nn.Module, choices: Mapping[str, Choice], example: Inputs) -> Inspection:
    """Run ``network`` on ``example`` along paths that take every candidate, and note what each choice is given.

    The path, gates, modes, buffers and random generators are left as they were. Lazy modules take their shapes.

    Args:
        network: what is run.
        choices: of ``network``, by name.
        example: the arguments that it is run on.

    Raises:
        ContractError: names a choice that is never run or is run another number of times for other inputs, or a
            candidate that returns another shape than the others, changes its input, hands it on to what changes it or
            returns no tensor.
    """
    trial = _Trial(network, choices)
    with _undisturbed(network, choices):
        longest = max(len(choice) for choice in choices.values())
        found = [trial.run([min(k, len(choice) - 1) for choice in choices.values()], example) for k in range(longest)]
        for runs in _of_other_inputs(trial, example):
            trial.compare(found[0], runs)
        first = dict(found[0])
        for runs in found:
            first = dict(runs) | first
        for name in choices:
            if name not in first:
                first = dict(trial.run(_reaching(choices, name), example)) | first
            if name not in first:
                raise ContractError(f"choice {name} is never run by the network")
        for k in range(longest):
            _check_outputs(trial, [min(k, len(choice) - 1) for choice in choices.values()], example)
    conditional = {name: why for name in choices if (why := _conditional(name, choices, found))}
    return Inspection({name: first[name] for name in choices}, conditional)


class _Trial:
    """Runs a network; each choice notes what it is given, and at first tries all of its candidates on it."""

    def __init__(self, network: nn.Module, choices: Mapping[str, Choice]) -> None:
        self.network = network
        self.choices = choices
        self.tried: set[tuple[str, int]] = set()  # choices and the numbers of their runs
        self.runs: dict[str, tuple[Inputs, ...]] = {}
        self.trying = False
        self.handed_on: set[tuple[str, int]] = set()  # choices and their candidates that return their input itself

    def run(self, path: Sequence[int], example: Inputs) -> Runs:
        """What each choice is given along ``path``."""
        self.runs = {}
        for (name, choice), index in zip(self.choices.items(), path, strict=True):
            choice.active, choice.gating, choice.name = index, self, name
        self.network(*example.positional, **example.keywords)
        return self.runs

    def mix(self, choice: Choice, inputs: tuple[Any, ...], **keywords: Any) -> Tensor:
        """The output of the active candidate."""
        given = Inputs.of(inputs, keywords)
        if self.trying:  # inside a candidate that is not on the path
            return choice.run(choice.active, given)
        earlier = self.runs.get(choice.name, ())
        if len(earlier) == MOST_RUNS:
            raise ContractError(f"choice {choice.name} is run more than {MOST_RUNS:,} times in one forward pass")
        self.runs[choice.name] = (*earlier, given)
        if (choice.name, len(earlier)) not in self.tried:
            self.tried.add((choice.name, len(earlier)))
            self.try_all(choice, given)
        output = choice.run(choice.active, given)
        if isinstance(choice.candidate(choice.active), Zero) if choice.shortcut else given.hold(output):
            self.handed_on.add((choice.name, choice.active))
        return output

    def try_all(self, choice: Choice, given: Inputs) -> None:
        """Make sure that the candidates of ``choice`` can stand beside one another.

        Raises:
            ContractError: they return different shapes.
        """
        self.trying = True
        shapes = {op: tuple(self.try_one(choice, index, given).shape) for index, op in enumerate(choice.operations)}
        self.trying = False
        if choice.shortcut:
            shapes["the shortcut"] = tuple(given.tensors[0].shape)
        if len(set(shapes.values())) > 1:
            raise ContractError(f"candidates of choice {choice.name} return different shapes: {shapes}")

    @staticmethod
    def try_one(choice: Choice, index: int, given: Inputs) -> Tensor:
        """The output of one candidate.

        Raises:
            ContractError: it changes its input, be it past the version counters of the tensors.
        """
        before = given.copies()
        output = choice.run(index, given)
        if not given.equal(before):
            raise changes_input(choice.called(index))
        return output

    @staticmethod
    def compare(one: Runs, other: Runs) -> None:
        """Make sure that the runs for two inputs are the same.

        Raises:
            ContractError: names a choice that is run more often, or on other shapes, for one of them.
        """
        for name in {**one, **other}:
            first, second = one.get(name, ()), other.get(name, ())
            if _kind(first) != _kind(second):
                raise ContractError(
                    f"choice {name} is run {len(first)} times for one input and {len(second)} times for another, or on"
                    " other shapes: how often it runs must not depend on the data"
                )


def _of_other_inputs(trial: _Trial, example: Inputs) -> Iterator[Runs]:
    """The runs along the first path for inputs of other size and sign, as far as the network takes them."""
    for factor in (-1, 0.01, 3, 30):
        try:
            yield trial.run([0] * len(trial.choices), _scaled(example, factor))
        except ContractError:
            raise
        except (ArithmeticError, AssertionError, LookupError, RuntimeError, ValueError):
            continue  # an index that is out of range, for one; what the network does not take tells nothing


def _check_outputs(trial: _Trial, path: Sequence[int], example: Inputs) -> None:
    """Make sure that no candidate hands its input on to what changes it in place while others still need it.

    The output of a choice is a tensor of its own, but in the derived network it is the input itself.

    Raises:
        ContractError: names choice and candidate.
    """
    suspects = [(n, c) for (n, c), i in zip(trial.choices.items(), path, strict=True) if (n, i) in trial.handed_on]
    if not suspects:
        return
    outputs: list[tuple[Choice, Tensor, int]] = []

    def note(choice: Choice, args: Any, keywords: Any, output: Tensor) -> None:
        outputs.append((choice, output, output._version))

    def hand_on(choice: Choice, args: Any, keywords: Any, output: Tensor) -> Tensor:
        given = Inputs.of(args, keywords)
        return given.tensors[0] if choice.shortcut else choice.run(choice.active, given)

    def run(hook: Any) -> list[Any]:
        handles = [choice.register_forward_hook(hook, with_kwargs=True) for _, choice in suspects]
        try:
            with _undisturbed(trial.network, trial.choices):
                for choice, index in zip(trial.choices.values(), path, strict=True):
                    choice.active, choice.gating = index, None
                return tree_leaves(trial.network(*example.positional, **example.keywords))
        finally:
            for handle in handles:
                handle.remove()

    apart = run(note)
    changed = [choice for choice, output, version in outputs if output._version != version]
    if changed and not all(_same(one, other) for one, other in zip(apart, run(hand_on), strict=True)):
        choice = changed[0]
        taken = path[list(trial.choices).index(choice.name)]
        raise ContractError(
            f"candidate {choice.operations[taken]} of choice {choice.name} returns its input itself, which is then"
            " changed in place while the network still needs it: give what follows the choice, an activation for one,"
            " inplace=False"
        )


def _same(one: Any, other: Any) -> bool:
    return not isinstance(one, Tensor) or torch.equal(one.nan_to_num(), other.nan_to_num())


@contextmanager
def _undisturbed(network: nn.Module, choices: Mapping[str, Choice]) -> Iterator[None]:
    before = [(choice, choice.active, choice.gating, choice.ran) for choice in choices.values()]
    lazy = any(is_lazy(tensor) for tensor in (*network.parameters(), *network.buffers()))
    buffers = [(buffer, buffer.clone()) for buffer in network.buffers() if not is_lazy(buffer)]
    try:
        # What lazy modules draw for their weights stays drawn.
        with evaluation(network), torch.no_grad(), torch.random.fork_rng(enabled=not lazy):
            for part in network.modules():
                if isinstance(part, _DropoutNd) and part.inplace:
                    part.train()  # else what it changes in training is not seen
            yield
    finally:
        for choice, active, gating, ran in before:
            choice.active, choice.gating, choice.ran = active, gating, ran
        with torch.no_grad():
            for buffer, value in buffers:
                buffer.copy_(value)


def _scaled(example: Inputs, factor: float) -> Inputs:
    """Another example of the same shapes: numbers times ``factor``, whole numbers in another order."""

    def other(value: Any) -> Any:
        if not isinstance(value, Tensor) or value.dim() == 0:
            return value
        return value * factor if value.is_floating_point() else value.flip(-1)

    return Inputs(tree_map(other, example.values), example.names)


def _reaching(choices: Mapping[str, Choice], wanted: str) -> list[int]:
    """A path along which choice ``wanted`` runs, if it stands in candidates of others."""
    return [
        next(
            (i for i in range(len(choice)) if any(part is choices[wanted] for part in choice.candidate(i).modules())), 0
        )
        for choice in choices.values()
    ]


def _kind(runs: tuple[Inputs, ...]) -> list[Any]:
    return [[(tuple(tensor.shape), tensor.dtype) for tensor in run.tensors] for run in runs]


def _conditional(name: str, choices: Mapping[str, Choice], found: Sequence[Runs]) -> str | None:
    """Why the runs of choice ``name`` depend on the path, None where they do not."""
    for outer, choice in choices.items():
        for operation, candidate in choice.candidates.items():
            if any(part is choices[name] for part in candidate.modules()):
                return f"stands in candidate {operation} of choice {outer}"
    if len({str(_kind(runs.get(name, ()))) for runs in found}) > 1:
        return "is not run in the same way by every path"
    return None
