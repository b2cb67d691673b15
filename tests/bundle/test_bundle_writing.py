"""What a bundle consists of."""

from __future__ import annotations

import hashlib
from itertools import pairwise

import numpy as np
import onnxruntime
import pytest
import torch
from small_bundle import smallest_space

from proxyless import ProxylessError, derive, spaces
from proxyless.architecture import Architecture
from proxyless.bundle.writing import write_bundle
from proxyless.export import litert
from proxyless.latency import runtimes
from proxyless.supernet import Supernet


def test_a_bundle_is_whole(written):
    out, manifest, shares = written
    models = [*manifest["operators"].values(), *manifest["networks"]]
    files = {item["file"] for item in models} | {"manifest.json", "run.pyz", "README.md"}
    assert {str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()} == files
    assert all(hashlib.sha256((out / m["file"]).read_bytes()).hexdigest() == m["sha256"] for m in models)
    assert not list(out.parent.glob(".partial*"))
    assert shares[-1] == 1.0
    assert all(a < b for a, b in pairwise(shares))


def test_the_networks_of_a_bundle_compute_what_their_choices_say(written):
    out, manifest, _ = written
    space = spaces.make(manifest["space"]["name"], manifest["space"]["arguments"])
    torch.manual_seed(0)
    supernet = Supernet(space.network())
    images = torch.randn(2, *manifest["input_shape"], generator=torch.Generator().manual_seed(3))
    for item in manifest["networks"]:
        assert item["inputs"] == [{"name": "input", "dtype": "float32", "shape": [2, 1, 8, 8]}]
        network = derive(supernet, Architecture(item["choices"])).eval()
        found = onnxruntime.InferenceSession(out / item["file"]).run(None, {"input": images.numpy()})[0]
        np.testing.assert_allclose(found, network(images).detach().numpy(), atol=1e-5)


def test_a_candidate_that_cannot_be_exported_is_named_and_nothing_is_left(tmp_path, monkeypatch):
    from proxyless.bundle import writing as bundling

    def refuse(*arguments, **keywords):
        raise ProxylessError("cannot be exported to ONNX")

    monkeypatch.setattr(bundling, "to_onnx", refuse)
    with pytest.raises(ProxylessError, match=r"k3_e1 of choice stage1\.block0: cannot be exported"):
        write_bundle(smallest_space(), tmp_path / "bundle", networks=2)
    assert not list(tmp_path.iterdir())


def test_tflite_files_need_litert_and_say_so_before_any_work(tmp_path, monkeypatch):
    monkeypatch.setattr(runtimes, "find_spec", lambda name: None)
    with pytest.raises(ProxylessError, match=r"proxyless\[litert\]"):
        write_bundle(smallest_space(), tmp_path / "b", networks=2, tflite=True)
    assert not list(tmp_path.iterdir())


def test_tflite_files_lie_beside_the_onnx_files(tmp_path, monkeypatch):
    made = []
    monkeypatch.setattr(runtimes, "missing", lambda program: None)
    monkeypatch.setattr(litert, "to_tflite", lambda module, inputs: made.append(module) or b"TFL3")
    write_bundle(smallest_space(), tmp_path / "b", networks=2, tflite=True)
    onnx = {path.relative_to(tmp_path).with_suffix("") for path in tmp_path.rglob("*.onnx")}
    assert {path.relative_to(tmp_path).with_suffix("") for path in tmp_path.rglob("*.tflite")} == onnx
    assert len(made) == len(onnx)
