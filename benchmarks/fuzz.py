"""Wrong files at every door: a good file of each kind is changed at random and read.

    python benchmarks/fuzz.py [--cases 100000] [--out benchmarks/results/fuzz.json]

Whatever a file holds, reading it must end in a value that can be used, or in a one-line
:class:`~proxyless.errors.ProxylessError`; within 5 s of processor time and 500 MiB of memory beyond what the process
had, nothing run that the file holds, no Python warning. Values and names of trees are exchanged for others, dropped,
repeated and nested, bytes are flipped, cut and inserted, archives and tensors are exchanged, and one file in a hundred
is a pipe, a folder, a device, a loop of links or has 10 GiB.

The cases run in a process that is started anew when one of them takes it down or keeps it for more than a minute.
Failures are printed as they come. Stopped with Ctrl-C, the same command goes on from there. ``--case N`` runs one case
and shows what its file holds. Writes the results as JSON and Markdown.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import select
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import IO, Any

from proxyless import files

sys.path.insert(0, str(Path(__file__).parent))

RESULTS = Path(__file__).parent / "results" / "fuzz.json"
MOST_SECONDS, MOST_MIB = 5.0, 500.0
HANGS = 60.0
"""Seconds without an answer."""

MEMORY = 8 * 2**30
"""Bytes of address space of the process that reads, beyond what its libraries take."""


def work(start: int, stop: int) -> None:
    """Run the cases from ``start`` on, one line of JSON each."""
    import random

    import torch
    from fuzzing import cases, doors

    torch.set_num_threads(1)
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a library prints is no answer
    folder = Path(tempfile.mkdtemp(prefix="fuzz-"))
    try:
        good, root = folder / "good", folder / "root"
        random.seed(0)
        doors.prepare(root)
        shutil.copytree(root, good)
        for door in doors.DOORS:  # what is loaded at first use is no memory of a case
            door.read(root)
        used = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
        resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))
        for number in range(start, stop):
            found = cases.case(number)
            print(json.dumps({"begins": number, "door": found.door.name}), file=answers, flush=True)
            outcome = cases.run(found, root, good)
            told = outcome.told
            if outcome.kind != cases.FAILED and (outcome.seconds > MOST_SECONDS or outcome.mib > MOST_MIB):
                again = cases.run(found, root, good)  # the first case of its kind may have loaded a library
                if again.seconds > MOST_SECONDS or again.mib > MOST_MIB:
                    told = f"took {again.seconds:.1f} s and {again.mib:.0f} MiB; {told}"
                    outcome = cases.Outcome(cases.FAILED, told, again.seconds, again.mib)
                else:
                    outcome = again
            if outcome.kind == cases.FAILED:
                told = f"{told} | changes {cases.minimal(found, root, good).changes}"
            value = {"number": number, "kind": outcome.kind, "told": told}
            print(json.dumps(value | {"seconds": outcome.seconds, "mib": outcome.mib}), file=answers, flush=True)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def show(number: int) -> None:
    """Run one case here, with the file it makes and, where it fails, the traceback."""
    from fuzzing import cases, doors

    folder = Path(tempfile.mkdtemp(prefix="fuzz-"))
    try:
        root, good = folder / "root", folder / "good"
        doors.prepare(root)
        shutil.copytree(root, good)
        found = cases.case(number)
        content = (good / found.door.file).read_bytes()
        for change in found.changes:
            content = cases.changed(found.door, content, change, root)
        print(found.door.name, found.door.file, content[:5000], sep="\n")
        print(cases.run(found, root, good))
        (root / found.door.file).write_bytes(content)
        found.door.read(root)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class Tally:
    """What came of the cases so far; kept in a file beside the results, so that an interruption costs little."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.value: dict[str, Any] = {"cases": 0, "seconds": 0.0, "doors": {}, "failures": []}
        if path.exists():
            self.value = files.read_json(path)

    def add(self, number: int, door: str, kind: str, told: str, seconds: float, mib: float) -> None:
        """Count the case; one that failed is printed."""
        row = self.value["doors"].setdefault(
            door, {"loaded": 0, "refused": 0, "failed": 0, "most_seconds": 0.0, "most_mib": 0.0}
        )
        row[kind] += 1
        row["most_seconds"] = max(row["most_seconds"], round(seconds, 2))
        row["most_mib"] = max(row["most_mib"], round(mib, 1))
        self.value["cases"] = number + 1
        if kind == "failed":
            print(f"case {number}, {door}: {told}", flush=True)
            if len(self.value["failures"]) < 1000:
                self.value["failures"].append({"number": number, "door": door, "told": told[:500]})
        if number % 500 == 0:
            self.save()

    def save(self) -> None:
        files.write_json(self.path, self.value)


