"""Decides how the figures show candidates: their order, which of them skips the block, and the colour of each."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from proxyless.report.markup import number
from proxyless.report.run_files import RunFiles, mapping

# Colours of Okabe and Ito, which colour-blind readers can tell apart; their values are in the style sheet.
_COLOURS = ("sky", "green", "vermilion", "orange", "purple", "blue", "yellow")
_SKIPPING = "skip"
_NAME = re.compile(r"k(?P<kernel>\d+)(?:_e(?P<expansion>\d+))?$")


@dataclass(frozen=True)
class Look:
    """How a candidate is drawn: its colour stands for kernel size or name, its strength for expansion."""

    name: str
    label: str
    colour: str
    opacity: float = 1.0
    kernel: int | None = None
    expansion: int | None = None


@dataclass(frozen=True)
class Candidates:
    """The candidates of every choice in the order of the supernet, and how each is drawn."""

    by_choice: Mapping[str, tuple[str, ...]]
    looks: Mapping[str, Look]

    def look(self, name: str) -> Look:
        """Say how a candidate is drawn; one that is in no table is grey."""
        return self.looks.get(name) or Look(name, name, "grey")


def table_ms(run: RunFiles, choice: str, candidate: str, key: str = "ms") -> float | None:
    """Look up a candidate in the latency table, in ms; ``key`` is ``ms``, ``low_ms`` or ``high_ms``."""
    return number(mapping(mapping(mapping(run.latency, "choices"), choice), candidate).get(key))


def skips(run: RunFiles, choice: str, candidate: str) -> bool:
    """Say whether a candidate is Zero: it costs nothing, or is called ``skip``, as in our spaces."""
    return candidate == _SKIPPING or table_ms(run, choice, candidate) == 0


def _looks(names: Iterable[str], skipping: frozenset[str]) -> dict[str, Look]:
    names = [name for name in names if name not in skipping]
    parsed = {name: match for name in names if (match := _NAME.match(name))}
    kernels = sorted({int(match["kernel"]) for match in parsed.values()})
    expansions = sorted({int(match["expansion"]) for match in parsed.values() if match["expansion"]})
    others = [name for name in names if name not in parsed]
    looks = {name: Look(name, name, "grey", 0.35) for name in skipping}
    for name, match in parsed.items():
        kernel, expansion = int(match["kernel"]), int(match["expansion"]) if match["expansion"] else None
        weak = expansion is not None and len(expansions) > 1 and expansion < expansions[-1]
        label = f"{kernel}×{kernel}" + (f", expansion {expansion}" if expansion else "")
        colour = _COLOURS[kernels.index(kernel) % len(_COLOURS)]
        looks[name] = Look(name, label, colour, 0.5 if weak else 1.0, kernel, expansion)
    for place, name in enumerate(others, start=len(kernels)):
        looks[name] = Look(name, name, _COLOURS[place % len(_COLOURS)])
    return looks


def candidates_of(run: RunFiles) -> Candidates:
    """Return the candidates in the latency table of a run, or just the chosen ones where there is no table."""
    table = {
        choice: tuple(row) for choice, row in mapping(run.latency, "choices").items() if isinstance(row, dict)
    } or {choice: (candidate,) for choice, candidate in run.choices.items()}
    pairs = [(choice, name) for choice, names in table.items() for name in names]
    pairs += [(choice, name) for choice, name in run.choices.items() if name not in table.get(choice, ())]
    skipping = frozenset(name for choice, name in pairs if skips(run, choice, name))
    return Candidates(table, _looks(dict.fromkeys(name for _, name in pairs), skipping))
