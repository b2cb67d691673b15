"""Runtimes that other code registers: known wherever ours are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from proxyless import ProxylessError
from proxyless.latency.device import Device, device, devices, list_devices
from proxyless.latency.measure import measure_networks
from proxyless.latency.runtimes import RUNTIMES, register_runtime, runtime, why_unavailable
from proxyless.latency.timing.statistics import Effort


class Loaded:
    def __init__(self, module: nn.Module, inputs: list[torch.Tensor]) -> None:
        self.module, self.inputs = module, inputs

    def times_ms(self, count: int) -> np.ndarray:
        self.outputs()
        return np.full(count, 2.5)

    def outputs(self) -> list[np.ndarray]:
        with torch.no_grad():
            return [self.module(*self.inputs).numpy()]


class Slow:
    """Every inference takes 2.5 ms."""

    def version(self) -> str:
        return "1.0"

    def prepare(self, module, inputs, device):
        return Loaded(module.eval(), inputs)

    def load(self, model, inputs, device):
        raise ProxylessError("runs no file")


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test registers is forgotten after it."""
    device("cpu")  # ours are registered when first asked for, and stay
    for name in ("_things", "_origins"):
        monkeypatch.setattr(RUNTIMES, name, dict(getattr(RUNTIMES, name)))


@pytest.fixture
def slow(registry: None) -> None:
    register_runtime("slow", title="Slow one", devices=[Device("slow-cpu", "slow")], packages=["torch"])(Slow)


@pytest.mark.usefixtures("slow")
def test_its_device_is_known_and_listed():
    assert device("slow-cpu", batch=2) == Device("slow-cpu", "slow", batch=2)
    assert "slow-cpu" in devices()
    found = next(known for known in list_devices() if known.name == "slow-cpu")
    assert (found.title, found.runtime_version, found.available) == ("Slow one", "1.0", True)
    assert found.description == "available here"


@pytest.mark.usefixtures("slow")
def test_networks_are_measured_on_it():
    network = nn.Conv2d(1, 1, 1)
    found, _ = measure_networks([network], ((1, 1, 2, 2),), device("slow-cpu"), Effort(rounds=2, loadings=1, limit_s=1))
    assert found[0].ms == pytest.approx(2.5)


@pytest.mark.usefixtures("registry")
def test_what_it_needs_is_said_where_that_is_missing():
    described = {"title": "Needy", "devices": [Device("needy-cpu", "needy")]}
    register_runtime("needy", packages=["nothing_of_this_name"], **described)(Slow)
    assert why_unavailable("needy") == "nothing_of_this_name is not installed: pip install nothing_of_this_name"
    with pytest.raises(ProxylessError, match="Needy: nothing_of_this_name is not installed"):
        runtime("needy")
    assert next(known for known in list_devices() if known.name == "needy-cpu").available is False


@pytest.mark.usefixtures("registry")
@pytest.mark.parametrize(
    ("name", "device", "told"),
    [
        ("torch", Device("mine", "torch"), "there is a runtime called 'torch' already"),
        ("mine", Device("cpu", "mine"), "runtime mine: there is a device cpu already, of onnxruntime"),
        ("mine", Device("mine", "torch"), "runtime mine: its device mine is of the runtime torch"),
    ],
)
def test_a_name_that_is_taken_is_refused(name: str, device: Device, told: str):
    with pytest.raises(ProxylessError, match=told):
        register_runtime(name, title="Mine", devices=[device])(Slow)


def test_a_package_that_cannot_be_imported_is_listed_and_stops_no_other_device(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    info = tmp_path / "torn-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: torn\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[proxyless.runtimes]\ntorn = torn_package\n")
    (tmp_path / "torn_package.py").write_text("raise OSError('libtorn.so is missing')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(vars(RUNTIMES), "_entry_points", raising=False)
    try:
        told = "runtime torn of the package torn cannot be imported: OSError: libtorn.so is missing"
        assert device("cpu").here
        assert why_unavailable("torn") == told
        found = next(known for known in list_devices() if known.name == "torn")
        assert (found.available, found.needs) == (False, told)
        with pytest.raises(ProxylessError, match=f"no device called 'toaster'.*{told}"):
            device("toaster")
    finally:
        vars(RUNTIMES).pop("_entry_points", None)
