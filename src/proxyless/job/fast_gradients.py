"""Which weight gradients of a stage are computed in strips, on record, so that a continued run has the same bits."""

from __future__ import annotations

from pathlib import Path

from proxyless import files
from proxyless.errors import ProxylessError
from proxyless.job.checkpoints import Checkpoints
from proxyless.modules.depthwise import Plan


def plan_of_stage(record: Path, checkpoints: Checkpoints, *, wanted: bool) -> Plan | None:
    """What decides about the weight gradients of a stage, and writes each decision to ``record``.

    Args:
        record: file of the decisions.
        checkpoints: of the stage. With some of these and no record, the stage was begun by an earlier version, which
            had ordinary gradients only, and goes on with them.
        wanted: the setting ``training.fast_gradients``.

    Returns:
        The plan; None where all gradients are ordinary ones.

    Raises:
        ProxylessError: the file holds something else.
    """
    if not wanted:
        return None
    begun = checkpoints.newest.exists() or checkpoints.before.exists()
    if begun and not record.exists():
        return None
    known = files.read_json(record) if record.exists() else {}
    if not isinstance(known, dict) or not all(isinstance(value, bool) for value in known.values()):
        raise ProxylessError(
            f"{record}: does not hold true or false for each convolution; remove it to go on with ordinary gradients"
        )
    if not record.exists():
        files.write_json(record, known)
    return Plan(known, lambda decided: files.write_json(record, decided))
