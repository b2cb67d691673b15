"""Jobs that are killed, asked to end or meet a full disk at random moments, and what they come to when continued.

    python benchmarks/resilience.py [--kills 30] [--terms 10] [--full-disk 10]

A tiny job runs undisturbed first. Then it is disturbed at a seeded moment, continued by the same command until it ends,
and its files are compared with the undisturbed ones, bit by bit. Latencies come from a file, since two measurements are
never the same; every third job measures them itself instead, and is compared in that it ends and leaves nothing. A full
disk is a small tmpfs that is filled up, and made free again. Results are appended to a file as they come: the same
command goes on after a stop, and `resilience.json` and `.md` are written at the end.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SEED = 0
HERE = Path(__file__).parent / "results"
SAMPLE = Path(__file__).parent.parent / "tests" / "versions" / "0.1.0"
JOB = """
--data digits --latency 1 --space-width 0.1 --space-depths 1 1 1 1 1 1 --space-kernels 3 5 --space-expansions 2
--search-warmup-epochs 1 --search-epochs 3 --training-epochs 3 --measure-rounds 3 --measure-loadings 2
--measure-limit-s 2 --measure-networks 4 --measure-cache null --quiet
""".split()  # noqa: SIM905
SAME = ("architecture.json", "model.safetensors", "model.onnx", "confusion.json", "search/history.jsonl")


def command(out: Path, *, measured: bool) -> list[str]:
    device = "cpu" if measured else str(SAMPLE / "table.json")
    return [sys.executable, "-m", "proxyless", "search", *JOB, "--device", device, "--out", str(out)]


def environment(temporary: Path) -> dict[str, str]:
    return os.environ | {"OMP_NUM_THREADS": "1", "TMPDIR": str(temporary)}


def training(run: Path) -> list[dict[str, object]]:
    lines = [json.loads(line) for line in (run / "training" / "history.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if name != "seconds"} for line in lines]


def differences(run: Path, whole: Path) -> list[str]:
    """Names of files that are not those of the undisturbed run."""
    found = [name for name in SAME if (run / name).read_bytes() != (whole / name).read_bytes()]
    return found + (["training/history.jsonl"] if training(run) != training(whole) else [])


def stage(run: Path) -> str:
    """The last stage that the log of a run tells of."""
    if not (run / "log.jsonl").exists():
        return "before the search"
    lines = [line for line in (run / "log.jsonl").read_text().splitlines() if line.endswith("}")]
    return str(json.loads(lines[-1])["stage"]) if lines else "before the search"


def continued(words: list[str], variables: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(words, env=variables, capture_output=True, text=True)


def fill(path: Path) -> None:
    """Write until the disk is full."""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT)
    try:
        while os.write(handle, bytes(2**14)):
            pass
    except OSError:
        os.close(handle)


def disturbed(kind: str, number: int, seconds: float, whole: Path, folder: Path) -> dict[str, object]:
    """One job with one disturbance, and what became of it."""
    measured = number % 3 == 2
    chance = random.Random(f"{SEED} {kind} {number}")
    temporary = folder / "temporary"
    temporary.mkdir()
    place = folder / "place"
    place.mkdir()
    if kind == "full-disk":
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(place)], check=True)
    run = place / "run"
    words, variables = command(run, measured=measured), environment(temporary)
    after_s = chance.uniform(0.02, 1.0) * seconds
    started = time.monotonic()
    process = subprocess.Popen(words, env=variables, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    try:
        process.wait(after_s)
    except subprocess.TimeoutExpired:
        if kind == "full-disk":
            fill(place / "filler")
        else:
            process.send_signal(signal.SIGKILL if kind == "kill" else signal.SIGTERM)
    _, errors = process.communicate()
    left = sorted(path.name for path in temporary.iterdir())
    found: dict[str, object] = {
        "kind": kind,
        "number": number,
        "measured": measured,
        "after_s": round(after_s, 2),
        "exit_code": process.returncode,
        "stage": stage(run),
        "line": errors.strip().splitlines()[-1:] if errors.strip() else [],
        "traceback": "Traceback" in errors,
        "left_in_temporary": left if kind != "kill" else [],  # nothing can put away after kill -9
    }
    (place / "filler").unlink(missing_ok=True)
    again = continued(words, variables)
    found |= {
        "continued": again.returncode,
        "error": again.stderr.strip()[-300:],
        "different": None if measured or again.returncode else differences(run, whole),
        "partial": sorted(path.name for path in run.rglob(".*")),
        "seconds": round(time.monotonic() - started, 1),
    }
    if kind == "full-disk":
        subprocess.run(["umount", str(place)], check=True)
    return found


def good(found: dict[str, object]) -> bool:
    """Whether a disturbed job came to what it should have come to."""
    codes = {"kill": (0, -9), "term": (0, 143), "full-disk": (0, 1, 2)}[str(found["kind"])]
    clean = not (found["traceback"] or found["left_in_temporary"] or found["partial"] or found["different"])
    # Before Python has begun, a signal ends it by itself.
    return clean and found["continued"] == 0 and (found["exit_code"] in codes or found["exit_code"] == -15)


def written(results: list[dict[str, object]], path: Path) -> None:
    path.with_suffix(".json").write_text(json.dumps(results, indent=1) + "\n")
    lines = ["| disturbance | jobs | compared bit by bit | ended as they should |", "|---|---|---|---|"]
    for kind in ("kill", "term", "full-disk"):
        mine = [found for found in results if found["kind"] == kind]
        compared = [found for found in mine if found["different"] is not None]
        same = sum(not found["different"] for found in compared)
        lines.append(f"| {kind} | {len(mine)} | {same} of {len(compared)} the same | {sum(map(good, mine))} |")
    stages: dict[str, int] = {}
    for found in results:
        stages[str(found["stage"])] = stages.get(str(found["stage"]), 0) + 1
    lines += ["", "Disturbed in: " + ", ".join(f"{name} {count}" for name, count in stages.items()) + "."]
    path.with_suffix(".md").write_text("\n".join(lines) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, count in (("kills", 30), ("terms", 10), ("full-disk", 10)):
        parser.add_argument(f"--{name}", type=int, default=count, metavar="N")
    parser.add_argument("--out", type=Path, default=HERE / "resilience", help="without a suffix")
    asked = parser.parse_args()
    lines = asked.out.with_suffix(".jsonl")
    results = [json.loads(line) for line in lines.read_text().splitlines()] if lines.exists() else []
    done = {(found["kind"], found["number"]) for found in results}
    with tempfile.TemporaryDirectory(prefix="resilience-") as name:
        folder = Path(name)
        started = time.monotonic()
        first = continued(command(folder / "whole", measured=False), environment(folder))
        if first.returncode:
            sys.exit(first.stderr)
        seconds = time.monotonic() - started
        counts = {"kill": asked.kills, "term": asked.terms, "full-disk": asked.full_disk}
        # In turn, so that a part of them tells of all kinds.
        jobs = sorted(
            (number / max(1, count), kind, number) for kind, count in counts.items() for number in range(count)
        )
        for _, kind, number in jobs:
            if (kind, number) in done:
                continue
            own = folder / f"{kind}-{number}"
            own.mkdir()
            found = disturbed(kind, number, seconds, folder / "whole", own)
            shutil.rmtree(own)
            results.append(found)
            with lines.open("a") as file:
                file.write(json.dumps(found) + "\n")
            print("ok " if good(found) else "BAD", found, flush=True)
    written(results, asked.out)


if __name__ == "__main__":
    main()
