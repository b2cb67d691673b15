"""Rounds kept on disk: a file of JSON lines, whose first line says what its rounds have in common.

A round is appended as soon as it is done, so that a kill costs no more than the round that was going on.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from proxyless import files
from proxyless.errors import ProxylessError
from proxyless.files.fields import Fields
from proxyless.latency.timing.interruptions import Interruptions
from proxyless.latency.timing.statistics import Round


def begin(path: Path, setup: Mapping[str, Any]) -> None:
    """Begin a file of rounds that were all measured in the same way.

    Args:
        path: of the file, which is not there yet.
        setup: what the rounds have in common.
    """
    files.append_json_line(path, setup)


def append(path: Path, done: Round) -> None:
    """Append a round to a file that was begun before."""
    value: dict[str, Any] = {
        "bursts": {name: round(ms, 7) for name, ms in done.bursts.items()},
        "other_cores": done.other_cores,
        "loading": done.loading,
        "seconds": round(done.seconds, 3),
    }
    if done.interruptions != Interruptions():
        value["held"] = asdict(done.interruptions)
    files.append_json_line(path, value)


def read(path: Path) -> tuple[dict[str, Any], list[Round]]:
    """Read a file of rounds, and leave out lines that are broken, as a kill leaves them, or hold something else.

    Returns:
        What the first line says, and the rounds; nothing where there is no file.

    Raises:
        ProxylessError: it cannot be read, or holds no lines of JSON.
    """
    lines = files.read_json_lines(path)
    rounds = []
    for value in lines:
        with suppress(ProxylessError):
            rounds.append(_round(Fields(value, "")))
    return (lines[0] if lines else {}), rounds


def _round(fields: Fields) -> Round:
    bursts = fields.child("bursts")
    return Round(
        bursts={name: ms for name in bursts.names if (ms := bursts.measured(name, least=0)) > 1e-9},
        other_cores=None if fields.get("other_cores") is None else fields.measured("other_cores"),
        loading=fields.text("loading"),
        interruptions=_held(fields.child("held"))
        if "held" in fields
        else Interruptions(),  # earlier versions did not always tell
        seconds=fields.measured("seconds", least=0) if "seconds" in fields else 0.0,
    )


def _held(fields: Fields) -> Interruptions:
    times = {name: fields.measured(name, least=0) for name in ("throttled_s", "stolen", "stopped_s")}
    return Interruptions(fields.count("throttled", least=0, most=2**31), **times)
