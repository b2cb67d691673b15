"""Int8 models: what ranges they are given, channels on one level, and the sessions this takes."""

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from torch import nn

from proxyless.export.calibration import Method, ranges
from proxyless.export.equalize import equalized, groups
from proxyless.export.onnx import to_onnx
from proxyless.export.onnx_session import run, session
from proxyless.export.quantize import RECIPES, Recipe, quantized, simplified


class Blocks(nn.Module):
    """Bottlenecks with a shortcut, a depthwise convolution, ReLU and ReLU6: (batch, 3, 12, 12) -> (batch, 5)."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU6())
        self.wide = nn.Sequential(nn.Conv2d(8, 16, 1), nn.ReLU(), nn.Conv2d(16, 16, 3, padding=1, groups=16), nn.ReLU())
        self.first, self.second = nn.Conv2d(16, 8, 1), nn.Conv2d(8, 8, 3, padding=1)
        self.head, self.classifier = nn.Sequential(nn.Conv2d(8, 12, 1), nn.ReLU()), nn.Linear(12, 5)

    def forward(self, x):
        x = self.first(self.wide(self.stem(x)))
        x = x + self.second(x)
        return self.classifier(self.head(x).mean(dim=(2, 3)))


@pytest.fixture
def images():
    generator = torch.Generator().manual_seed(0)
    return torch.randn(32, 3, 12, 12, generator=generator) * torch.linspace(0.2, 3, 32)[:, None, None, None]


def network() -> nn.Module:
    torch.manual_seed(0)
    return Blocks().eval()


def hostile() -> nn.Module:
    """The same function, with channels whose levels differ a million times."""
    net = network()
    scale = torch.logspace(-3, 3, 16)
    with torch.no_grad():
        for maker, reader, factors in (
            (net.wide[0], net.wide[2], scale),
            (net.wide[2], net.first, scale.flip(0)),
            (net.head[0], net.classifier, scale[:12]),
        ):
            maker.weight.mul_(factors.reshape(-1, 1, 1, 1))
            maker.bias.mul_(factors)
            shape = (-1, 1, 1, 1) if reader.weight.shape[1] == 1 else (1, -1, 1, 1)[: reader.weight.ndim]
            reader.weight.div_(factors.reshape(shape))
    return net


def outputs(model: bytes, images: torch.Tensor) -> np.ndarray:
    return run(session(model), images.numpy())


def error(model: bytes, recipe: Recipe, images: torch.Tensor) -> float:
    """Of the int8 outputs, as a share of the spread of float32's."""
    expected = outputs(model, images)
    found = outputs(quantized(model, [[part.numpy()] for part in images.split(8)], recipe), images)
    return float(np.sqrt(((found - expected) ** 2).mean() / ((expected - expected.mean(axis=0)) ** 2).mean()))


def test_minmax_ranges_are_those_of_all_samples_whatever_groups_they_come_in(images):
    net, model = network(), onnx.load_from_string(to_onnx(network(), [images]))
    with torch.no_grad():
        stem, logits = net.stem(images), net(images)
    for size in (1, 5, 32):
        found = ranges(model, [{"input": part.numpy()} for part in images.split(size)])
        assert found["input"] == (images.min(), images.max())
        assert found["output"] == pytest.approx(
            (min(0.0, logits.min().item()), max(0.0, logits.max().item())), rel=1e-4
        )
        assert any(high == pytest.approx(stem.max().item(), rel=1e-5) and low == 0 for low, high in found.values())


def test_percentile_and_mse_draw_in_the_range_of_a_tensor_with_one_far_value():
    model = onnx.load_from_string(to_onnx(nn.Sequential(nn.Conv2d(1, 1, 1)), [torch.zeros(1, 1, 200, 200)]))
    values = np.random.default_rng(0).standard_normal((1, 1, 200, 200)).astype(np.float32)
    values[0, 0, 0, 0] = 1000
    spans = {method: ranges(model, [{"input": values}], method)["input"] for method in Method}
    assert spans[Method.MINMAX][1] == 1000
    assert 3 < spans[Method.PERCENTILE][1] < 10

    # Independently, by brute force over upper ends: the one with the smallest mean square error.
    def mean_square(high: float) -> float:
        low = float(values.min())
        step = (high - low) / 255
        return float(((np.round(np.clip(values, low, high) / step) * step - values) ** 2).mean())

    assert mean_square(float(spans[Method.MSE][1])) <= 1.1 * min(mean_square(h) for h in np.linspace(10, 1000, 100))


def test_equal_levels_leave_the_network_as_it_is_and_make_hostile_channels_harmless(images):
    model = to_onnx(hostile(), [images])
    proto = simplified(model)
    assert sum(len(group.makers) for group in groups(proto)) >= 5
    level = equalized(proto, [{"input": images.numpy()}])
    assert outputs(level.SerializeToString(), images) == pytest.approx(outputs(model, images), rel=1e-3, abs=1e-4)
    ordinary = error(to_onnx(network(), [images]), Recipe(), images)
    assert error(model, Recipe(), images) > 10 * ordinary
    assert error(model, Recipe(equalize=True), images) < 3 * ordinary


def test_a_bound_above_a_clip_is_never_passed_by_raising_a_channel(images):
    net = nn.Sequential(nn.Conv2d(3, 8, 1), nn.ReLU6(), nn.Conv2d(8, 4, 1)).eval()
    with torch.no_grad():
        net[0].weight.mul_(torch.logspace(-2, 1, 8)[:, None, None, None])
    model = simplified(to_onnx(net, [images]))
    level = equalized(model, [{"input": images.numpy()}])
    with torch.no_grad():
        assert outputs(level.SerializeToString(), images) == pytest.approx(net(images).numpy(), abs=1e-4)
    weights = [numpy_helper.to_array(tensor) for tensor in level.graph.initializer]
    assert not any(np.array_equal(weight, net[0].weight.detach().numpy()) for weight in weights)


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.name)
def test_every_recipe_keeps_an_ordinary_network(recipe, images):
    assert error(to_onnx(network(), [images]), recipe, images) < 0.25


def test_no_session_takes_more_than_one_thread(images, monkeypatch):
    import onnxruntime

    taken = []

    class Session(onnxruntime.InferenceSession):
        def __init__(self, model, options=None, **others):
            taken.append((options.intra_op_num_threads, options.inter_op_num_threads) if options else "automatic")
            super().__init__(model, options, **others)

    monkeypatch.setattr(onnxruntime, "InferenceSession", Session)
    quantized(to_onnx(network(), [images]), [[images.numpy()]], Recipe(Method.MSE, equalize=True))
    assert len(taken) > 2
    assert set(taken) == {(1, 1)}
