"""What it brings that worker processes live on from epoch to epoch: seconds of three short epochs.

    python benchmarks/loading.py                # every way of starting processes, both sides, three times
    python benchmarks/loading.py --repeats 1    # once more, beside what was measured before
    python benchmarks/loading.py --repeats 0    # the table again from the results

Two sides load the same batches of a folder of images that are decoded on the way: PyTorch's ``DataLoader``, made anew
in each epoch, as this package did before, and one :class:`proxyless.data.pool.Pool` for all epochs. Each measurement is
a process of its own that also checks that its batches are those made without worker processes; the sides take turns.
Results go to ``benchmarks/results/loading.json``, and ``loading.md`` is made of them.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import json
import multiprocessing
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image
from torch.utils.data import DataLoader

from proxyless import data, files
from proxyless.data.loaders import EndlessBatches
from proxyless.data.workers import Batch
from proxyless.machine import system

OUT = Path(__file__).parent / "results" / "loading.json"
METHODS = ("fork", "forkserver", "spawn")
SIDES = {"anew": "made anew in each epoch", "kept": "living on"}
EPOCHS, WORKERS, IMAGES, SIDE, BATCH = 3, 2, 256, 160, 32


def write_images(root: Path) -> None:
    """Two classes of noise as JPEG files."""
    rng = np.random.default_rng(0)
    for name in ("one", "two"):
        (root / name).mkdir(parents=True)
        for number in range(IMAGES // 2):
            pixels = rng.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(root / name / f"{number}.jpg")


def anew(batches: EndlessBatches) -> Iterator[Iterable[Batch]]:
    """Each epoch by a ``DataLoader`` of its own."""
    for epoch in range(EPOCHS):
        numbers = batches.epoch(epoch)
        yield DataLoader(batches, batch_size=None, sampler=numbers, num_workers=WORKERS, collate_fn=as_it_is)


def as_it_is(batch: Batch) -> Batch:
    """The batch as it is; a function with a name, for processes that do not fork."""
    return batch


def kept(batches: EndlessBatches) -> Iterator[Iterable[Batch]]:
    """All epochs by one pool."""
    with data.pool_of({"": batches}, workers=WORKERS) as pool:
        for epoch in range(EPOCHS):
            yield pool.batches("", batches.epoch(epoch))


def digest(epochs: Iterable[Iterable[Batch]], seconds: Callable[[], None]) -> str:
    """Of all batches; ``seconds`` is called after every epoch."""
    found = hashlib.sha256()
    for epoch in epochs:
        for images, labels in epoch:
            found.update(images.numpy().tobytes() + labels.numpy().tobytes())
        seconds()
    return found.hexdigest()


def measure(folder: str, side: str, method: str) -> dict[str, object]:
    """Seconds of each epoch, and whether the batches were right."""
    multiprocessing.set_start_method(method)
    images = data.load(folder, image_size=SIDE, memory_limit_bytes=0)
    batches = images.endless("train", batch_size=BATCH, augment=True)
    ends = [time.perf_counter()]
    made = digest({"anew": anew, "kept": kept}[side](batches), lambda: ends.append(time.perf_counter()))
    alone = digest(([batches[n] for n in batches.epoch(e)] for e in range(EPOCHS)), lambda: None)
    return {"seconds": [round(b - a, 3) for a, b in itertools.pairwise(ends)], "same": made == alone}


def markdown(runs: list[dict[str, object]]) -> str:
    """A row for each way of starting processes."""
    lines = [
        f"| processes started by | {EPOCHS} epochs, {SIDES['anew']} | {SIDES['kept']} | its first epoch |",
        "| --- | ---: | ---: | ---: |",
    ]
    for method in METHODS:
        of = {side: [r for r in runs if (r["side"], r["method"]) == (side, method)] for side in SIDES}
        total = {side: min(sum(r["seconds"]) for r in rows) for side, rows in of.items()}  # other load only adds
        first = min(r["seconds"][0] for r in of["kept"])
        lines.append(f"| {method} | {total['anew']:.1f} | {total['kept']:.1f} | {first:.1f} |")
    assert all(r["same"] for r in runs)
    count = len(runs) // len(METHODS) // len(SIDES)
    return (
        "\n".join(
            [
                *lines,
                "",
                f"Seconds, the least of {count}: {IMAGES} JPEG files of {SIDE} x {SIDE} px, {WORKERS} processes. Every"
                f" batch has the bits of one made without processes. {system.machine()}.",
            ]
        )
        + "\n"
    )


def main() -> None:
    """Run, print, record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--one", nargs=3, metavar=("FOLDER", "SIDE", "METHOD"), help=argparse.SUPPRESS)
    parsed = parser.parse_args()
    if parsed.one:
        print(json.dumps(measure(*parsed.one)))
        return
    runs = json.loads(OUT.read_text()) if OUT.exists() else []
    with tempfile.TemporaryDirectory() as folder:
        write_images(Path(folder) / "images")
        for _ in range(parsed.repeats):
            for method in METHODS:
                for side in SIDES:
                    command = [sys.executable, __file__, "--one", f"{folder}/images", side, method]
                    done = subprocess.run(command, capture_output=True, text=True, check=True)
                    runs.append({"side": side, "method": method} | json.loads(done.stdout))
                    print(runs[-1], file=sys.stderr)
    files.write_json(OUT, runs)
    text = markdown(runs)
    files.write_text(OUT.with_suffix(".md"), text)
    print(text)


if __name__ == "__main__":
    main()
