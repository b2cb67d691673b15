"""Classes of unequal size, or hardly ever recognised, from the settings to what is handed over."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from proxyless import data
from proxyless.architecture import Architecture
from proxyless.cli.output import summary
from proxyless.data.batches import Batches
from proxyless.job import objects, pipeline
from proxyless.job.settings import Balance, Settings
from proxyless.report.run_files import read_run
from proxyless.report.training import confusion_matrix

ARCHITECTURE = Path(__file__).parents[1] / "versions" / "0.1.0" / "architecture.json"


class Notes:
    """Keeps what a job tells."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def note(self, text: str) -> None:
        self.texts.append(text)

    def stage(self, name: str) -> None: ...

    def advance(self, done, total, metrics) -> None: ...

    def close(self) -> None: ...


def folder(root: Path, *, many: int, few: int) -> Path:
    rng = np.random.default_rng(0)
    for split, divisor in (("train", 1), ("valid", 4), ("test", 4)):
        for name, count in (("common", many), ("middling", many), ("rare", few)):
            (root / split / name).mkdir(parents=True)
            for number in range(max(1, count // divisor)):
                image = Image.fromarray(rng.integers(0, 256, (8, 8), dtype=np.uint8))
                image.save(root / split / name / f"{number}.png")
    return root


def trained(out: Path, source: Path, balance: Balance = Balance.AUTO) -> tuple[pipeline.Result, list[str]]:
    notes = Notes()
    values = {"data": str(source), "training.epochs": 1, "training.batch_size": 16, "training.balance": balance}
    values |= {"measure.rounds": 2, "measure.loadings": 1, "measure.limit_s": 1.0}
    return pipeline.train(Settings().replace(values), Architecture.load(ARCHITECTURE), out, notes), notes.texts


@pytest.fixture(scope="module")
def uneven(tmp_path_factory) -> Path:
    return folder(tmp_path_factory.mktemp("uneven"), many=44, few=4)


def test_uneven_classes_are_balanced_unasked_and_it_is_said(uneven, tmp_path):
    result, notes = trained(tmp_path / "run", uneven)
    assert any("44 training images of common, 4 of rare; batches hold all classes equally often" in n for n in notes)
    weights = {path: (path / "model.safetensors").read_bytes() for path in [tmp_path / "run"]}
    for balance in (Balance.NONE, Balance.SAMPLER, Balance.WEIGHTS):
        trained(tmp_path / balance.value, uneven, balance)
        weights[balance] = (tmp_path / balance.value / "model.safetensors").read_bytes()
    assert weights[tmp_path / "run"] == weights[Balance.SAMPLER]
    assert len({weights[b] for b in Balance if b is not Balance.AUTO}) == 3

    matrix = np.array(json.loads((tmp_path / "run" / "confusion.json").read_text())["matrix"])
    recalls = matrix.diagonal() / matrix.sum(axis=1)
    values = json.loads((tmp_path / "run" / "result.json").read_text())
    assert values["test_balanced_accuracy"] == pytest.approx(recalls.mean())
    assert values["class_balance"] == "sampler"
    worst = values["worst_class"]
    assert worst["recall"] == recalls.min()
    assert recalls[["common", "middling", "rare"].index(worst["name"])] == recalls.min()
    assert worst["images"] == {"common": 11, "middling": 11, "rare": 1}[worst["name"]]
    text = summary(result.values, result.run.path)
    assert f"balanced accuracy {recalls.mean():.1%}; worst class {worst['name']}: {recalls.min():.1%} of" in text
    assert f"worst class {worst['name']}" in (tmp_path / "run" / "report.html").read_text()


def test_classes_up_to_ten_times_apart_are_left_as_they_are(tmp_path):
    images = data.load(folder(tmp_path, many=40, few=4))
    chosen = Settings().replace({"data": str(tmp_path)})
    assert objects.balance(chosen, images) is Balance.NONE
    assert objects.balance(chosen.replace({"training.balance": "weights"}), images) is Balance.WEIGHTS


def test_the_search_balances_both_of_its_steps(uneven):
    import itertools

    import torch

    images = data.load(uneven)
    batches = Batches(images, 12, 0, torch.device("cpu"), balanced=True)
    for found in (batches.train(0), itertools.islice(batches.held_out(0), 4)):
        labels = torch.cat([targets for _, targets in found])
        assert torch.bincount(labels).min() > len(labels) / 6
    counts = torch.bincount(torch.cat([targets for _, targets in batches.valid()]))
    assert counts.tolist() == [11, 11, 1]  # what is reported is of all held-out images


def test_a_result_of_before_is_summarised_without_classes():
    values = json.loads((ARCHITECTURE.parent / "finished" / "result.json").read_text())
    assert "worst class" not in summary(values, Path("run"))


def test_a_thousand_classes_fit_a_file_that_the_report_reads(tmp_path):
    import torch

    from proxyless.job.run_folder import RunFolder
    from proxyless.job.stages.delivery import write_confusion
    from proxyless.tasks import Confusion

    names = [f"class {number}" for number in range(1500)]
    matrix = torch.eye(1500, dtype=torch.long) * 3
    write_confusion(RunFolder(tmp_path), Confusion(matrix, names))
    text = (tmp_path / "confusion.json").read_text()
    assert text.count("\n") < 1600
    assert len(text) < 10_000_000
    assert json.loads(text) == {"classes": names, "matrix": matrix.tolist()}
    assert confusion_matrix(read_run(tmp_path.parent / tmp_path.name)) == matrix.tolist()
