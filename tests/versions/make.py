"""Writes files of the installed version to be kept as samples, in a folder of its name in the working folder.

Recorded paths are rewritten: the folder that it is made in becomes /data.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from PIL import Image

import proxyless

TINY = """
--space-width 0.1 --space-depths 1 1 1 1 1 1 --space-kernels 3 5 --space-expansions 2
--search-warmup-epochs 1 --search-epochs 2 --training-epochs 2
--measure-rounds 2 --measure-loadings 1 --measure-limit-s 1 --measure-networks 4 --measure-cache null
--device cpu --latency 1 --quiet
""".split()  # noqa: SIM905


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "proxyless", *map(str, arguments)]


def killed(moment: Path, *arguments: object) -> None:
    """Run a command and kill it once the file ``moment`` is there."""
    process = subprocess.Popen(command(*arguments))
    while not moment.exists():
        assert process.poll() is None, "it ended before"
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()


def photos(folder: Path) -> None:
    """Two classes, dark and bright, of a dozen pictures each."""
    rng = np.random.default_rng(0)
    for name, level in (("dark", 60), ("bright", 180)):
        (folder / name).mkdir(parents=True)
        for i in range(12):
            pixels = rng.integers(level - 40, level + 40, (20, 24, 3)).astype(np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{i:02}.png")


def main() -> None:
    here = Path(proxyless.__version__).absolute()
    here.mkdir()
    os.chdir(here)
    subprocess.run(command("search", "--data", "digits", *TINY, "--out", "finished"), check=True)
    killed(Path("in-search/search/checkpoint.pt"), "search", "--data", "digits", *TINY, "--out", "in-search")
    killed(Path("in-training/training/checkpoint.pt"), "search", "--data", "digits", *TINY, "--out", "in-training")
    photos(Path("photos"))
    small = ["--images-size", "16", "--search-batch-size", "4", "--training-batch-size", "4"]
    subprocess.run(command("search", "--data", "photos", *TINY, *small, "--out", "of-photos"), check=True)
    space = TINY[: TINY.index("--search-warmup-epochs")]
    size = ["--image-size", "8", "--channels", "1", "--classes", "10"]
    measured = TINY[TINY.index("--measure-rounds") : TINY.index("--device")]
    table = command("measure", *space, *size, *measured, "--device", "cpu", "--out", "table.json", "--quiet")
    subprocess.run(table, check=True)
    bundle = command("bundle", *space, *size, "--measure-networks", "4", "--out", "bundle", "--quiet")
    subprocess.run(bundle, check=True)
    timed = ["--rounds", "3", "--loadings", "1", "--limit-s", "1", "--name", "board", "--out", "results.json"]
    subprocess.run([sys.executable, "bundle/run.pyz", *timed], check=True)
    results = json.loads(Path("results.json").read_text())
    rows = [f"{name}.onnx,{found['ms']:.6f}" for name, found in results["times"].items()]
    Path("times.csv").write_text("file,ms\n" + "\n".join(rows) + "\n")
    shutil.copy("finished/config.yaml", "config.yaml")
    shutil.copy("finished/architecture.json", "architecture.json")
    for path in here.rglob("*"):
        if path.is_file() and path.suffix in (".json", ".jsonl", ".yaml", ".html"):
            text = path.read_text()
            if str(here) in text:
                path.write_text(text.replace(str(here), "/data"))


if __name__ == "__main__":
    main()
