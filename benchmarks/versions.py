"""The same whole jobs by two versions of the package, in turn: is the newer one slower?

    git worktree add --detach /tmp/old COMMIT
    python benchmarks/versions.py --old /tmp/old [--pairs 4] [--photos FOLDER]

A pair is one job by each version at the same time, each on a core of its own and with one thread; from pair to pair
they change cores, so that neither a slower core nor what else the machine does falls to one of them. Jobs: a latency
table measured; and searches with the latencies of a file: digits, and with ``--photos`` a folder of photos. CPU time
is that of the process and all that it started and waited for.

Results are appended to a file as they come, and `versions.json` and `.md` written after each pair: the same command
goes on after a stop.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
TABLE = HERE.parent / "tests" / "versions" / "0.1.0" / "table.json"
SMALL = "--space-width 0.1 --space-depths 1 1 1 1 1 1 --space-kernels 3 5 --space-expansions 2"
VERSIONS = ("old", "new")


@dataclass(frozen=True)
class Job:
    """A job that every version does with the same flags."""

    name: str
    words: list[str]


def jobs(photos: Path | None, old: Path, tables: Path) -> list[Job]:
    """The jobs; latencies of the searches are those of one file each, so that both versions find the same network."""
    epochs = "--search-warmup-epochs {} --search-epochs {} --training-epochs {}".format
    found = [
        Job("measure", [*measure(28, 1), "--measure-cache", "null"]),
        search("digits", "digits", TABLE, "--latency 1", epochs(30, 60, 90), SMALL),
    ]
    if photos is not None:
        found.append(
            search("photos", str(photos), table(old, tables, 64, 3), "--latency 1.5 --images-size 64", epochs(1, 2, 2))
        )
    return found


def measure(size: int, channels: int) -> list[str]:
    return f"measure --image-size {size} --channels {channels} --classes 10".split()


def search(name: str, data: str, device: Path, *flags: str) -> Job:
    return Job(name, ["search", "--data", data, "--device", str(device), *" ".join(flags).split(), "--quiet"])


def table(old: Path, folder: Path, size: int, channels: int) -> Path:
    """A latency table of the space for images of a size, measured quickly by the older version, once."""
    path = folder / f"{size}.json"
    if not path.exists():
        words = [*measure(size, channels), "--measure-limit-s", "20", "--measure-networks", "4", "--out", str(path)]
        variables = os.environ | {"PYTHONPATH": str(old / "src")}
        subprocess.run([sys.executable, "-m", "proxyless", *words], env=variables, check=True)
    return path


def seconds(job: Job, tree: Path, core: int, folder: Path) -> dict[str, float]:
    """CPU and wall seconds of a job, all its processes together."""
    words = [sys.executable, "-m", "proxyless", *job.words, "--out", str(folder / "out")]
    variables = os.environ | {"PYTHONPATH": str(tree / "src"), "OMP_NUM_THREADS": "1"}
    started = time.monotonic()
    process = subprocess.Popen(
        words, env=variables, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, preexec_fn=lambda: pinned(core)
    )
    assert process.stderr is not None
    errors = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.monotonic() - started
    if status:
        sys.exit(f"{tree}: {errors.decode(errors='replace')[-500:]}")
    return {"wall": wall, "cpu": usage.ru_utime + usage.ru_stime}


def pinned(core: int) -> None:
    os.sched_setaffinity(0, {core})


def pair(job: Job, trees: dict[str, Path], number: int) -> dict[str, object]:
    """One job by each version, side by side."""
    cores = sorted(os.sched_getaffinity(0))[:2]
    found: dict[str, object] = {"job": job.name, "pair": number}
    with tempfile.TemporaryDirectory(prefix="versions-") as name:

        def one(version: str, core: int) -> None:
            folder = Path(name) / version
            folder.mkdir()
            found[version] = seconds(job, trees[version], core, folder)
            shutil.rmtree(folder)

        order = VERSIONS if number % 2 else VERSIONS[::-1]
        threads = [threading.Thread(target=one, args=each) for each in zip(order, cores, strict=True)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    if not all(version in found for version in VERSIONS):
        sys.exit("a job failed")
    return found


def ratio(found: dict[str, object], name: str) -> float:
    new, old = (dict(found[version])[name] for version in ("new", "old"))  # type: ignore[call-overload]
    return float(new) / float(old)


def written(results: list[dict[str, object]], path: Path) -> None:
    path.with_suffix(".json").write_text(json.dumps(results, indent=1) + "\n")
    lines = [
        "| job | pairs | old, wall s | old, CPU s | new to old, wall | new to old, CPU | lowest and highest, CPU |"
    ]
    lines.append("|---|---:|---:|---:|---:|---:|---:|")
    for name in dict.fromkeys(str(found["job"]) for found in results):
        mine = [found for found in results if found["job"] == name]
        old = {key: statistics.median(dict(found["old"])[key] for found in mine) for key in ("wall", "cpu")}  # type: ignore[call-overload]
        wall, cpu = ([ratio(found, key) for found in mine] for key in ("wall", "cpu"))
        cells = [name, len(mine), f"{old['wall']:.0f}", f"{old['cpu']:.0f}", f"{statistics.median(wall):.3f}",
                 f"{statistics.median(cpu):.3f}", f"{min(cpu):.3f}, {max(cpu):.3f}"]  # fmt: skip
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    path.with_suffix(".md").write_text("\n".join(lines) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--old", type=Path, required=True, metavar="TREE", help="a checkout of the older version")
    parser.add_argument("--new", type=Path, default=HERE.parent, metavar="TREE", help="default: this one")
    parser.add_argument("--pairs", type=int, default=4, metavar="N")
    parser.add_argument("--photos", type=Path, metavar="FOLDER")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "versions", help="without a suffix")
    asked = parser.parse_args()
    trees = {"old": asked.old, "new": asked.new}
    lines = asked.out.with_suffix(".jsonl")
    results = [json.loads(line) for line in lines.read_text().splitlines()] if lines.exists() else []
    done = {(found["job"], found["pair"]) for found in results}
    tables = asked.out.with_name(asked.out.name + "-tables")
    tables.mkdir(exist_ok=True)
    for number in range(asked.pairs):
        for job in jobs(asked.photos, asked.old, tables):
            if (job.name, number) in done:
                continue
            results.append(pair(job, trees, number))
            with lines.open("a") as file:
                file.write(json.dumps(results[-1]) + "\n")
            print(job.name, number, *(f"{key} {ratio(results[-1], key):.3f}" for key in ("wall", "cpu")), flush=True)
            written(results, asked.out)


if __name__ == "__main__":
    main()
