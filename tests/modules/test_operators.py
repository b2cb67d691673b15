import torch
from torch import nn

from proxyless.modules.operators import count_macs, count_parameters, signature
from proxyless.spaces.mobilenet import MobileNetSpace

X = [torch.randn(1, 4, 8, 8)]


def test_equal_operators_have_one_signature_whatever_their_weights_and_class():
    class Mine(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = nn.Conv2d(4, 8, 3, stride=2, padding=1)

        def forward(self, x):
            return self.inner(x)

    torch.manual_seed(0)
    assert signature(nn.Conv2d(4, 8, 3, stride=2, padding=1), X) == signature(Mine(), X)


def test_every_property_that_costs_time_changes_the_signature():
    modules = [
        nn.Conv2d(4, 8, 3, padding=1),
        nn.Conv2d(4, 8, 3, padding=1, stride=2),
        nn.Conv2d(4, 8, 3, padding=2, dilation=2),
        nn.Conv2d(4, 8, 3, padding=1, bias=False),
        nn.Conv2d(4, 8, 3, padding=1, groups=4),
        nn.Conv2d(4, 12, 3, padding=1),
        nn.Sequential(nn.Conv2d(4, 8, 3, padding=1), nn.ReLU()),
        nn.Sequential(nn.Conv2d(4, 8, 3, padding=1), nn.ReLU6()),
    ]
    found = [signature(module, X) for module in modules]
    found.append(signature(modules[0], [torch.randn(1, 4, 9, 9)]))
    found.append(signature(modules[0], [torch.randn(2, 4, 8, 8)]))
    assert len(set(found)) == len(found)


def test_operators_hidden_in_functions_are_seen_and_so_is_the_flow_of_data():
    class Net(nn.Module):
        def __init__(self, function):
            super().__init__()
            self.function = function
            self.a, self.b = nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 1)

        def forward(self, x):
            return self.function(self.a(x), self.b(x))

    functions = [lambda a, b: a + b, lambda a, b: a * b, lambda a, b: a + a, lambda a, b: torch.relu(a) + b]
    assert len({signature(Net(function), X) for function in functions}) == 4


def test_the_mode_of_the_module_is_left_alone():
    module = nn.Dropout()
    module.train()
    signature(module, X)
    count_macs(module, X)
    assert module.training


def test_macs_are_those_of_the_textbook():
    module = nn.Sequential(nn.Conv2d(4, 8, 3, stride=2, padding=1, groups=2), nn.BatchNorm2d(8), nn.Flatten())
    module.append(nn.Linear(128, 10))
    assert count_macs(module, X) == (4 // 2) * 8 * 9 * 4 * 4 + 128 * 10
    assert count_parameters(module) == (2 * 8 * 9 + 8) + 16 + 1290


def test_blocks_of_one_stage_share_their_signature():
    network = MobileNetSpace(classes=10, image_size=32).network()
    x = [torch.randn(1, 16, 16, 16)]
    one, two = (getattr(network.stage1, f"block{i}").candidates["k3_e6"] for i in (1, 2))
    other = network.stage1.block1.candidates["k3_e3"]
    assert signature(one, x) == signature(two, x) != signature(other, x)


def test_macs_inside_of_attention_and_recurrent_layers_count():
    class Attention(nn.Module):
        def forward(self, x):
            return nn.functional.scaled_dot_product_attention(x, x, x)

    class Vectors(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(8, 3)

        def forward(self, x):
            return self.linear(x[0, 0]) + self.linear.weight.mv(x[0, 0]) + x[0, 0].dot(x[0, 1])

    batch, steps, width = 2, 5, 8
    x = [torch.randn(batch, steps, width)]
    rows = batch * steps
    products = 2 * batch * steps * steps * width  # queries with keys, and weights with values
    assert count_macs(Attention(), x) == products
    transformer = nn.TransformerEncoderLayer(width, 2, 16, batch_first=True)
    assert count_macs(transformer, x) == products + rows * (4 * width * width + 2 * width * 16)
    assert count_macs(nn.LSTM(width, 6, batch_first=True), x) == rows * 4 * (width * 6 + 6 * 6)
    both_ways = nn.GRU(width, 6, 2, batch_first=True, bidirectional=True)
    assert count_macs(both_ways, x) == rows * 2 * 3 * ((width * 6 + 6 * 6) + (12 * 6 + 6 * 6))
    assert count_macs(Vectors(), x) == 2 * 3 * width + width
    assert torch.backends.mha.get_fastpath_enabled()
    assert torch.backends.mkldnn.enabled
