"""Two modes for a network for a while: evaluation, and evaluation with the statistics of each batch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn
from torch.nn.parameter import is_lazy

from proxyless.errors import ContractError


@contextmanager
def evaluation(module: nn.Module) -> Iterator[None]:
    """Put ``module`` into evaluation mode for a while; every part then returns to the mode that it had."""
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for part, mode in modes:
            part.training = mode


@contextmanager
def batch_statistics(network: nn.Module) -> Iterator[None]:
    """Put ``network`` into evaluation mode, in which batch norm uses the batch and leaves its running statistics alone.

    The running statistics of a supernet mix those of all sampled paths and fit none of them (authors' defaults), so
    both the evaluation of a path and the architecture step use the batch's own.

    Raises:
        ContractError: a lazy norm has not been run yet: it would never get statistics of its own.
    """
    norms = [m for m in network.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm) and m.track_running_stats]
    if any(norm.running_mean is not None and is_lazy(norm.running_mean) for norm in norms):
        raise ContractError(
            "the network holds a lazy batch norm that has not been run: run supernet.input_shapes(example) first, which"
            " runs every candidate once"
        )
    with evaluation(network):
        for norm in norms:
            norm.train()
            norm.track_running_stats = False
        try:
            yield
        finally:
            for norm in norms:
                norm.track_running_stats = True
