import math

import pytest
import torch

from proxyless import Architecture, ProxylessError, Supernet, architecture_of, derive
from proxyless.modules.operators import count_macs, count_parameters
from proxyless.spaces import make, space_of
from proxyless.spaces.mobilenet import MobileNetSpace


def test_the_imagenet_space_is_that_of_the_paper():
    space = MobileNetSpace()
    choices = space.choices()
    assert len(choices) == 21
    assert sum("skip" in candidates for candidates in choices.values()) == 15
    assert math.prod(len(candidates) for candidates in choices.values()) == 7**15 * 6**6
    assert space.stage_widths() == (24, 40, 80, 96, 192, 320)
    assert space.strides() == (2, (2, 2, 2, 1, 2, 1))


def mbconv(c, o, k, e, h, stride):
    """MACs and parameters of an MBConv, c to o channels on an h x h input, by hand."""
    m, h2 = c * e, -(-h // stride)
    macs = c * m * h * h + m * k * k * h2 * h2 + m * o * h2 * h2
    return macs, c * m + 2 * m + m * k * k + 2 * m + m * o + 2 * o, h2


@pytest.mark.parametrize(("taken", "later"), [("k3_e3", "skip"), ("k7_e6", "k7_e6"), ("k5_e3", "k3_e6")])
def test_macs_and_parameters_equal_their_closed_form(taken, later):
    space = MobileNetSpace(classes=1000)
    architecture = space.architecture({n: later if "block0" not in n else taken for n in space.choices()})
    macs, parameters = 3 * 32 * 9 * 112**2, 3 * 32 * 9 + 64
    macs += 32 * 9 * 112**2 + 32 * 16 * 112**2
    parameters += 32 * 9 + 64 + 32 * 16 + 32
    width, h = 16, 112
    for out, depth, stride in zip((24, 40, 80, 96, 192, 320), (4, 4, 4, 4, 4, 1), (2, 2, 2, 1, 2, 1), strict=True):
        for block in range(depth):
            op = later if block else taken
            if op == "skip":
                continue
            kernel, expansion = int(op[1]), int(op[-1])
            more, weights, h = mbconv(width, out, kernel, expansion, h, 1 if block else stride)
            macs, parameters, width = macs + more, parameters + weights, out
    macs += 320 * 1280 * h * h + 1280 * 1000
    parameters += 320 * 1280 + 2560 + 1280 * 1000 + 1000
    network = space.build(architecture)
    assert count_macs(network, [torch.randn(1, 3, 224, 224)]) == macs
    assert count_parameters(network) == parameters


@pytest.mark.parametrize(
    ("size", "stem", "total"), [(8, 1, 2), (28, 1, 8), (32, 1, 8), (64, 1, 16), (96, 2, 32), (128, 2, 32), (224, 2, 32)]
)
def test_strides_follow_the_image_size(size, stem, total):
    space = MobileNetSpace(image_size=size)
    found, stages = space.strides()
    assert found == stem
    assert found * math.prod(stages) == total


@pytest.mark.parametrize(
    "arguments", [{"image_size": 28, "channels": 1, "classes": 7}, {"image_size": 96, "width": 0.35}]
)
def test_the_compact_network_computes_what_the_path_of_the_supernet_computes(arguments):
    torch.manual_seed(0)
    space = MobileNetSpace(**arguments)
    supernet = Supernet(space.network(), seed=3).eval()
    supernet.sample(uniform=True)
    architecture = space.architecture(dict(architecture_of(supernet, supernet.path).choices))
    compact = space.build(architecture).eval()
    derived = derive(supernet, architecture).eval()
    compact.load_state_dict(dict(zip(compact.state_dict(), derived.state_dict().values(), strict=True)))
    x = torch.randn(2, *space.input_shape)
    with torch.no_grad():
        assert torch.allclose(compact(x), supernet(x), atol=1e-5)
        assert torch.equal(derived(x), supernet(x))


def test_the_compact_network_is_one_that_timm_rebuilds_from_its_arguments_alone():
    from timm.models._efficientnet_builder import decode_arch_def
    from timm.models.efficientnet import EfficientNet

    space = MobileNetSpace(classes=5)
    architecture = space.architecture({name: candidates[-1] for name, candidates in space.choices().items()})
    arguments = space.timm_arguments(architecture)
    alone = EfficientNet(
        decode_arch_def(arguments["arch_def"]), num_classes=5, stem_size=32, fix_stem=True, num_features=1280
    )
    mine = space.build(architecture)
    assert isinstance(mine, EfficientNet)
    assert {n: v.shape for n, v in alone.state_dict().items()} == {n: v.shape for n, v in mine.state_dict().items()}
    assert mine.forward_features(torch.randn(1, 3, 64, 64)).shape[1] == 1280
    mine.reset_classifier(3)
    assert mine(torch.randn(2, 3, 64, 64)).shape == (2, 3)


def test_an_architecture_is_rebuilt_from_its_file_alone(tmp_path):
    space = MobileNetSpace(classes=3, channels=1, image_size=16, depths=(2, 1, 1, 1, 1, 1))
    architecture = space.architecture({name: candidates[0] for name, candidates in space.choices().items()})
    architecture.save(tmp_path / "a.json")
    loaded = Architecture.load(tmp_path / "a.json")
    assert space_of(loaded) == space
    assert space_of(loaded).build(loaded)(torch.randn(2, 1, 16, 16)).shape == (2, 3)


def test_one_readable_line_describes_it():
    space = MobileNetSpace(image_size=32, depths=(2, 1, 1, 1, 1, 1))
    choices = dict.fromkeys(space.choices(), "k3_e6") | {"stage1.block1": "skip"}
    assert space.describe(space.architecture(choices)).startswith("16: k3e6 - | 24: k3e6 | ")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"classes": 0}, "classes must be at least 1"),
        ({"image_size": 4}, "at least 8 and at most 4096"),
        ({"width": 0.0}, "width must be at least 0.1 and at most 8"),
        ({"depths": (1, 2)}, "6 numbers"),
        ({"kernels": (2,)}, "odd"),
        ({"kernels": (3,), "expansions": (6,)}, "at least two candidates"),
        ({"wdith": 1.0}, "has no argument wdith: did you mean width"),
    ],
)
def test_arguments_out_of_range_are_one_clear_error(arguments, message):
    with pytest.raises(ProxylessError, match=message):
        make("mobilenet", arguments)


def test_an_unknown_space_names_the_known_ones():
    with pytest.raises(ProxylessError, match="no search space called 'resnet': there is mobilenet"):
        make("resnet")
