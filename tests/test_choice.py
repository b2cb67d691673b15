import pytest
import torch
from torch import nn

from proxyless import Choice, ProxylessError, Supernet, Zero
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


def test_what_a_choice_cannot_be_given_is_told_with_its_candidates_where_it_has_no_name_yet():
    choice = Choice(a=nn.Linear(3, 3), b=Zero())
    x = torch.randn(2, 3)
    with pytest.raises(ProxylessError, match="choice of a, b is given a tuple that holds tensors: give it each tensor"):
        choice((x, x))
    with pytest.raises(ProxylessError, match="is given a dict that holds tensors"):
        choice(x, more={"y": [x]})
    with pytest.raises(ProxylessError, match="is given str, int: one argument at least must be a tensor"):
        choice("x", n=3)
    with pytest.raises(ProxylessError, match="is given nothing"):
        choice()


def test_a_shortcut_is_not_broadcast():
    choice = Choice(a=nn.Linear(3, 1), b=nn.Linear(3, 3), shortcut=True)
    with pytest.raises(ProxylessError, match=r"adds a shortcut of shape \(2, 3\) to an output of \(2, 1\)"):
        choice(torch.randn(2, 3))


@pytest.mark.parametrize("candidate", [nn.Identity(), nn.Flatten(), nn.Unflatten(1, (3, 1))])
def test_what_follows_may_change_the_output_in_place_whichever_candidate_ran(candidate):
    x = torch.ones(2, 3)
    Choice(same=candidate, other=Zero())(x).zero_()
    Choice(skip=Zero(), other=nn.Linear(3, 3), shortcut=True)(x).zero_()
    assert torch.equal(x, torch.ones(2, 3))


def test_a_compiled_candidate_or_network_computes_the_same():
    torch.manual_seed(0)
    candidate = nn.Sequential(nn.Linear(3, 3), nn.ReLU(inplace=True))
    choice = Choice(a=candidate, skip=Zero(), shortcut=True)
    x = torch.randn(2, 3)
    expected = choice(x)
    compiled = Choice(a=torch.compile(candidate, backend="eager"), skip=Zero(), shortcut=True)
    assert torch.equal(compiled(x), expected)
    supernet = Supernet(nn.Sequential(choice, nn.Identity()))
    whole = torch.compile(supernet, backend="eager")
    for path, result in (([0], expected), ([1], x)):
        supernet.path = path
        assert torch.equal(whole(x), result)
    supernet.path = [0]
    with torch.inference_mode():
        assert torch.equal(supernet(x), expected)


def test_a_candidate_that_does_not_take_the_arguments_is_named():
    choice = Choice(conv=nn.Conv1d(3, 3, 1), same=nn.Identity())
    with pytest.raises(ProxylessError, match=r"candidate conv of choice of conv, same does not take .*'mask'"):
        choice(torch.randn(2, 3, 4), mask=torch.ones(4))
