import pytest
import torch
from torch import nn

from proxyless import Choice, Zero
from proxyless.choice import settled


def test_runs_the_active_candidate_alone():
    choice = Choice(one=nn.Linear(3, 3), two=nn.Linear(3, 3))
    x = torch.randn(4, 3)
    for index, candidate in enumerate(choice.candidates.values()):
        choice.active = index
        assert torch.equal(choice(x), candidate(x))


def test_shortcut_adds_the_input():
    choice = Choice(a=nn.Linear(3, 3), skip=Zero(), shortcut=True)
    x = torch.randn(4, 3)
    assert torch.equal(choice(x), x + choice.candidates["a"](x))


def test_zero_beside_a_shortcut_is_the_identity_and_zero_without_one():
    x = torch.randn(4, 3)
    with_shortcut = Choice(a=nn.Linear(3, 3), skip=Zero(), shortcut=True)
    without = Choice(a=nn.Linear(3, 3), skip=Zero())
    with_shortcut.active = without.active = 1
    assert torch.equal(with_shortcut(x), x)
    assert torch.equal(without(x), torch.zeros(4, 3))


def test_one_candidate_is_no_choice():
    with pytest.raises(ValueError, match="at least two"):
        Choice(only=nn.Identity())


def test_a_name_that_pytorch_uses_is_refused_by_name():
    with pytest.raises(ValueError, match="cannot be called 'double'"):
        Choice(double=nn.Identity(), other=nn.Identity())


def test_two_choices_in_one_process_keep_their_own_state():
    one, two = (Choice(a=nn.Identity(), b=Zero()) for _ in range(2))
    one.active = 1
    assert two.active == 0


@pytest.mark.parametrize("shortcut", [True, False])
@pytest.mark.parametrize("index", [0, 1])
def test_settled_computes_what_the_choice_computes(shortcut: bool, index: int):
    choice = Choice(a=nn.Linear(3, 3), skip=Zero(), shortcut=shortcut)
    choice.active = index
    x = torch.randn(4, 3)
    assert torch.equal(settled(choice, index)(x), choice(x))


def test_several_inputs_reach_the_candidate_and_the_first_is_the_shortcut():
    class Sum(nn.Module):
        def forward(self, x, y):
            return x + 2 * y

    choice = Choice(sum=Sum(), skip=Zero(), shortcut=True)
    x, y = torch.randn(2, 3), torch.randn(2, 3)
    assert torch.equal(choice(x, y), x + (x + 2 * y))
