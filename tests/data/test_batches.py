"""Batches as search and training ask for them: the same, however they are loaded, and worker processes that stay."""

from __future__ import annotations

import multiprocessing
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from proxyless import data
from proxyless.data.batches import Batches

CPU = torch.device("cpu")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for number in range(20):
            Image.fromarray(rng.integers(0, 256, (12, 12, 3), dtype=np.uint8)).save(tmp_path / name / f"{number}.png")
    return tmp_path


def test_epochs_of_a_search_are_the_batches_of_the_data_set_and_share_their_worker_processes(folder: Path) -> None:
    images = replace(data.load(folder, image_size=12, memory_limit_bytes=0, valid_fraction=0.25), workers=2)
    notes: list[str] = []
    found, workers, held_out = [], set(), 0
    before = set(multiprocessing.active_children())
    with Batches(images, 4, 5, CPU, note=notes.append) as batches:
        for epoch in range(2):
            endless = batches.held_out(held_out)
            for number, batch in enumerate(islice(batches.train(epoch), batches.steps())):
                found.append(batch)
                if number % 2 == 1:
                    found.append(next(endless))
                    held_out += 1
            found += batches.valid()
            workers |= {process.pid for process in set(multiprocessing.active_children()) - before}
        found += batches.test()
    assert len(workers) == 2
    assert set(multiprocessing.active_children()) == before

    alone = []
    cycle = images.cycle("valid", batch_size=4, seed=5, workers=0)
    for epoch in range(2):
        train = images.loader("train", batch_size=4, augment=True, seed=5, epoch=epoch, workers=0)
        for number, batch in enumerate(train):
            alone.append(batch)
            if number % 2 == 1:
                alone.append(next(cycle))
        alone += images.loader("valid", batch_size=8, shuffle=True, drop_last=False, seed=5, workers=0)
    alone += images.loader("test", batch_size=8, workers=0)
    assert len(found) == len(alone)
    assert all(torch.equal(a, c) and torch.equal(b, d) for (a, b), (c, d) in zip(found, alone, strict=True))
    assert notes == []
