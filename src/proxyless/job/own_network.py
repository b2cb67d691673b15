"""A network with choices and loaders of one's own, in the form in which the stages of a job take space and data."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Sized
from dataclasses import dataclass
from itertools import islice
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from proxyless import files
from proxyless.architecture import Architecture, derive
from proxyless.errors import ContractError, ProxylessError, first_line, short
from proxyless.files.checkpoints import check_state, read_checkpoint
from proxyless.job.model_files import COMPARED, HELD_OUT, Samples
from proxyless.job.resolved import ResolvedSettings
from proxyless.job.run_folder import RunFolder
from proxyless.modules.copying import copied
from proxyless.spaces import PlacedOperator
from proxyless.supernet import SharedStart, Supernet
from proxyless.tasks import Task


class Loader(Sized, Iterable[Any], Protocol):
    """Batches of any form that the task takes, such as a :class:`torch.utils.data.DataLoader`; each pass is one epoch.

    What is random in a pass is drawn from PyTorch's global generator, which is seeded before it.
    """


@dataclass(frozen=True)
class OwnNetwork:
    """A module with choices as a search space of its own.

    Args:
        module: the network, which is copied and never changed; the weights it has are those that search and training
            begin with.
        input_shape: of one sample.
    """

    module: nn.Module
    input_shape: tuple[int, ...]
    name: str = "own network"

    def network(self) -> nn.Module:
        """A copy of the module."""
        return copied(self.module)

    def build(self, architecture: Architecture) -> nn.Module:
        """The compact network of an architecture, with the weights of the module."""
        return derive(self.module, architecture)

    def architecture(self, choices: Mapping[str, str]) -> Architecture:
        """Choices as an architecture, which names no space."""
        return Architecture(choices)

    def describe(self, architecture: Architecture) -> str:
        """The candidates taken, by choice."""
        return " | ".join(f"{name} {operation}" for name, operation in architecture.choices.items())

    def operators(self) -> Sequence[PlacedOperator]:
        """None that published tables know."""
        return ()

    def timm_arguments(self, architecture: Architecture) -> dict[str, Any] | None:
        """None: it is no timm model."""
        return None

    def quick_start(self, supernet: Supernet) -> SharedStart | None:
        """There is none for a network that is not known."""
        return None

    def keep(self, run: RunFolder) -> None:
        """Write the weights that the run begins with."""
        if not run.initial.exists():
            with files.replacing(run.initial) as temporary:
                torch.save(self.module.state_dict(), temporary)

    def resume(self, run: RunFolder) -> None:
        """Take the weights that the run began with, if it has begun.

        Raises:
            ProxylessError: it is a run of another network.
        """
        if not run.initial.exists():
            return
        state = read_checkpoint(run.initial)
        try:
            check_state(state, self.module.state_dict())
        except ProxylessError as error:
            raise ProxylessError(
                f"--out {run.path}: holds a run of another network ({error}); choose another --out"
            ) from None
        self.module.load_state_dict(state)


def own_network(network: nn.Module, example: Tensor) -> OwnNetwork:
    """A module with choices, once it is sure that every candidate runs on inputs like ``example``.

    Args:
        network: the module; a copy of it is taken.
        example: inputs of the network, (batch, ...).

    Raises:
        ProxylessError: it is no module, has no choice, or a choice or candidate that cannot be searched; or it does not
            run on the example.
    """
    check_module(network)
    module = copied(network.network if isinstance(network, Supernet) else network)
    try:
        Supernet(module).input_shapes(example[:2])
    except ValueError as error:
        raise ProxylessError(f"network: {error}") from None
    except RuntimeError as error:  # of PyTorch, whose operators say by it that they cannot take an input
        raise ProxylessError(f"network: cannot run on {_in_words(example)}: {first_line(error)}") from error
    return OwnNetwork(module, tuple(example.shape[1:]))


def check_module(network: object) -> None:
    """Make sure that what a user gives as a network is a module.

    Raises:
        ProxylessError: it is not.
    """
    if not isinstance(network, nn.Module):
        raise ProxylessError(f"network: must be a torch.nn.Module with Choices, got {short(network)}")


def _in_words(value: Any) -> str:
    """A value of a batch, by shape and type."""
    if isinstance(value, Tensor):
        return f"{str(value.dtype).removeprefix('torch.')} {tuple(value.shape)}"
    return f"a {type(value).__name__}"


@dataclass(frozen=True)
class Loaders:
    """Loaders of one's own as the data of a job.

    Args:
        train: for the weights.
        valid: for the architecture, and for the figures after each epoch.
        test: for the figures at the end.
        task: says what a batch holds.
        seed: of every pass.
    """

    train: Loader
    valid: Loader
    test: Loader
    task: Task
    seed: int

    def first(self) -> tuple[Tensor, Any]:
        """The inputs and targets of the first batch, once it is sure that there are batches.

        Raises:
            ProxylessError: a loader is empty or of unknown length, or the inputs are no tensor.
        """
        for name, loader in self.splits.items():
            if not _length(loader):
                raise ProxylessError(f"{name}: needs a loader that knows its length and has at least one batch")
        _, inputs, targets = self._first_batch("train")
        if not isinstance(inputs, Tensor) or inputs.dim() < 2:
            raise ProxylessError(
                f"train: the inputs of a batch must be a tensor (batch, ...), got {type(inputs).__name__}"
            )
        return inputs, targets

    def check(self, network: nn.Module) -> None:
        """Make sure that network and task can make something of the first batch of each loader.

        Args:
            network: with choices; it is left as it is.

        Raises:
            ProxylessError: the network does not run on the inputs, or the task cannot compare outputs and targets.
        """
        trial = copied(network).eval()
        for name in self.splits:
            batch, inputs, _ = self._first_batch(name)
            with torch.no_grad():
                try:
                    outputs, targets = self.task.forward(trial, batch)
                except Exception as error:  # of whatever kind the network raises
                    what = f"the network cannot run on {_in_words(inputs)}"
                    raise ProxylessError(f"{name}: {what}: {first_line(error)}") from error
                try:
                    loss = self.task.loss(outputs, targets)
                    if not isinstance(loss, Tensor) or loss.dim():
                        raise ContractError(f"the loss must be a tensor without dimensions, got {_in_words(loss)}")
                    self.task.sums(outputs, targets)
                except Exception as error:  # of whatever kind the task raises
                    what = f"outputs, {_in_words(outputs)}, and targets, {_in_words(targets)}"
                    raise ProxylessError(
                        f"{name}: the task {self.task.name} cannot compare {what}: {first_line(error)}"
                    ) from error

    def _first_batch(self, name: str) -> tuple[Any, Any, Any]:
        """The first batch of a loader, its inputs and its targets."""
        batch = next(_seeded(self.splits[name], self.seed), None)
        if batch is None:
            raise ProxylessError(f"{name}: its length is {len(self.splits[name])}, but it has no batch")
        try:
            return (batch, *self.task.inputs_and_targets(batch))
        except ContractError as error:
            raise ProxylessError(f"{name}: {error}") from None

    @property
    def splits(self) -> dict[str, Loader]:
        """The loaders by name."""
        return {"train": self.train, "valid": self.valid, "test": self.test}

    def targets(self) -> Iterator[Any]:
        """The targets of one pass over the training samples, batch by batch."""
        return (self.task.inputs_and_targets(batch)[1] for batch in _seeded(self.train, self.seed))

    def batches(
        self, batch_size: int, seed: int, processor: torch.device, note: Callable[[str], None]
    ) -> LoaderBatches:
        """The batches on the processor; their size is that of the loaders."""
        return LoaderBatches(self, seed, processor)

    def samples(self, settings: ResolvedSettings, *, int8: bool) -> Samples:
        """The first samples of the loaders."""
        held_out = list(_first(self._pairs(self.valid), HELD_OUT if int8 else COMPARED))
        calibration = _first(self._pairs(self.train), settings.calibration.images if int8 else 1)
        inputs = torch.cat([inputs for inputs, _ in calibration])
        return Samples(inputs[: settings.calibration.images], held_out, held_out[0][0][:COMPARED])

    def _pairs(self, loader: Loader) -> Iterator[tuple[Tensor, Any]]:
        return map(self.task.inputs_and_targets, _seeded(loader, self.seed))

    def describe(self) -> dict[str, Any]:
        """The task, and the number of batches of each split."""
        batches = {name: len(loader) for name, loader in self.splits.items()}
        return {"source": "loaders", "task": self.task.name, "batches": batches}

    def of_model(self) -> dict[str, Any]:
        """Nothing: what is done to the inputs is known to the loaders alone."""
        return {}

    def of_result(self) -> dict[str, Any]:
        """That the data are loaders."""
        return {"data": "loaders", "data_remarks": []}

    def keep(self, run: RunFolder) -> None:
        """Nothing: who goes on with a run gives the same loaders again."""


class LoaderBatches:
    """The batches of loaders of one's own, each pass with a seed of its own, so that a job can be resumed."""

    def __init__(self, loaders: Loaders, seed: int, processor: torch.device) -> None:
        self.loaders, self.seed, self.processor = loaders, seed, processor

    def __enter__(self) -> LoaderBatches:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def _pass(self, loader: Loader, number: int) -> Iterator[Any]:
        for batch in _seeded(loader, 1_000_003 * self.seed + number):
            yield tree_map(lambda value: value.to(self.processor) if isinstance(value, Tensor) else value, batch)

    def train(self, epoch: int) -> Iterator[Any]:
        """One pass over the training samples."""
        return self._pass(self.loaders.train, 2 * epoch)

    def held_out(self, start: int) -> Iterator[Any]:
        """Endless held-out batches from number ``start`` on: those of one pass after the other."""
        number, first = divmod(start, len(self.loaders.valid))
        while True:
            yield from islice(self._pass(self.loaders.valid, 2 * number + 1), first, None)
            number, first = number + 1, 0

    def valid(self) -> Iterator[Any]:
        """One pass over the held-out samples."""
        return self._pass(self.loaders.valid, 1)

    def test(self) -> Iterator[Any]:
        """One pass over the test samples."""
        return self._pass(self.loaders.test, 1)

    def steps(self) -> int:
        """Batches of one pass over the training samples."""
        return len(self.loaders.train)


def _length(loader: object) -> int:
    """Batches of a pass; 0 where that is not known, as of a DataLoader over a stream."""
    try:
        return len(loader) if isinstance(loader, Sized) else 0
    except TypeError:
        return 0


def _seeded(loader: Loader, seed: int) -> Iterator[Any]:
    """One pass that depends on the seed alone: PyTorch's global generator is the pass's own while it loads a batch."""
    state = torch.Generator().manual_seed(seed).get_state()
    batches: Iterator[Any] | None = None
    while True:
        with torch.random.fork_rng(devices=[]):
            torch.set_rng_state(state)
            batches = iter(loader) if batches is None else batches
            try:
                batch = next(batches)
            except StopIteration:
                return
            state = torch.get_rng_state()
        yield batch


def _first(pairs: Iterable[tuple[Tensor, Any]], count: int) -> Iterator[tuple[Tensor, Any]]:
    """As many pairs as hold at least ``count`` samples."""
    seen = 0
    for inputs, targets in pairs:
        yield inputs, targets
        seen += len(inputs)
        if seen >= count:
            return
