"""Files that earlier versions wrote are read, and gone on from, by this one; see ``versions/README.md``."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from proxyless import spaces
from proxyless.architecture import Architecture
from proxyless.cli import main
from proxyless.job import settings
from proxyless.latency.table import LatencyTable
from proxyless.supernet import Supernet

VERSIONS = sorted(
    path for path in (Path(__file__).parent / "versions").iterdir() if path.is_dir() and path.name[0] != "_"
)
RECORDED = "/data/photos"


@pytest.fixture(params=VERSIONS, ids=lambda path: path.name)
def version(request):
    return request.param


def copied(version: Path, name: str, tmp_path: Path) -> Path:
    """A run of ``version`` that may be written to, its pictures where they are now."""
    run = tmp_path / name
    shutil.copytree(version / name, run)
    for path in (run / "config.yaml", run / "data.json", run / "result.json"):
        if path.exists():
            path.write_text(path.read_text().replace(RECORDED, str(version / "photos")))
    return run


def goes_on(run: Path) -> str:
    assert main(["search", "--config", str(run / "config.yaml"), "--out", str(run), "--quiet"]) == 0
    return (run / "log.jsonl").read_text()


@pytest.mark.parametrize("name", ["finished", "of-photos"])
def test_a_finished_run_is_evaluated_exported_and_reported(version, name, tmp_path, capsys):
    import onnxruntime

    run = copied(version, name, tmp_path)
    result = json.loads((run / "result.json").read_text())
    goes_on(run)
    assert json.loads((run / "result.json").read_text()) == result, "it was made again"
    assert f"{result['test_accuracy']:.2%}" in capsys.readouterr().out
    assert main(["evaluate", str(run)]) == 0
    assert capsys.readouterr().out.count(f"{result['test_accuracy']:.2%}") == 2
    images = np.random.default_rng(0).standard_normal((3, *json.loads((run / "model.json").read_text())["input_shape"]))
    before = onnxruntime.InferenceSession(run / "model.onnx").run(None, {"input": images.astype(np.float32)})[0]
    assert main(["export", str(run)]) == 0
    after = onnxruntime.InferenceSession(run / "model.onnx").run(None, {"input": images.astype(np.float32)})[0]
    np.testing.assert_allclose(after, before, atol=1e-4)
    (run / "report.html").unlink()
    assert main(["report", str(run), "--against", str(version / "finished")]) == 0
    assert result["architecture"].split()[0] in (run / "report.html").read_text()


def test_normalisation_can_be_put_into_the_onnx_file_of_a_run(version, tmp_path, capsys):
    """Fed with what Pillow reads, and by ``evaluate``, which finds the accuracy of the others."""
    import onnxruntime
    from PIL import Image

    run = copied(version, "of-photos", tmp_path)
    assert main(["export", str(run), "--pixels"]) == 0
    assert "model.pixels.onnx" in capsys.readouterr().out
    model = json.loads((run / "model.json").read_text())
    assert model["inputs"]["model.pixels.onnx"].startswith("uint8 (batch, height, width, channels)")
    how = model["preprocessing"]
    pixels = np.random.default_rng(0).integers(0, 256, (how["image_size"], how["image_size"], 3), dtype=np.uint8)
    image = Image.fromarray(pixels).convert("RGB" if how["channels"] == 3 else "L")
    x = np.asarray(image).reshape(how["image_size"], how["image_size"], -1)
    expected = (np.float32(x) / 255 - np.float32(how["mean"])) / np.float32(how["std"])
    found, plain = (
        onnxruntime.InferenceSession(run / name).run(None, {"input": fed[None]})[0]
        for name, fed in (("model.pixels.onnx", x), ("model.onnx", expected.transpose(2, 0, 1)))
    )
    np.testing.assert_allclose(found, plain, atol=1e-4)
    accuracy = f"{json.loads((run / 'result.json').read_text())['test_accuracy']:.2%}"
    assert main(["evaluate", str(run)]) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if line.endswith(accuracy)]
    assert [line.split()[0] for line in lines] == ["PyTorch", "model.onnx", "model.pixels.onnx"]


@pytest.mark.parametrize(("name", "told"), [("in-search", "of the search"), ("in-training", "of the training")])
def test_a_killed_run_goes_on_after_the_epoch_it_had_finished(version, name, told, tmp_path):
    run = copied(version, name, tmp_path)
    assert f"going on after epoch 1 {told}" in goes_on(run)
    assert json.loads((run / "result.json").read_text())["test_images"] > 0


def test_a_run_that_was_stopped_has_a_report(version, tmp_path):
    run = copied(version, "in-training", tmp_path)
    assert main(["report", str(run)]) == 0
    assert "Training" in (run / "report.html").read_text()


def test_a_latency_table_is_read_and_fits_its_space(version):
    table = LatencyTable.load(version / "table.json")
    chosen = settings.load(version / "config.yaml").space
    arguments = {"width": chosen.width, "depths": chosen.depths, "kernels": chosen.kernels}
    arguments |= {"expansions": chosen.expansions, "classes": 10, "channels": 1, "image_size": 8}
    supernet = Supernet(spaces.make("mobilenet", arguments).network())
    table.check(supernet)
    recorded = json.loads((version / "table.json").read_text())["networks"][0]
    assert table.networks[0].measured_ms == recorded["measured_ms"]


@pytest.mark.parametrize("timings", ["results.json", "times.csv"])
def test_timings_of_a_bundle_become_a_table(version, timings, tmp_path):
    out = tmp_path / "table.json"
    arguments = ["measure", "--from", version / timings, "--bundle", version / "bundle", "--out", out, "--quiet"]
    assert main([str(argument) for argument in arguments]) == 0
    measured = json.loads((version / "results.json").read_text())["times"]
    networks = [network.measured_ms for network in LatencyTable.load(out).networks]
    assert networks == pytest.approx([ms["ms"] for name, ms in measured.items() if "network" in name], rel=1e-4)


def test_an_architecture_and_a_config_are_read(version):
    architecture = Architecture.load(version / "architecture.json")
    network = spaces.space_of(architecture).build(architecture)
    recorded = json.loads((version / "finished" / "result.json").read_text())
    assert sum(parameter.numel() for parameter in network.parameters()) == recorded["parameters"]
    assert settings.load(version / "config.yaml").data == "digits"
