"""The shipped recipes run as they are, but for lengths and batch sizes that fit a test."""

from __future__ import annotations

import numpy as np
import pytest

from proxyless.data.batches import Batches
from proxyless.job import pipeline, settings

SHORT = {
    "search.warmup_epochs": 1,
    "search.epochs": 2,
    "search.batch_size": 2,
    "search.architecture_every": 1,
    "training.epochs": 1,
    "training.batch_size": 2,
    "measure.rounds": 3,
    "measure.limit_s": 0.0,
    "measure.burst_ms": 1.0,
}


def test_there_is_a_recipe_for_both_data_sets_and_both_rules():
    expected = ["cifar10-gradient", "cifar10-reinforce", "imagenet-gradient", "imagenet-reinforce"]
    assert settings.recipes() == expected


@pytest.mark.parametrize("name", settings.recipes())
def test_a_recipe_runs_for_a_few_steps_on_made_up_images(name, tmp_path, monkeypatch):
    from PIL import Image

    rng = np.random.default_rng(0)
    for label in ("one", "two"):
        (tmp_path / "images" / label).mkdir(parents=True)
        for i in range(30):
            image = Image.fromarray(rng.integers(0, 255, (32, 32, 3), dtype=np.uint8))
            image.save(tmp_path / "images" / label / f"{i}.png")
    monkeypatch.setattr(Batches, "steps", lambda self: 2)
    chosen = settings.load(name).replace(SHORT | {"data": str(tmp_path / "images")})
    if chosen.space.name == "tree":  # the paper's has 54 blocks of 12 choices
        chosen = chosen.replace({"space.blocks": 1, "space.final_width": 96})
    result = pipeline.search(chosen, tmp_path / "run")
    assert 0 <= result.values["test_accuracy"] <= 1
    if chosen.device == "pixel1":
        assert result.values["latency_predicted_ms"] > 0
    assert (tmp_path / "run" / "report.html").exists()
    assert (tmp_path / "run" / "model.onnx").exists()


def test_the_settings_of_the_paper_are_in_the_recipes():
    gradient, reinforce = settings.load("imagenet-gradient"), settings.load("imagenet-reinforce")
    for recipe in (gradient, reinforce):
        assert (recipe.device, recipe.latency, recipe.search.derivation.value) == ("pixel1", 80.0, "most-probable")
        search = recipe.search
        assert (search.warmup_epochs, search.epochs, search.batch_size, search.learning_rate) == (40, 120, 256, 0.025)
        assert (search.weight_decay, search.label_smoothing, search.architecture_learning_rate) == (4e-5, 0.1, 1e-3)
        assert (recipe.training.epochs, recipe.training.learning_rate) == (300, 0.05)
    assert (gradient.search.architecture_every, gradient.search.architecture_delay) == (5, 1)
    assert settings.load("cifar10-gradient").search.architecture_learning_rate == 0.006
    assert settings.load("cifar10-reinforce").search.architecture_learning_rate == 0.01
