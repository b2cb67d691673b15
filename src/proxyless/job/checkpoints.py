"""The checkpoints that a stage writes after each epoch, to go on from after a stop, a kill or a loss of power."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch

from proxyless import files
from proxyless.errors import ProxylessError, first_line
from proxyless.files.checkpoints import check_state, read_checkpoint
from proxyless.job.progress import Reporter


class Resumable(Protocol):
    """A loop whose rest depends on its state alone."""

    epoch: int

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: dict[str, Any]) -> None: ...


@dataclass(frozen=True)
class Checkpoints:
    """The checkpoints of a stage.

    Args:
        newest: file of the state after the last finished epoch.
        before: file of the state an epoch earlier, for when the newest is damaged.
        history: file of the metrics until then, a line of JSON each.
        account: called after each checkpoint, see :func:`proxyless.job.seconds.timed`.
    """

    newest: Path
    before: Path
    history: Path
    account: Callable[[], None] = lambda: None

    def save(self, state: dict[str, Any]) -> None:
        """Write a checkpoint; the newest there is becomes the one before."""
        content = io.BytesIO()  # since PyTorch hides what went wrong when it writes to a disk itself
        torch.save(state, content)
        if self.history.exists():
            files.sync(self.history)  # never a state whose metrics are not on record
        with files.replacing(self.newest) as temporary:
            temporary.write_bytes(content.getbuffer())
            files.sync(temporary)
            if self.newest.exists():
                os.replace(self.newest, self.before)
        self.account()

    def resume(self, loop: Resumable, stage: str, log: Reporter) -> None:
        """Go on from the newest state that can be read, if there is any, and forget what came after it.

        Raises:
            ProxylessError: none of those there are can be read.
        """
        reasons = []
        for path in (self.newest, self.before):
            if not path.exists():
                continue
            try:
                state = read_checkpoint(path)
                check_state(state, loop.state_dict())
                loop.load_state_dict(state)
            except (ProxylessError, ValueError, RuntimeError) as error:  # of a loop's own checks, and of PyTorch's
                reason = first_line(error).removeprefix(f"{path}: ")
                reasons.append(f"{path}: no checkpoint of this run ({reason})")
                continue
            for reason in reasons:
                log.note(f"{reason}; taking the one before it")
            files.keep_lines(self.history, lambda metrics: 0 < _number(metrics.get("epoch")) <= loop.epoch)
            log.note(f"going on after epoch {loop.epoch} of the {stage}")
            return
        if reasons:
            raise ProxylessError(f"{reasons[0]}; remove it to start the stage anew")
        self.history.unlink(missing_ok=True)


def _number(value: object) -> float:
    """``value`` if it is a number, else 0."""
    return float(value) if isinstance(value, int | float) else 0.0
