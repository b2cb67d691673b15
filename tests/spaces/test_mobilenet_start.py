import pytest
import torch

from proxyless import Supernet
from proxyless.modules.modes import batch_statistics
from proxyless.spaces import make
from proxyless.spaces.mobilenet import MobileNetSpace

SPACE = MobileNetSpace(classes=4, channels=1, image_size=16, depths=(2, 1, 1, 1, 1, 1), width=0.25)


@pytest.fixture
def supernet():
    torch.manual_seed(0)
    return Supernet(SPACE.network(), seed=1).double()


def test_all_candidates_compute_the_same_after_the_spread(supernet):
    start = SPACE.quick_start(supernet)
    with torch.no_grad():
        for p in supernet.weights():  # trained norms are no longer ones and zeros
            p.add_(0.1 * torch.randn_like(p))
    start.spread()
    x = torch.randn(4, 1, 16, 16, dtype=torch.float64)
    outputs = []
    with batch_statistics(supernet), torch.no_grad():
        for index in range(6):
            supernet.path = [index] * len(supernet.choices)
            outputs.append(supernet(x))
    for output in outputs[1:]:
        assert torch.allclose(output, outputs[0], atol=1e-9)


def test_all_parts_of_the_larger_candidates_can_learn_after_the_spread(supernet):
    SPACE.quick_start(supernet).spread()
    supernet.path = [5] * len(supernet.choices)
    optimizer = torch.optim.SGD(supernet.weights(), lr=0.1)
    block = supernet.choices["stage1.block0"].candidates["k7_e6"]
    before = {name: value.detach().clone() for name, value in block.named_parameters()}
    for _ in range(2):
        supernet(torch.randn(4, 1, 16, 16, dtype=torch.float64)).square().sum().backward()
        optimizer.step()
        optimizer.zero_grad()
    for name in ("conv_pw.weight", "conv_dw.weight", "conv_pwl.weight"):
        moved = (dict(block.named_parameters())[name] != before[name]).double().mean()
        assert moved > 0.98, name


def test_blocks_with_a_shortcut_begin_as_the_identity(supernet):
    SPACE.quick_start(supernet).begin()
    x = torch.randn(4, 8, 8, 8, dtype=torch.float64)
    choice = supernet.choices["stage1.block1"]
    for index in range(len(choice)):
        choice.active = index
        assert torch.equal(choice(x), x)


def test_the_shared_path_keeps_what_is_skipped_and_takes_the_smallest_elsewhere(supernet):
    uniform = [5, 6, 3, 4, 2, 1, 0]
    assert SPACE.quick_start(supernet).path(uniform) == [0, 6, 0, 0, 0, 0, 0]


def test_other_spaces_have_none(supernet):
    space = make("tree", {"stages": 1, "blocks": 1, "stem": 4, "final_width": 16, "image_size": 8, "depth": 2})
    assert space.quick_start(supernet) is None
