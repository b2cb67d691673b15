"""The account of a run: how many seconds each stage took, over all the times that the job was started."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from proxyless import files
from proxyless.errors import ProxylessError
from proxyless.job.run_folder import RunFolder

STAGES = ("data", "measure", "search", "derive", "train", "check", "report")
"""What a run's time goes into, in order."""


@contextmanager
def timed(run: RunFolder, stage: str) -> Iterator[Callable[[], None]]:
    """Add the stage's seconds to the run's account, when it ends or is interrupted.

    Yields:
        What adds the seconds until now, to be called with every checkpoint: of a stage that is killed, only the
        seconds are missing whose work is done again.
    """
    since = time.perf_counter()

    def account() -> None:
        nonlocal since
        now = time.perf_counter()
        add_seconds(run, {stage: now - since})
        since = now

    try:
        yield account
    finally:
        account()


@contextmanager
def timed_before(seconds: dict[str, float], stage: str) -> Iterator[None]:
    """Put the seconds of a stage that comes before the run has begun into ``seconds``, for :func:`add_seconds`."""
    since = time.perf_counter()
    yield
    seconds[stage] = time.perf_counter() - since


def add_seconds(run: RunFolder, seconds: Mapping[str, float]) -> None:
    """Add seconds by stage to the account of the run, which names the stages in their order.

    Raises:
        ProxylessError: the file of the account holds something else.
    """
    known = files.read_json(run.seconds) if run.seconds.exists() else {}
    if not isinstance(known, dict) or not all(isinstance(value, int | float) for value in known.values()):
        raise ProxylessError(f"{run.seconds}: does not hold the seconds of each stage; remove it")
    total = {stage: known.get(stage, 0.0) + seconds.get(stage, 0.0) for stage in (*STAGES, *known)}
    files.write_json(run.seconds, {stage: value for stage, value in total.items() if stage in (*known, *seconds)})
