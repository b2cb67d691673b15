"""States that anybody may have written."""

import copy
import subprocess
import sys

import pytest
import torch
from torch import nn

from proxyless import ProxylessError
from proxyless.files.checkpoints import load_optimizer, read_safetensors


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


def test_a_huge_file_that_is_no_safetensors_is_refused_without_being_read(tmp_path):
    path = tmp_path / "model.safetensors"
    with path.open("wb") as file:
        file.truncate(10 * 2**30)
    with pytest.raises(ProxylessError, match=r"model\.safetensors: not readable as safetensors"):
        read_safetensors(path)


def test_weights_that_do_not_fit_into_memory_are_one_line(tmp_path):
    """In a process that may have 4 GiB of address space beyond what it has."""
    path = tmp_path / "model.safetensors"
    header = b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'
    with path.open("wb") as file:
        file.write(len(header).to_bytes(8, "little") + header)
        file.truncate(10 * 2**30)
    code = f"""
import os, resource
from pathlib import Path
from proxyless import ProxylessError
from proxyless.files.checkpoints import read_safetensors
import safetensors.torch
used = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
resource.setrlimit(resource.RLIMIT_AS, (used + 2**32, used + 2**32))
try:
    read_safetensors({str(path)!r})
except ProxylessError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == f"{path}: its 10,240 MiB do not fit into memory\n", done.stderr
