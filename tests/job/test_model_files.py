"""Files of a network beside model.onnx: int8 ranges stand for all classes, whatever their folders are called."""

from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from proxyless import ProxylessError, data
from proxyless.export.onnx import export
from proxyless.job import model_files
from proxyless.job.run_folder import RunFolder
from proxyless.tasks import Classification

TASK = Classification()
LEVELS = {"dark": 20, "middle": 120, "bright": 220}


class Brightness(nn.Module):
    """Tells three classes by their brightness; ``order`` says which output is which."""

    def __init__(self, order: list[str]) -> None:
        super().__init__()
        self.mix = nn.Conv2d(1, 4, 1)
        self.tell = nn.Linear(4, 3)
        slopes = {"dark": (-4.0, -2.4), "middle": (0.0, 0.0), "bright": (4.0, -2.4)}
        with torch.no_grad():
            self.mix.weight.fill_(1.0)
            self.mix.bias.zero_()
            for number, name in enumerate(order):
                self.tell.weight[number] = slopes[name][0] / 4
                self.tell.bias[number] = slopes[name][1]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.tell(self.mix(x).mean(dim=(2, 3)))


def folder(path: Path, names: dict[str, str]) -> Path:
    """A folder of images in which the class called ``names[level]`` has that level."""
    numbers = np.random.default_rng(0)
    for level, name in names.items():
        (path / name).mkdir(parents=True)
        for number in range(60):
            pixels = np.clip(numbers.normal(LEVELS[level], 15, (8, 8)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(path / name / f"{number}.png")
    return path


@pytest.mark.parametrize("order", list(permutations(LEVELS)), ids="-".join)
def test_renaming_the_folders_leaves_the_accuracy_of_int8(order, tmp_path):
    names = {level: f"{number}-{level}" for number, level in enumerate(order)}
    images = data.load(str(folder(tmp_path / "images", names)))
    network, run = Brightness(list(order)).eval(), RunFolder(tmp_path / "run")
    samples = model_files.Samples(
        calibration=images.sample("train", 24).images(),
        held_out=images.sample("valid", 2000),
        compared=images.sample("valid", 32).images(),
    )
    run.path.mkdir()
    export(network, samples.compared, run.onnx, metadata={})
    comparison = model_files.write(run, run.onnx_int8, network, samples, TASK)
    assert comparison is not None
    assert comparison.samples == len(images.valid)
    assert (comparison.score, comparison.best.score) == (1.0, 1.0)
    assert len(comparison.trials) == 1
    assert model_files.metric_of(run.onnx_int8, images.loader("test", batch_size=64), TASK) == 1.0


def test_a_folder_or_a_huge_file_in_the_place_of_a_model_is_one_line(tmp_path):
    (tmp_path / "model.onnx").mkdir()
    with pytest.raises(ProxylessError, match="a folder"):
        model_files.metric_of(tmp_path / "model.onnx", [], TASK)
    with (tmp_path / "large.onnx").open("wb") as file:
        file.truncate(2**33)
    with pytest.raises(ProxylessError, match="MiB"):
        model_files.metric_of(tmp_path / "large.onnx", [], TASK)
