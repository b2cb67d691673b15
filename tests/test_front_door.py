"""The verbs of the front door, as a user calls them."""

from __future__ import annotations

import inspect
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import proxyless
from proxyless import Choice, ProxylessError, spaces
from proxyless.job.settings import Settings
from proxyless.latency.timing.statistics import Interval

VERSION = Path(__file__).parent / "versions" / "0.1.0"
TINY = {
    "space.width": 0.1,
    "space.depths": [1, 1, 1, 1, 1, 1],
    "space.expansions": [2],
    "space.kernels": [3, 5],
    "search.warmup_epochs": 0,
    "training.epochs": 1,
}
QUICK = {"rounds": 3, "loadings": 1, "limit_s": 0.0, "burst_ms": 0.5, "networks": 4, "cache": None}


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """A finished run of pictures by version 0.1, and the pictures."""
    run = tmp_path_factory.mktemp("runs") / "photos"
    shutil.copytree(VERSION / "of-photos", run)
    return run, sorted((VERSION / "photos").rglob("*.png"))


def test_the_main_job_is_one_call_and_the_same_call_goes_on(tmp_path):
    given = {"device": VERSION / "table.json", "latency": 1.0, "settings": TINY, "search_epochs": 1, "quiet": True}
    given["device"] = str(given["device"])
    run = proxyless.search("digits", out=tmp_path / "run", **given)
    config = (tmp_path / "run" / "config.yaml").read_text()
    assert "  epochs: 1\n" in config
    assert run.result == json.loads((tmp_path / "run" / "result.json").read_text())
    written = (tmp_path / "run" / "result.json").stat().st_mtime_ns
    again = proxyless.search(config=tmp_path / "run" / "config.yaml", out=tmp_path / "run", quiet=True)
    assert again.result == run.result
    assert (tmp_path / "run" / "result.json").stat().st_mtime_ns == written


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"search_epoch": 3}, r"unknown setting search.epoch: did you mean search.epochs\?"),
        ({"settings": {"search.epochs": "many"}}, "setting search.epochs must be a whole number"),
        ({"lattency": 3}, "unknown setting lattency: did you mean latency"),
        ({"train": []}, "train goes with network="),
        ({"data": None}, "no data"),
        ({"device": "toaster"}, "no device called 'toaster'"),
        ({"data": ["a.jpg"]}, r"setting data must be text, got \['a.jpg'\]"),
        ({"latency": np.float32(0)}, "--latency must be above 0 ms"),
    ],
)
def test_a_mistake_in_a_call_is_one_line(given, message, tmp_path):
    with pytest.raises(ProxylessError, match=message) as caught:
        proxyless.search(**({"data": "digits", "latency": 1.0} | given), out=tmp_path / "run", quiet=True)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_a_path_object_and_a_number_of_numpy_are_taken(tmp_path):
    given = {"device": VERSION / "table.json", "latency": np.float32(1e-6), "measure_cache": tmp_path}
    with pytest.raises(ProxylessError, match=r"--latency 1e-06 cannot be met"):
        proxyless.search("digits", **given, settings=TINY, out=tmp_path / "run", quiet=True)
    with pytest.raises(ProxylessError, match="out: must be a path, got None"):
        proxyless.search("digits", latency=1.0, out=None)
    with pytest.raises(ProxylessError, match="path: must be a path, got 3"):
        proxyless.load(3)


def test_a_run_of_before_is_loaded_and_predicts(photos):
    path, pictures = photos
    run = proxyless.load(path)
    classes = json.loads((path / "model.json").read_text())["classes"]
    assert run.path == path
    assert run.report.name == "report.html"
    of_paths = run.predict(pictures)
    assert len(of_paths) == len(pictures)
    assert set(of_paths) <= set(classes)
    tensor = torch.stack([run.preprocess(picture) for picture in pictures])
    assert run.predict(tensor) == of_paths
    assert run.predict([Image.open(picture) for picture in pictures]) == of_paths
    assert run.predict(pictures[0]) == of_paths[:1]
    pixels = np.asarray(Image.open(pictures[0]).convert("RGB"))
    assert run.predict(pixels) == run.predict([pixels]) == of_paths[:1]
    expected = run.model(tensor).argmax(dim=1).tolist()
    assert [classes.index(name) for name in of_paths] == expected


@pytest.mark.parametrize("images", [None, 3, [3], b"png", [torch.zeros(3, 16, 16)]])
def test_what_is_no_image_is_one_line(images, photos):
    with pytest.raises(ProxylessError, match="an image must be a Pillow image, a path or an array of pixels, got"):
        proxyless.load(photos[0]).predict(images)


