"""Jobs that are killed, asked to end or meet a full disk at random moments, and what they come to when continued.

    python benchmarks/resilience.py [--kills 30] [--terms 10] [--full-disk 10]

A tiny job runs undisturbed first, and tells how long each stage takes. Then it is disturbed at a seeded moment after
the line by which a stage begins, the stages in turn, continued by the same command until it ends, and its files are
compared with the undisturbed ones, bit by bit. Latencies come from a file, since two measurements are never the same.
Every second job measures them itself instead, on one core that another program uses as well, and is compared with a
second run given its table; every second of these also measures in its derivation, and is compared given the
architecture that came of it. What rounds of measuring were finished when it was disturbed must still be there then.

A full disk is a small tmpfs that is filled up, and made free again. Where a job ends before it is disturbed, an earlier
moment is drawn. Results are appended to a file as they come, and `resilience.json` and `.md` written after each: the
same command goes on after a stop.
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
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from enum import Enum
from functools import partial
from pathlib import Path

SEED = 0
CORE = max(os.sched_getaffinity(0))
"""The one core of jobs that measure."""
HERE = Path(__file__).parent / "results"
SAMPLE = Path(__file__).parent.parent / "tests" / "versions" / "0.1.0"
JOB = """
--data digits --latency 1 --space-width 0.1 --space-depths 1 1 1 1 1 1 --space-kernels 3 5 --space-expansions 2
--search-warmup-epochs 1 --search-epochs 3 --training-epochs 3 --measure-rounds 3 --measure-loadings 2
--measure-limit-s 2 --measure-networks 4
""".split()  # noqa: SIM905
SAME = ("architecture.json", "model.safetensors", "model.onnx", "confusion.json", "search/history.jsonl")


class Latencies(Enum):
    """Where the latencies of a job come from."""

    FILE = "a file"
    MEASURED = "measuring before the search"
    MEASURED_AGAIN = "measuring before the search and in the derivation"

    @property
    def here(self) -> bool:
        return self is not Latencies.FILE

    @staticmethod
    def of(number: int) -> Latencies:
        return (Latencies.FILE, Latencies.MEASURED, Latencies.FILE, Latencies.MEASURED_AGAIN)[number % 4]


def command(out: Path, latencies: Latencies, cache: Path) -> list[str]:
    device = "cpu" if latencies.here else str(SAMPLE / "table.json")
    derivation = "most-probable" if latencies is Latencies.MEASURED else "budget"
    chosen = ["--device", device, "--search-derivation", derivation]
    chosen += ["--measure-cache", str(cache), "--out", str(out)]
    return [sys.executable, "-m", "proxyless", "search", *JOB, *chosen]


def environment(temporary: Path) -> dict[str, str]:
    return os.environ | {"OMP_NUM_THREADS": "1", "TMPDIR": str(temporary)}


def training(run: Path) -> list[dict[str, object]]:
    lines = [json.loads(line) for line in (run / "training" / "history.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if name != "seconds"} for line in lines]


def differences(run: Path, whole: Path, latencies: Latencies) -> list[str]:
    """Names of files that are not those of the undisturbed run."""
    # A search of which the table has been fitted anew in the derivation cannot be made again.
    given = ("search/history.jsonl",) if latencies is Latencies.MEASURED_AGAIN else ()
    found = [name for name in SAME if name not in given and (run / name).read_bytes() != (whole / name).read_bytes()]
    return found + (["training/history.jsonl"] if training(run) != training(whole) else [])


Lengths = dict[bool, dict[str, float]]
"""Seconds by stage of the undisturbed runs, by whether they measure."""

STAGES = ("start", "search", "train", "check")
"""Where jobs are disturbed whose latencies come from a file; the derivation is over at once."""

STAGES_MEASURED = ("measure", "start", "measure", "derive", "search", "measure", "train", "derive", "check")


def stage_of(number: int) -> str:
    """Where job ``number`` is disturbed."""
    stages = STAGES_MEASURED if Latencies.of(number).here else STAGES
    return stages[number // 2 % len(stages)]


def lasts(run: Path, seconds: float) -> dict[str, float]:
    """Seconds that each stage of an undisturbed run took, which took ``seconds`` with the start of the program."""
    found: dict[str, float] = json.loads((run / "seconds.json").read_text())
    start = max(0.5, seconds - sum(found.values())) + found.get("data", 0.0)
    return found | {"start": start, "check": found["check"] + found.get("report", 0.0)}


class Running:
    """A job of which the moment is known at which each stage began, by its line on standard error."""

    def __init__(self, words: list[str], variables: dict[str, str], core: int | None) -> None:
        self.process = subprocess.Popen(
            words, env=variables, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True,
            preexec_fn=None if core is None else partial(pinned, core),
        )  # fmt: skip
        self.lines: list[str] = []
        self.begun = {"start": threading.Event()} | {name: threading.Event() for name in STAGES_MEASURED}
        self.begun["start"].set()
        self.ended = threading.Thread(target=self._read)
        self.ended.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.lines.append(line.rstrip())
            stage = line.removesuffix(" ...\n")
            if stage in self.begun:
                self.begun[stage].set()

    def reached(self, stage: str, seconds: float) -> bool:
        """Wait until ``seconds`` after ``stage`` began; False where the job ended before."""
        while not self.begun[stage].wait(0.05):
            if self.process.poll() is not None:
                return False
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            return True
        return False


def rounds_in(cache: Path) -> int:
    """Rounds of measuring that were finished and written down."""
    return sum(line.endswith("\n") for path in cache.glob("*.jsonl") for line in path.open())


def given_latencies(run: Path, copy: Path, latencies: Latencies) -> Path:
    """A copy of a run with its table, and where that was fitted anew its architecture, and nothing that came after."""
    copy.mkdir()
    names = ["config.yaml", "data.json", "fingerprints.bin", "latency.json"]
    for name in names + ["architecture.json"] * (latencies is Latencies.MEASURED_AGAIN):
        shutil.copy(run / name, copy)
    return copy


@contextmanager
def load(core: int) -> Iterator[None]:
    """Another program that wants ``core`` for itself meanwhile."""
    process = subprocess.Popen([sys.executable, "-c", "while True: pass"], preexec_fn=lambda: pinned(core))
    try:
        yield
    finally:
        process.kill()
        process.wait()


def pinned(core: int) -> None:
    os.sched_setaffinity(0, {core})


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


def disturbed(
    kind: str, number: int, lengths: dict[bool, dict[str, float]], whole: Path, folder: Path
) -> dict[str, object]:
    """One job with one disturbance, and what became of it."""
    latencies, stage = Latencies.of(number), stage_of(number)
    chance = random.Random(f"{SEED} {kind} {number}")
    for attempt in range(4):
        own = folder / str(attempt)
        own.mkdir(parents=True)
        share = chance.uniform(0.02, 0.95) / 2**attempt
        with load(CORE) if latencies.here else nullcontext():
            found = once(kind, latencies, stage, share, lengths[latencies.here], whole, own)
        about = {"kind": kind, "number": number, "latencies": latencies.value, "stage": stage}
        found = about | {"share": round(share, 3)} | found
        if found["disturbed"]:
            break
    return found


def once(
    kind: str, latencies: Latencies, stage: str, share: float, lengths: dict[str, float], whole: Path, folder: Path
) -> dict[str, object]:
    """One try of a disturbance at a moment."""
    temporary, place = folder / "temporary", folder / "place"
    temporary.mkdir()
    place.mkdir()
    if kind == "full-disk":
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(place)], check=True)
    run = place / "run"
    words, variables = command(run, latencies, place / "cache"), environment(temporary)
    started = time.monotonic()
    job = Running(words, variables, CORE if latencies.here else None)
    hit = job.reached(stage, share * lengths[stage])
    if hit and kind == "full-disk":
        fill(place / "filler")
    elif hit:
        job.process.send_signal(signal.SIGKILL if kind == "kill" else signal.SIGTERM)
    code = job.process.wait()
    job.ended.join()
    rounds = rounds_in(place / "cache")
    left = sorted(path.name for path in temporary.iterdir())
    found: dict[str, object] = {
        # A disk that fills up after the last file is written disturbs nothing.
        "disturbed": hit and code != 0,
        "exit_code": code,
        "line": job.lines[-1:],
        "traceback": any("Traceback" in line for line in job.lines),
        "left_in_temporary": left if kind != "kill" else [],  # nothing can put away after kill -9
    }
    (place / "filler").unlink(missing_ok=True)
    again = continued(words, variables)
    lost = rounds > rounds_in(place / "cache")
    compared = whole
    if latencies.here and not again.returncode:
        compared = given_latencies(run, folder / "compared", latencies)
        again = continued(command(compared, latencies, place / "cache"), variables)
    found |= {
        "rounds": rounds,
        "rounds_lost": lost,
        "continued": again.returncode,
        "error": again.stderr.strip()[-300:] if again.returncode else "",
        "different": None if again.returncode else differences(run, compared, latencies),
        "partial": sorted(path.name for path in run.rglob(".*")),
        "seconds": round(time.monotonic() - started, 1),
    }
    if kind == "full-disk":
        subprocess.run(["umount", str(place)], check=True)
    return found


def good(found: dict[str, object]) -> bool:
    """Whether a disturbed job came to what it should have come to."""
    codes = {"kill": (0, -9), "term": (0, 143), "full-disk": (0, 1, 2)}[str(found["kind"])]
    clean = not (
        found["traceback"]
        or found["left_in_temporary"]
        or found["partial"]
        or found["different"]
        or found.get("rounds_lost")
    )
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
    stages = Counter(str(found["stage"]) for found in results if found["disturbed"])
    lines += ["", "Disturbed in: " + ", ".join(f"{name} {count}" for name, count in stages.items()) + "."]
    spared = sum(not found["disturbed"] for found in results)
    lines += [f"Over before they could be disturbed: {spared}."] if spared else []
    kept = [int(str(found.get("rounds", 0))) for found in results if found["stage"] == "measure" and found["disturbed"]]
    lost = sum(bool(found.get("rounds_lost")) for found in results)
    lines += [f"Rounds of measuring finished by then: {', '.join(map(str, kept))}; jobs that lost one: {lost}."]
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
        lengths: Lengths = {}
        for latencies in (Latencies.FILE, Latencies.MEASURED_AGAIN):
            whole = folder / latencies.name
            started = time.monotonic()
            with load(CORE) if latencies.here else nullcontext():
                first = continued(command(whole, latencies, folder / "cache"), environment(folder))
            if first.returncode:
                sys.exit(first.stderr)
            lengths[latencies.here] = lasts(whole, time.monotonic() - started)
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
            found = disturbed(kind, number, lengths, folder / Latencies.FILE.name, own)
            shutil.rmtree(own)
            results.append(found)
            with lines.open("a") as file:
                file.write(json.dumps(found) + "\n")
            print("ok " if good(found) else "BAD", found, flush=True)
            written(results, asked.out)


if __name__ == "__main__":
    main()