def run(cases: int, tally: Tally) -> None:
    """Run the cases that are left."""
    with tempfile.TemporaryFile(prefix="fuzz-") as errors:  # not a pipe, which would fill up
        _run(cases, tally, errors)


def _run(cases: int, tally: Tally, errors: IO[bytes]) -> None:
    started = time.perf_counter()
    while (start := tally.value["cases"]) < cases:
        command = [sys.executable, __file__, "--work", str(start), str(cases)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, start_new_session=True)
        number, door = start, "start"
        try:
            for line in _lines(process, HANGS + 120):
                value = json.loads(line)
                if "begins" in value:
                    number, door = value["begins"], value["door"]
                else:
                    tally.add(door=door, **value)
        finally:
            process.kill()
            process.wait()
        if tally.value["cases"] < cases:
            if door == "start":
                raise SystemExit(f"the process that reads did not start: {_end(errors)}")
            tally.add(number, door, "failed", f"no answer for {HANGS:g} s, or the process died", 0.0, 0.0)
    tally.value["seconds"] += round(time.perf_counter() - started, 1)
    tally.save()


def _end(errors: IO[bytes]) -> str:
    errors.seek(0)
    return errors.read()[-500:].decode(errors="replace")


def _lines(process: subprocess.Popen[bytes], first: float) -> Any:
    """Lines of what the process says, until it ends or is silent for too long."""
    assert process.stdout is not None
    pipe, rest, patience = process.stdout.fileno(), b"", first
    while select.select([pipe], [], [], patience)[0]:
        patience = HANGS
        read = os.read(pipe, 2**16)
        if not read:
            return
        *lines, rest = (rest + read).split(b"\n")
        yield from lines


def markdown(value: dict[str, Any]) -> str:
    """The results as a table."""
    rows = [
        f"| {name} | {sum(row[kind] for kind in ('loaded', 'refused', 'failed')):,} | {row['loaded']:,} |"
        f" {row['refused']:,} | {row['failed']} | {row['most_seconds']:.2f} | {row['most_mib']:.0f} |"
        for name, row in sorted(value["doors"].items())
    ]
    failed = sum(row["failed"] for row in value["doors"].values())
    return "\n".join(
        [
            "# Wrong files at every door",
            "",
            f"{value['cases']:,} files, {failed} of them neither read into a value that can be used nor refused in one"
            f" line within {MOST_SECONDS:g} s and {MOST_MIB:g} MiB. Made by `python benchmarks/fuzz.py`.",
            "",
            "| What is read | files | loaded | refused | failed | most s | most MiB |",
            "|---|--:|--:|--:|--:|--:|--:|",
            *rows,
            "",
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=100_000)
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--case", type=int)
    parser.add_argument("--work", type=int, nargs=2, help=argparse.SUPPRESS)
    parsed = parser.parse_args()
    if parsed.work:
        work(*parsed.work)
        return
    if parsed.case is not None:
        show(parsed.case)
        return
    tally = Tally(parsed.out)
    try:
        run(parsed.cases, tally)
    finally:
        tally.save()
        files.write_text(parsed.out.with_suffix(".md"), markdown(tally.value))
    print(markdown(tally.value))


if __name__ == "__main__":
    main()
