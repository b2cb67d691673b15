"""Where a name is none of those there are, the error says which of them was probably meant."""

from __future__ import annotations

import pytest

from proxyless import ProxylessError, data, spaces, zoo
from proxyless.architecture import indices
from proxyless.errors import meant, nearest
from proxyless.job import settings
from proxyless.job.settings import Settings
from proxyless.latency import published
from proxyless.latency.device import device
from proxyless.latency.runtimes import runtime


@pytest.mark.parametrize(
    ("look_up", "wanted"),
    [
        (lambda: device("cpu-int"), "cpu-int8"),
        (lambda: device("CPU"), "cpu"),
        (lambda: device("pixel-1"), "pixel1"),
        (lambda: spaces.make("mobilnet"), "mobilenet"),
        (lambda: spaces.make("nas_bench_macro"), "nas-bench-macro"),
        (lambda: data.load("fashion_mnist"), "fashion-mnist"),
        (lambda: data.load("CIFAR-10"), "cifar10"),
        (lambda: settings.load("imagenet-gradiant"), "imagenet-gradient"),
        (lambda: zoo.architecture("proxyless_moble"), "proxyless_mobile"),
        (lambda: published.table("pixel-1", spaces.make("mobilenet")), "pixel1"),
        (lambda: runtime("onnxruntim"), "onnxruntime"),
        (lambda: indices({"a": "k3_e7"}, {"a": ["k3_e6", "skip"]}), "k3_e6"),
        (lambda: Settings().replace({"search.update": "two_path"}), "two-path"),
        (lambda: Settings().replace({"search.epoch": 3}), "search.epochs"),
    ],
)
def test_the_nearest_of_those_there_are_is_offered(look_up, wanted):
    with pytest.raises(ProxylessError) as caught:
        look_up()
    assert f"did you mean {wanted}?" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_nothing_is_offered_for_what_is_like_none_of_them():
    assert nearest("abacus", ["cpu", "cuda"]) is None
    assert meant("", ["cpu", "cuda"]) == ""
    with pytest.raises(ProxylessError) as caught:
        device("abacus")
    assert "did you mean" not in str(caught.value)
