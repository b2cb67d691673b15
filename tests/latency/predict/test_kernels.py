import math

import pytest
import torch
from torch import nn

from proxyless import Supernet, Zero
from proxyless.latency.operators import space_operators
from proxyless.latency.predict.kernels import Kind, kernels
from proxyless.modules.operators import count_macs, example_inputs
from proxyless.spaces.mobilenet import MobileNetSpace
from proxyless.spaces.tree import TreeSpace

X = [torch.randn(2, 8, 6, 6)]
MOBILENET = MobileNetSpace(image_size=32, depths=(2, 2, 1, 1, 1, 1))


def kinds(module, inputs=X):
    return [kernel.kind for kernel in kernels(module, inputs)]


class Apply(nn.Module):
    """A function of a convolution's output, and of the convolution's input."""

    def __init__(self, function):
        super().__init__()
        self.convolution = nn.Conv2d(8, 8, 3, padding=1)
        self.function = function

    def forward(self, x):
        return self.function(self.convolution(x), x)


@pytest.mark.parametrize("space", [MOBILENET, TreeSpace(blocks=1)], ids=lambda space: space.name)
def test_the_kernels_of_every_candidate_hold_all_of_its_macs(space):
    found = space_operators(Supernet(space.network()), ((1, *space.input_shape),))
    for operator in found.operators.values():
        inputs = example_inputs(operator.shapes)
        assert sum(kernel.macs for kernel in kernels(operator.module, inputs)) == count_macs(operator.module, inputs)


def test_a_block_is_its_convolutions_and_the_sum_with_its_shortcut():
    block = MOBILENET.network().stage1.block1
    assert kinds(block, [torch.randn(1, 16, 16, 16)]) == [
        Kind.POINTWISE,
        Kind.DEPTHWISE,
        Kind.POINTWISE,
        Kind.ELEMENTWISE,
    ]


def test_a_convolution_has_the_dimensions_and_bytes_of_the_textbook():
    (kernel,) = kernels(nn.Conv2d(8, 12, (3, 5), stride=(2, 1), padding=(1, 2), groups=4), X)
    assert (kernel.kind, kernel.batch, kernel.groups) == (Kind.GROUPED, 2, 4)
    assert (kernel.in_channels, kernel.in_height, kernel.in_width) == (8, 6, 6)
    assert (kernel.out_channels, kernel.out_height, kernel.out_width) == (12, 3, 6)
    assert (kernel.kernel, kernel.stride, kernel.dilation) == ((3, 5), (2, 1), (1, 1))
    assert kernel.macs == 2 * 12 * 3 * 6 * (8 // 4) * 15
    assert kernel.weight_bytes == 4 * (12 * 2 * 15 + 12)
    assert (kernel.input_bytes, kernel.output_bytes) == (4 * 2 * 8 * 36, 4 * 2 * 12 * 18)


def test_every_kind_is_told_apart():
    modules = {
        Kind.DENSE: nn.Conv2d(8, 4, 3),
        Kind.POINTWISE: nn.Conv2d(8, 4, 1),
        Kind.DEPTHWISE: nn.Conv2d(8, 8, 3, groups=8),
        Kind.GROUPED: nn.Conv2d(8, 8, 1, groups=2),
        Kind.MATMUL: nn.Linear(6, 3),
        Kind.POOLING: nn.MaxPool2d(3),
        Kind.ELEMENTWISE: nn.BatchNorm2d(8),
    }
    assert {kind: kinds(module) for kind, module in modules.items()} == {kind: [kind] for kind in modules}
    assert kinds(nn.AdaptiveAvgPool2d(1)) == [Kind.POOLING]


def test_a_matrix_product_is_rows_by_columns():
    (kernel,) = kernels(nn.Sequential(nn.Flatten(), nn.Linear(288, 10)), X)
    assert (kernel.in_channels, kernel.out_channels, kernel.macs) == (288, 10, 2 * 288 * 10)


@pytest.mark.parametrize(
    "tail",
    [
        (nn.BatchNorm2d(8),),
        (nn.BatchNorm2d(8), nn.ReLU6(inplace=True)),
        (nn.BatchNorm2d(8), nn.Hardswish()),
        (nn.Dropout(), nn.SiLU(), nn.Identity()),
    ],
)
def test_what_follows_a_convolution_is_fused_into_it(tail):
    assert kinds(nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), *tail)) == [Kind.DENSE]


def test_what_comes_before_a_convolution_is_not_fused():
    module = nn.Sequential(nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 1))
    assert kinds(module) == [Kind.ELEMENTWISE, Kind.ELEMENTWISE, Kind.POINTWISE]


def test_an_activation_is_not_fused_where_its_input_is_read_again():
    assert kinds(Apply(lambda y, x: torch.relu(y))) == [Kind.DENSE]
    assert kinds(Apply(lambda y, x: (torch.relu(y), y))) == [Kind.DENSE, Kind.ELEMENTWISE]
    assert kinds(Apply(lambda y, x: torch.relu(y) + y)) == [Kind.DENSE, Kind.ELEMENTWISE, Kind.ELEMENTWISE]


def test_a_sum_in_place_and_the_pooling_after_it_are_kernels():
    module = Apply(lambda y, x: nn.functional.max_pool2d(y.relu_().add_(x), 2))
    assert kinds(module) == [Kind.DENSE, Kind.ELEMENTWISE, Kind.POOLING]


def test_views_and_what_depends_on_weights_alone_are_no_kernels():
    assert kinds(Apply(lambda y, x: y.view(2, -1).unsqueeze(1).reshape(2, 8, 36))) == [Kind.DENSE]
    module = Apply(lambda y, x: None)
    module.forward = lambda x: nn.functional.conv2d(x, module.convolution.weight * 2 + 1)
    assert kinds(module) == [Kind.DENSE]
    assert kinds(Zero()) == []
    assert kinds(nn.Identity()) == []


def test_feature_maps_of_other_than_two_dimensions_are_counted_whole():
    (one,) = kernels(nn.Conv1d(4, 6, 3), [torch.randn(2, 4, 10)])
    (three,) = kernels(nn.Conv3d(4, 6, 3), [torch.randn(2, 4, 5, 6, 7)])
    assert one.macs == 2 * 6 * 8 * 4 * 3
    assert (three.out_height * three.out_width, three.macs) == (3 * 4 * 5, 2 * 6 * 60 * 4 * math.prod(three.kernel))


def test_the_mode_of_the_module_is_left_alone():
    module = nn.Sequential(nn.Dropout(), nn.Conv2d(8, 8, 1)).train()
    assert kinds(module) == [Kind.POINTWISE]
    assert module.training
    assert module[0].training
