"""What an update rule is: the steps that move the architecture parameters, whoever runs them.

A search takes weight steps and architecture steps in turn (paper, section 3.2.1). An *update rule* owns the latter. The
rules of this package are :class:`~proxyless.search.gradient.TwoPathUpdate`,
:class:`~proxyless.search.gradient.AllPathUpdate` and :class:`~proxyless.search.reinforce.ReinforceUpdate`; one of your
own is any object that :class:`ArchitectureUpdate` describes. The loop, :class:`~proxyless.search.loop.SearchLoop` or
yours, calls it so:

1. Once, when a stopped search goes on: ``load_state_dict(state)``, before anything else.
2. A number of weight steps, on paths that the loop samples itself. The rule is not called.
3. ``step(batch, criterion, forward)``, on a batch of held-out data. The rule sets the supernet's path and puts its
   gating into the choices as it needs, calls ``forward(supernet, batch)`` once for each network it looks at, moves
   ``supernet.alpha``, and takes its gating away again, also where an error is raised. Weights, their gradients and
   buffers stay as they were. Which path is left active does not matter: the loop samples before the next weight step.
4. ``measures()``, whenever the loop reports: numbers by name for the history.
5. ``state_dict()``, after every epoch: with the supernet's own state all that the rest of the search depends on.
6. Once, at the end, if whoever runs the search wants it: ``architecture()``.

Steps 2 to 5 come again until the search ends. Randomness is drawn from ``supernet.generator``, which belongs to the
checkpoint, so that a search that goes on draws what it would have drawn.

Inside of ``step`` a rule by gradients (:class:`~proxyless.search.gradient.GradientUpdate`) has three hooks, called in
this order. C is the number of choices, m the number of candidates that the step looks at, N the most candidates of a
choice:

- ``sample_candidates()``, once, returns :class:`~proxyless.search.gradient.SampledCandidates` of shapes (C, m), (C, m)
  and (C,): the candidates that count in this step, and the active one among them. It may draw from
  ``supernet.generator``; no path is set yet.
- ``gating(row, sampled, gates)``, once for each choice, returns how it mixes its candidates in the forward pass, such
  that the backward pass gives each gate its gradient. ``gates`` (m,) is the row of that choice in the graph.
- ``after_step(before, sampled)``, once, after the optimizer's step: ``before`` (C, N) is what ``supernet.alpha`` was.
  Candidates that the step did not look at, and choices that did not run, have their former values again by then. A rule
  that renormalises does so here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor, nn

from proxyless.architecture import Architecture
from proxyless.tasks.task import Forward, pair

Criterion = Callable[[Any, Any], Tensor]
"""(outputs, targets) -> scalar loss, a mean over the batch."""


def of_pairs(network: nn.Module, batch: Any) -> tuple[Any, Any]:
    """The :data:`Forward` of batches that are (inputs, targets): the network is given the inputs as they are.

    Raises:
        ContractError: the batch has another form.
    """
    inputs, targets = pair(batch)
    return network(inputs), targets


@dataclass(frozen=True)
class StepResult:
    """What one architecture step saw.

    Args:
        task_loss: the criterion's value on the held-out batch.
        outputs: of the network for that batch, without a graph.
    """

    task_loss: float
    outputs: Any


class ArchitectureUpdate(Protocol):
    """An update rule; see the module for who calls what, and when."""

    def step(self, batch: Any, criterion: Criterion, forward: Forward = of_pairs) -> StepResult:
        """Move the architecture parameters by one step on a held-out batch.

        Args:
            batch: what ``forward`` takes.
            criterion: the loss of what ``forward`` returns.
            forward: runs the supernet on the batch along its present path.
        """
        ...

    def measures(self) -> dict[str, float]:
        """Numbers for the history beside the loss, such as the multiplier of a budget."""
        ...

    def architecture(self) -> Architecture:
        """What the search has come to: the most probable architecture, within the budget if there is one."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """What the rest of the search depends on and the supernet does not hold."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up the state of a checkpoint."""
        ...
