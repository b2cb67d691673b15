"""States that anybody may have written."""

import copy

import pytest
import torch
from torch import nn

from proxyless import ProxylessError
from proxyless.files.checkpoints import load_optimizer


def trained() -> torch.optim.Optimizer:
    network = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 2))
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9)
    network(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    return optimizer


def test_the_state_of_an_optimizer_is_taken_up_as_it_was_written():
    state, other = trained().state_dict(), trained()
    load_optimizer(other, copy.deepcopy(state))
    for number, kept in state["state"].items():
        assert torch.equal(other.state_dict()["state"][number]["momentum_buffer"], kept["momentum_buffer"])


@pytest.mark.parametrize("numbers", [[2, 1, 0, 3], [0, 0, 2, 3]])
def test_what_is_remembered_of_one_parameter_is_never_taken_for_that_of_another(numbers):
    state = trained().state_dict()
    state["param_groups"][0]["params"] = numbers
    with pytest.raises(ProxylessError, match=r"optimizer\.param_groups are of other parameters"):
        load_optimizer(trained(), state)