def test_what_is_no_run_is_one_line(tmp_path, photos):
    with pytest.raises(ProxylessError, match="no such run folder"):
        proxyless.load(tmp_path / "nothing")
    with pytest.raises(ProxylessError, match="leave network= away"):
        proxyless.load(photos[0], network=nn.Linear(1, 1))


def test_a_network_is_measured_and_a_space_becomes_a_table():
    latency = proxyless.measure(nn.Conv2d(1, 4, 3), (1, 8, 8), **QUICK)
    assert isinstance(latency, Interval)
    assert 0 < latency.low_ms <= latency.ms <= latency.high_ms
    net = nn.Sequential(Choice(a=nn.Conv2d(1, 4, 3), b=nn.Conv2d(1, 4, 3, bias=False)), nn.Flatten())
    table = proxyless.measure(net, (1, 8, 8), "cpu-torch", **QUICK)
    assert list(table.rows) == ["0"]
    assert table.device["runtime"] == "torch"
    arguments = {name.removeprefix("space."): value for name, value in TINY.items() if name.startswith("space.")}
    space = spaces.make("mobilenet", arguments | {"classes": 3, "channels": 1, "image_size": 8})
    assert len(proxyless.measure(space, **QUICK).rows) == 6


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"network": nn.Conv2d(1, 1, 1)}, "input_shape is needed"),
        ({"network": nn.Conv2d(1, 1, 1), "input_shape": (1, 8, 8), "device": "pixel1"}, "nothing is measured"),
        ({"network": "mobilenet", "input_shape": (3, 8)}, "input_shape must be"),
        ({"network": "mobilnet", "input_shape": (3, 8, 8)}, "did you mean mobilenet"),
        ({"network": nn.Conv2d(1, 1, 1), "input_shape": (1, 8, 8), "seconds": 3}, "unknown setting measure.seconds"),
        ({"network": None, "input_shape": (1, 8, 8)}, "network: must be a torch.nn.Module, a search space, or"),
        ({"network": nn.ReLU, "input_shape": (1, 8, 8)}, "network: must be a torch.nn.Module, a search space, or"),
        ({"network": spaces.list_spaces()[0], "input_shape": (1, 8, 8)}, "network: must be a torch.nn.Module, a"),
        ({"network": nn.Conv2d(1, 1, 1), "input_shape": 8}, "input_shape: must be whole numbers of one input"),
        ({"network": nn.Conv2d(1, 1, 1), "input_shape": (1, -8, 8)}, "input_shape: must be whole numbers"),
        ({"network": nn.Conv2d(1, 1, 1), "input_shape": torch.zeros(1, 8, 8)}, "input_shape: must be whole"),
        ({"network": Choice(a=nn.Conv2d(1, 1, 1), b=nn.Identity()), "input_shape": (3, 8, 8)}, "network: cannot run"),
    ],
)
def test_a_mistake_in_measuring_is_one_line(given, message):
    with pytest.raises(ProxylessError, match=message):
        proxyless.measure(**given)


def test_search_is_a_verb_also_after_its_package_was_imported():
    import proxyless.search.gradient

    assert callable(proxyless.search)
    assert proxyless.search.gradient.TwoPathUpdate is proxyless.TwoPathUpdate
    assert "data" in inspect.signature(proxyless.search).parameters


def test_every_public_name_is_there_and_help_reads_like_a_page():
    assert sorted(proxyless.__all__) == proxyless.__all__
    assert set(proxyless.__all__) <= set(dir(proxyless))
    for name in proxyless.__all__:
        assert getattr(proxyless, name).__doc__, name
    page = proxyless.__doc__
    assert all(verb in page for verb in ("search(", "load(", "measure(", "list_devices()", "list_spaces()"))
    assert max(map(len, page.splitlines())) <= 120


def test_settings_keep_their_text_when_their_defaults_are_filled_in():
    from proxyless.job.resolved import with_lengths

    chosen = Settings().replace({"search.epochs": 3, "training.epochs": 5})
    before, after = chosen.to_yaml().splitlines(), with_lengths(chosen, 1000).to_yaml().splitlines()
    names = [line.partition(":")[0] for line in before]
    assert [line.partition(":")[0] for line in after] == names
    changed = [new.strip() for old, new in zip(before, after, strict=True) if old != new]
    assert [line.partition(":")[0] for line in changed] == [
        "warmup_epochs",
        "architecture_learning_rate",
        "multiplier_gain",
    ]


def test_importing_the_front_door_loads_nothing_heavy():
    code = "import sys, proxyless; proxyless.search; proxyless.load; print({'torch', 'numpy', 'yaml'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "set()", done.stderr
