"""Search by asking for one network after another: the loop for it, and the methods others are measured against.

A strategy is a generator: it yields the path it wants to know about and is sent its value, higher is better.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from itertools import combinations, product

import numpy as np

Selection = tuple[int, ...]
"""Index of the candidate taken at each choice."""

Strategy = Generator[Selection, float, None]

Allowed = Callable[[Selection], bool]
"""Whether a path may be asked for, known without asking: its cost, for one."""


def explore(
    strategy: Strategy, metric: Callable[[Selection], float], queries: int, *, patience: int = 5_000
) -> dict[Selection, float]:
    """Ask for different networks one after the other, and return their values in that order.

    A network that is asked for again is answered from memory and not counted.

    Args:
        strategy: says which network to ask for next.
        metric: the value of a path; called once for each network.
        queries: number of different networks.
        patience: stop early after so many networks in a row that were known already.
    """
    known: dict[Selection, float] = {}
    repeats = 0
    path = next(strategy, None)
    while path is not None and repeats < patience:
        repeats = repeats + 1 if path in known else 0
        if path not in known:
            known[path] = metric(path)
            if len(known) >= queries:
                break
        try:
            path = strategy.send(known[path])
        except StopIteration:
            break
    strategy.close()
    return known


def draw(counts: Sequence[int], allowed: Allowed, rng: np.random.Generator) -> Selection:
    """Draw a path uniformly among the allowed ones, by rejection; at least one must be allowed.

    Args:
        counts: Number of candidates of each choice.
        allowed: Says whether a path is allowed.
        rng: Source of the path.
    """
    while True:
        path = tuple(int(index) for index in rng.integers(counts))
        if allowed(path):
            return path


def random_search(counts: Sequence[int], allowed: Allowed, rng: np.random.Generator) -> Strategy:
    """Uniform among the allowed networks."""
    while True:
        yield draw(counts, allowed, rng)


def regularized_evolution(
    counts: Sequence[int], allowed: Allowed, rng: np.random.Generator, *, population: int = 20, sample: int = 10
) -> Strategy:
    """Aging evolution (Real et al., 2019): the best of a random sample is mutated at one choice, the oldest dies.

    Mutations that are not allowed, or were asked for before, are left out; where none is left, a random network comes.
    """
    asked: set[Selection] = set()
    alive: deque[tuple[float, Selection]] = deque(maxlen=population)
    for _ in range(population):
        path = draw(counts, allowed, rng)
        asked.add(path)
        alive.append(((yield path), path))
    while True:
        _, parent = max(alive[int(i)] for i in rng.choice(len(alive), min(sample, len(alive)), replace=False))
        options = [child for child in _changed(parent, counts, 1) if child not in asked and allowed(child)]
        child = options[int(rng.integers(len(options)))] if options else draw(counts, allowed, rng)
        asked.add(child)
        alive.append(((yield child), child))


def local_search(counts: Sequence[int], allowed: Allowed, rng: np.random.Generator) -> Strategy:
    """First improvement from random starts: all changes of one choice in random order, then of two, then start again.

    Two choices at once, because under a budget one must often be made cheaper for another to be made dearer.
    """
    while True:
        here = draw(counts, allowed, rng)
        value = yield here
        improved = True
        while improved:
            improved = False
            for path in _neighbours(here, counts, rng):
                if allowed(path) and (found := (yield path)) > value:
                    here, value, improved = path, found, True
                    break


def _neighbours(path: Selection, counts: Sequence[int], rng: np.random.Generator) -> Iterator[Selection]:
    for distance in (1, 2):
        near = list(_changed(path, counts, distance))
        for i in rng.permutation(len(near)):
            yield near[i]


def _changed(path: Selection, counts: Sequence[int], distance: int) -> Iterator[Selection]:
    """All paths that differ from ``path`` at exactly ``distance`` choices."""
    for where in combinations(range(len(path)), distance):
        for values in product(*([i for i in range(counts[at]) if i != path[at]] for at in where)):
            changed = list(path)
            for at, value in zip(where, values, strict=True):
                changed[at] = value
            yield tuple(changed)
