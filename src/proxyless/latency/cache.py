"""Rounds of measurements kept on disk: what is known is not measured again, and an interruption costs one round."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

from proxyless import files
from proxyless.errors import ProxylessError
from proxyless.files import reading
from proxyless.files.fields import Fields
from proxyless.latency import identity
from proxyless.latency.device import Device
from proxyless.latency.timing.interruptions import Held
from proxyless.latency.timing.statistics import Round


class Store:
    """The rounds of one device, machine and runtime version: a help only, what cannot be read or written is let be.

    A file of JSON lines, one a round, with the median ms of each operator's burst by its signature.
    """

    def __init__(self, folder: Path, device: Device) -> None:
        self.path = folder / f"{device.name}-{identity.key(device)}.jsonl"
        self.device = device
        self.begun = False

    def load(self) -> list[Round]:
        """All rounds; lines that are broken or of another kind are passed over."""
        rounds = []
        with suppress(ProxylessError):
            for value in files.read_json_lines(self.path):
                with suppress(ProxylessError):
                    fields = Fields(value, "")
                    bursts = fields.child("bursts")
                    times = {key: ms for key in bursts.names if (ms := bursts.measured(key, least=0)) > 1e-9}
                    other = None if fields.get("other_cores") is None else fields.measured("other_cores")
                    rounds.append(Round(times, other, fields.text("loading"), _held(fields)))
        return rounds

    def add(self, done: Round) -> None:
        """Append a round."""
        with suppress(OSError, ProxylessError):
            if not self.begun:
                self._begin()
            bursts = {key: round(ms, 7) for key, ms in done.bursts.items()}
            line = {"bursts": bursts, "other_cores": done.other_cores, "loading": done.loading}
            if done.held != Held():
                line["held"] = asdict(done.held)
            files.append_json_line(self.path, line)

    def _begin(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        if not self.path.exists():
            files.append_json_line(self.path, {"device": identity.describe(self.device)})
        elif not self._ends_a_line():  # but was cut off by a kill
            with self.path.open("a", encoding="utf-8") as file:
                file.write("\n")
        self.begun = True

    def _ends_a_line(self) -> bool:
        with reading.opened(self.path, reading.LARGEST_LINES) as file:  # refuses a pipe, which would be waited for
            file.seek(-min(1, file.seek(0, os.SEEK_END)), os.SEEK_END)
            return file.read() == b"\n"


def _held(fields: Fields) -> Held:
    """What held a round up; nothing in rounds of before, which did not tell."""
    if "held" not in fields:
        return Held()
    held = fields.child("held")
    times = {name: held.measured(name, least=0) for name in ("throttled_s", "stolen", "stopped_s")}
    return Held(held.count("throttled", least=0, most=2**31), **times)
