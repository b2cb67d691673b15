"""The over-parameterized network: any module that holds choices, its architecture parameters and its sampled path."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from proxyless.choice import Choice
from proxyless.inspection import inspect
from proxyless.modules import replay
from proxyless.modules.inputs import Inputs, Shapes
from proxyless.modules.modes import batch_statistics, evaluation

__all__ = ["Shapes", "SharedStart", "Supernet", "batch_statistics", "evaluation"]


class SharedStart(Protocol):
    """A start in which one candidate of each choice is trained first and the others take over from it."""

    def begin(self) -> None:
        """Called before the first step."""
        ...

    def path(self, uniform: list[int]) -> list[int]:
        """The path to train, given a uniformly sampled one."""
        ...

    def spread(self) -> None:
        """Called once, after the shared steps: every candidate takes over from the one that was trained."""
        ...


class Supernet(nn.Module):
    """An over-parameterized network with binary gates (paper, section 3).

    Wraps ``network``, any module that holds :class:`~proxyless.choice.Choice` modules. The architecture parameters of
    all choices are the rows of one matrix, apart from the weights; shorter rows are padded and masked.

    Args:
        network: the module to search; used as it is, not copied.
        seed: of the sampling of paths and of the initial architecture parameters.
        init_std: standard deviation of the normal distribution the architecture parameters start from.

    Attributes:
        choices: the choices by their dotted name in ``network``, in the order of its modules.
        alpha: architecture parameters, (choices, most candidates of a choice). They get no gradient from an ordinary
            backward pass, so handing ``supernet.parameters()`` to an optimizer of weights is harmless.
        mask: which entries of ``alpha`` belong to a candidate, same shape, bool.
        generator: the source of randomness of every sampled path; its state belongs in a checkpoint.
        temperature: T of the path probabilities p = softmax(alpha / T), above 0; 1 as in the paper unless assigned.
            Below 1 the likelier candidates are sampled more often, above 1 less. It too belongs in a checkpoint.

    Raises:
        ValueError: ``network`` holds no choice.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from proxyless import Choice, Zero
        >>> net = nn.Sequential(Choice(linear=nn.Linear(4, 4), skip=Zero(), shortcut=True), nn.Linear(4, 2))
        >>> supernet = Supernet(net, seed=0)
        >>> path = supernet.sample()  # the index of one candidate for each choice; the forward pass follows it
        >>> supernet(torch.randn(8, 4)).shape
        torch.Size([8, 2])
        >>> [round(p, 2) for p in supernet.probabilities()[0].tolist()]
        [0.5, 0.5]
        >>> supernet.path = [1]
        >>> net[0].operations[supernet.path[0]]
        'skip'
    """

    mask: Tensor

    def __init__(self, network: nn.Module, *, seed: int = 0, init_std: float = 1e-3) -> None:
        super().__init__()
        self.network = network
        self.choices = {name: module for name, module in network.named_modules() if isinstance(module, Choice)}
        if not self.choices:
            raise ValueError("the network holds no Choice: there is nothing to search")
        for name, choice in self.choices.items():
            choice.name = name
        self._lazy = any(is_lazy(tensor) for tensor in (*network.parameters(), *network.buffers()))
        self.generator = torch.Generator().manual_seed(seed)
        self.temperature = 1.0
        widest = max(len(choice) for choice in self.choices.values())
        mask = torch.tensor([[j < len(choice) for j in range(widest)] for choice in self.choices.values()])
        self.register_buffer("mask", mask, persistent=False)
        self.alpha = nn.Parameter(torch.randn(mask.shape, generator=self.generator) * init_std)

    def forward(self, *inputs: Any, **keywords: Any) -> Any:
        """The network's output along the current path.

        What the backward pass runs again (torch.utils.checkpoint) follows this path as well, whatever the path is then.
        """
        if self._lazy:
            inspect(self.network, self.choices, Inputs.of(inputs, keywords))
            self._lazy = False
        replay.begin(self.choices)
        outputs = self.network(*inputs, **keywords)
        replay.note(self.choices, outputs)
        return outputs

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Supernet:
        alpha = self.alpha.detach()
        super()._apply(fn, recurse)
        if self.alpha.dtype in (torch.float16, torch.bfloat16):  # in which a step of 1e-3 would be lost
            self.alpha.data = alpha.to(self.alpha.device, torch.float32)
        return self

    # -- probabilities and paths --

    @property
    def temperature(self) -> float:
        return self._temperature

    @temperature.setter
    def temperature(self, temperature: float) -> None:
        if not 0 < temperature < math.inf:
            raise ValueError(f"a temperature is above 0 and finite, got {temperature}")
        self._temperature = float(temperature)

    def logits(self) -> Tensor:
        """Logits alpha / T, whose softmax are the probabilities: (choices, candidates), -infinity at the padding."""
        return (self.alpha / self.temperature).masked_fill(~self.mask, -torch.inf)

    def probabilities(self) -> Tensor:
        """Path probabilities p = softmax(alpha / T) of each choice, (choices, candidates), 0 at the padding."""
        return self.logits().softmax(dim=1)

    def entropy(self) -> Tensor:
        """Entropy of each choice's probabilities in nats, (choices,): log N when undecided, 0 when decided."""
        p = self.probabilities()
        return -torch.special.xlogy(p, p).sum(dim=1)

    @property
    def path(self) -> list[int]:
        """Index of the active candidate of each choice; assign a sequence to set it."""
        return [choice.active for choice in self.choices.values()]

    @path.setter
    def path(self, path: Sequence[int]) -> None:
        if len(path) != len(self.choices):
            raise ValueError(f"a path names one candidate for each of {len(self.choices)} choices, got {len(path)}")
        for (name, choice), index in zip(self.choices.items(), path, strict=True):
            if not 0 <= index < len(choice):
                raise ValueError(f"choice {name} has candidates 0 to {len(choice) - 1}, got {index}")
            choice.active = int(index)

    def sample(self, *, uniform: bool = False) -> list[int]:
        """Draw fresh binary gates from p, or uniformly (warm-up), and make them the path (paper, Eq. 2)."""
        p = self.mask.double() if uniform else self.probabilities().detach().double()
        self.path = torch.multinomial(p.cpu(), 1, generator=self.generator).squeeze(1).tolist()
        return self.path

    def most_probable(self) -> list[int]:
        """The path of the most probable candidate of each choice (not made active)."""
        path: list[int] = self.logits().argmax(dim=1).tolist()
        return path

    # -- weights and shapes --

    def weights(self) -> Iterator[nn.Parameter]:
        """The parameters of the network, without the architecture parameters."""
        return self.network.parameters()

    def input_shapes(self, *example: Any, **keywords: Any) -> dict[str, Shapes]:
        """Shapes of the tensors that each choice receives when the network runs on ``example``.

        Every choice and candidate is run, also where choices are nested in candidates of others, so that lazy modules
        take their shapes. The path, the mode of the modules, their buffers and random generators stay as they were.

        Raises:
            ContractError: a choice is never run, is run on different shapes, or has a candidate that cannot be one
                beside the others; see :func:`proxyless.inspection.inspect`.
        """
        return inspect(self.network, self.choices, Inputs.of(example, keywords)).shapes()
