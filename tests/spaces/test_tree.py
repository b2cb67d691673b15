"""The tree-structured space: its shape, its choices, and the compact networks built from it."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from torch import nn

from proxyless.architecture import architecture_of, derive
from proxyless.choice import Choice
from proxyless.errors import ProxylessError
from proxyless.modules.operators import count_macs
from proxyless.search.gradient import AllPathUpdate, GradientUpdate, TwoPathUpdate
from proxyless.search.objective import TaskOnly
from proxyless.spaces.tree import TreeSpace
from proxyless.spaces.tree_layers import DropPath, ResidualTreeBlock, Shuffle
from proxyless.spaces.tree_network import MODULES
from proxyless.supernet import Supernet

SMALL = TreeSpace(classes=5, image_size=8, blocks=1, stem=4, final_width=32)


def images(size: int = 8, count: int = 2) -> torch.Tensor:
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(1))


def mixed(space: TreeSpace = SMALL) -> dict[str, str]:
    """Choices in which every operation occurs."""
    return {name: taken[i % len(taken)] for i, (name, taken) in enumerate(space.choices().items())}


def test_space_with_its_defaults_is_the_papers() -> None:
    space = TreeSpace()
    widths = [4 * width for width in space.cell_widths()]

    assert len(widths) == 54
    assert (widths[:4], widths[-2:]) == ([72, 72, 80, 88], [392, 400])
    assert widths == sorted(widths)
    assert len(space.choices()) == 54 * 12
    assert all(len(candidates) == 7 for candidates in space.choices().values())


def test_choices_are_those_of_the_network_in_its_order() -> None:
    supernet = Supernet(SMALL.network())

    assert {name: list(choice.operations) for name, choice in supernet.choices.items()} == SMALL.choices()
    assert list(supernet.choices) == list(SMALL.choices())


@pytest.mark.parametrize(
    ("arguments", "choices"),
    [({"depth": 2}, 3 * 4), ({"depth": 4}, 3 * (4 + 8 + 16)), ({"branches": 3}, 3 * (9 + 27)), ({"stages": 2}, 2 * 12)],
)
def test_depth_and_branches_of_the_cells_and_stages_are_arguments(arguments: dict[str, int], choices: int) -> None:
    space = TreeSpace(image_size=8, blocks=1, stem=4, final_width=32, **arguments)

    assert len(space.choices()) == choices
    assert list(Supernet(space.network()).choices) == list(space.choices())
    assert space.network().eval()(images()).shape == (2, 10)


def test_candidates_of_every_choice_keep_the_shape_and_stages_halve_it() -> None:
    shapes = Supernet(SMALL.network()).input_shapes(images())  # raises where candidates differ

    sizes = {name.split(".")[1]: shape[0][1:] for name, shape in shapes.items()}
    assert sizes == {"1": (4, 8, 8), "2": (6, 4, 4), "3": (8, 2, 2)}


def test_built_network_is_the_one_derived_from_the_supernet_and_keeps_no_trace_of_the_search() -> None:
    supernet = Supernet(SMALL.network())
    architecture = SMALL.architecture(mixed())
    supernet.path = architecture.path(supernet)
    derived, built = derive(supernet, architecture), SMALL.build(architecture)
    built.load_state_dict(derived.state_dict())

    assert not any(isinstance(module, Choice) for module in built.modules())
    torch.testing.assert_close(built.eval()(images()), supernet.eval()(images()))


def test_every_operation_can_be_trained_through() -> None:
    network = SMALL.build(SMALL.architecture(mixed()))
    network(images()).sum().backward()

    assert [name for name, weight in network.named_parameters() if weight.grad is None] == []


@pytest.mark.parametrize("rule", [TwoPathUpdate, AllPathUpdate])
def test_every_choice_of_the_tree_is_searched_by_either_gradient_update(rule: type[GradientUpdate]) -> None:
    torch.manual_seed(0)
    supernet = Supernet(SMALL.network(), seed=0)
    before = supernet.alpha.detach().clone()
    rule(supernet, TaskOnly(), learning_rate=0.01).step((images(count=4), torch.arange(4)), nn.functional.cross_entropy)
    moved = supernet.alpha.detach() != before
    assert moved.any(dim=1).all()
    candidates = moved.sum(dim=1)
    assert (candidates == (2 if rule is TwoPathUpdate else 7)).float().mean() > 0.9  # a gradient may be 0 by chance


def test_architecture_survives_json_and_names_its_space() -> None:
    architecture = SMALL.architecture(mixed())
    arguments = json.loads(json.dumps(architecture.arguments))

    assert TreeSpace(**arguments) == SMALL
    assert architecture.space == "tree"


def test_architecture_of_another_space_is_refused() -> None:
    choices = mixed()
    choices[next(iter(choices))] = "sep9"
    with pytest.raises(ProxylessError, match="has no candidate 'sep9'"):
        SMALL.build(SMALL.architecture(choices))
    with pytest.raises(ProxylessError, match="does not fit the network"):
        SMALL.build(architecture_of(Supernet(TreeSpace(image_size=8, blocks=2, stem=4).network())))


def test_description_counts_operations_by_stage() -> None:
    choices = dict.fromkeys(SMALL.choices(), "max3")
    choices[SMALL.block_choices()[1][0]] = "sep5"

    described = SMALL.describe(SMALL.architecture(choices))

    assert described == "stage 1: max3 12 | stage 2: sep5 1 max3 11 | stage 3: max3 12"


def test_macs_of_the_operations() -> None:
    x = torch.zeros(1, 6, 5, 5)
    macs = {name: count_macs(make(6), [x]) for name, make in MODULES.items()}
    separable = {kernel: 5 * 5 * (6 * kernel**2 + 6 * 6) for kernel in (3, 5, 7)}

    assert macs == {
        "sep3": separable[3],
        "sep5": separable[5],
        "sep7": separable[7],
        "dil3": separable[3],
        "identity": 0,
        "avg3": 0,
        "max3": 0,
    }


def test_padding_does_not_count_in_the_average() -> None:
    ones = torch.ones(1, 2, 4, 4)

    torch.testing.assert_close(MODULES["avg3"](2)(ones), ones)


def test_dilated_convolution_reaches_two_pixels_to_each_side() -> None:
    operation = MODULES["dil3"](1).eval()
    nn.init.ones_(operation.depth_conv.weight)  # type: ignore[union-attr, arg-type]
    nn.init.ones_(operation.point_conv.weight)  # type: ignore[union-attr, arg-type]
    point = torch.zeros(1, 1, 7, 7)
    point[..., 3, 3] = 1

    reached = {tuple(place) for place in operation(point)[0, 0].nonzero().tolist()}

    assert reached == {(row, column) for row in (1, 3, 5) for column in (1, 3, 5)}


def test_shuffle_interleaves_the_groups() -> None:
    x = torch.arange(6.0).view(1, 6, 1, 1)

    assert Shuffle(2)(x).flatten().tolist() == [0, 3, 1, 4, 2, 5]
    assert Shuffle(3)(x).flatten().tolist() == [0, 2, 4, 1, 3, 5]


def test_channels_that_the_shortcut_lacks_are_zeros() -> None:
    block = ResidualTreeBlock(nn.Identity(), nn.Conv2d(2, 5, 1), nn.Identity(), nn.Identity(), channels=5).eval()
    assert block.final_bn is not None
    nn.init.zeros_(block.final_bn.weight)
    x = torch.randn(1, 2, 3, 3, generator=torch.Generator().manual_seed(0))

    y = block(x)

    torch.testing.assert_close(y[:, :2], x)
    assert not y[:, 2:].any()


def test_drop_path_grows_linearly_over_the_blocks_and_is_only_in_the_compact_network() -> None:
    space = TreeSpace(image_size=8, blocks=2, stem=4, final_width=32, drop_path=0.3)

    def rates(network: nn.Module) -> list[float]:
        return [module.rate for module in network.modules() if isinstance(module, DropPath)]

    assert rates(space.build(space.architecture(mixed(space)))) == pytest.approx([0.05, 0.1, 0.15, 0.2, 0.25, 0.3])
    assert rates(space.network()) == [0.0] * 6


def test_drop_path_drops_whole_images_while_training_and_keeps_the_mean() -> None:
    drop = DropPath(0.25)
    x = torch.ones(4000, 2, 2)

    torch.manual_seed(0)
    y = drop(x)

    assert sorted(set(y.flatten().tolist())) == pytest.approx([0, 4 / 3])
    assert all(len(set(image.flatten().tolist())) == 1 for image in y)
    assert (y[:, 0, 0] == 0).float().mean().item() == pytest.approx(0.25, abs=0.03)
    assert torch.equal(drop.eval()(x), x)


def test_dropout_is_before_the_classifier_of_the_compact_network() -> None:
    space = TreeSpace(image_size=8, blocks=1, stem=4, final_width=32, dropout=0.5)
    network = space.build(space.architecture(mixed(space)))

    assert [module.p for module in network.modules() if isinstance(module, nn.Dropout)] == [0.5]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"classes": 0}, "classes must be at least 1 and at most 100000, got 0"),
        ({"image_size": 30}, "image_size must be a multiple of 4 px for 3 stages, got 30"),
        ({"image_size": 2, "stages": 3}, "image_size must be a multiple of 4 px"),
        ({"depth": 1}, "depth must be at least 2"),
        ({"final_width": 60}, "final_width at least 4 times stem, got stem 16 and final_width 60"),
        ({"operations": ("sep3",)}, "operations must be two or more different ones"),
        ({"operations": ("sep3", "sep9")}, "operations must be two or more different ones"),
        ({"drop_path": 1.0}, "drop_path must be at least 0 and at most 0.99, got 1.0"),
    ],
)
def test_argument_out_of_range_is_named(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ProxylessError, match=message):
        TreeSpace(**arguments)
