"""What long work tells who waits for it: a bar on a terminal, plain lines elsewhere, and a log file always."""

from __future__ import annotations

import time
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from proxyless import files
from proxyless.errors import one_line
from proxyless.job import terminal

if TYPE_CHECKING:
    from rich.console import Console

Metrics = Mapping[str, Any]

_SHOWN = {  # metric -> how it reads beside the bar
    "loss": "loss {:.2f}",
    "accuracy": "accuracy {:.1%}",
    "expected_latency_ms": "expected {:.3g} ms",
    "valid_accuracy": "held-out {:.1%}",
}


NARROWEST = 50
"""Columns of a terminal from which on a bar with its figures fits into one line."""


class Reporter:
    """Receives the course of a job. This one tells nobody; the others override what they show."""

    def stage(self, name: str) -> None:
        """A new stage begins."""

    def advance(self, done: float, total: float, metrics: Metrics) -> None:
        """``done`` of ``total`` of the stage is finished."""

    def note(self, text: str) -> None:
        """A line worth reading."""

    def close(self) -> None:
        """The job is over or has been stopped."""


class PlainLines(Reporter):
    """Lines on standard error, for logs and pipes; at most one every ``seconds`` within a stage."""

    def __init__(self, seconds: float = 15.0) -> None:
        self.seconds = seconds
        self.name = ""
        self.started = self.last = time.monotonic()
        self.first: float | None = None

    def stage(self, name: str) -> None:
        self.name, self.started, self.last, self.first = name, time.monotonic(), time.monotonic(), None
        self.note(f"{name} ...")

    def advance(self, done: float, total: float, metrics: Metrics) -> None:
        now = time.monotonic()
        if self.first is None:  # what was done before a stop is not of this process
            self.first, self.started = done, now
        if now - self.last < self.seconds or done <= self.first:
            return
        self.last = now
        left = (now - self.started) * (total - done) / (done - self.first)
        self.note(f"{self.name} {done / total:4.0%}  {describe(metrics)}  {left:.0f} s left")

    def note(self, text: str) -> None:
        terminal.tell(text)


class Bar(Reporter):
    """A progress bar for each stage on a terminal."""

    def __init__(self, console: Console | None = None) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
        from rich.table import Column

        def whole(width: int) -> Column:
            return Column(width=width, no_wrap=True)

        # In 80 columns everything but the end of the metrics fits.
        self.progress = Progress(
            TextColumn("[bold]{task.description}", table_column=whole(7)),
            BarColumn(bar_width=10, table_column=whole(10)),
            TextColumn("{task.percentage:>3.0f}%", table_column=whole(4)),
            TimeRemainingColumn(compact=True, table_column=whole(5)),
            TextColumn("left", table_column=whole(4)),
            TextColumn("[cyan]{task.fields[metrics]}", table_column=Column(ratio=1, no_wrap=True, overflow="crop")),
            console=console or Console(stderr=True),
            expand=True,
        )
        self.task: TaskID | None = None
        self.progress.start()

    def stage(self, name: str) -> None:
        self._finish()
        self.task = self.progress.add_task(name, total=1.0, metrics="")

    def advance(self, done: float, total: float, metrics: Metrics) -> None:
        if self.task is not None:
            self.progress.update(self.task, completed=done, total=total, metrics=describe(metrics))

    def note(self, text: str) -> None:
        self.progress.console.print(one_line(text), highlight=False, markup=False, emoji=False)

    def close(self) -> None:
        self.progress.stop()

    def _finish(self) -> None:
        if self.task is not None:
            self.progress.update(self.task, completed=self.progress.tasks[self.task].total)
            self.progress.stop_task(self.task)


class Logged(Reporter):
    """Passes everything on to ``shown`` and appends it to a file as JSON lines, which may be named later."""

    def __init__(self, shown: Reporter) -> None:
        self.shown = shown
        self.path: Path | None = None
        self.waiting: list[dict[str, Any]] = []
        self.name = ""
        self.last = 0.0

    def write(self, event: str, **values: Any) -> None:
        """Append one event to the log."""
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        value = {"time": now, "event": event, "stage": self.name, **values}
        if self.path is None:
            self.waiting.append(value)
        else:
            files.append_json_line(self.path, value)

    def write_to(self, path: Path) -> None:
        """Name the file; what has happened before is written to it now."""
        self.path = path
        for value in self.waiting:
            files.append_json_line(path, value)
        self.waiting = []

    @contextmanager
    def errors(self) -> Iterator[None]:
        """What ends the job is told in the file, if that was named, with where it arose."""
        try:
            yield
        except BaseException as error:
            with suppress(OSError):  # the disk may be full, and what is wrong is told to the user anyway
                if self.path is not None:
                    self.write("error", **described(error))
            raise

    def stage(self, name: str) -> None:
        self.name = name
        self.write("stage")
        self.shown.stage(name)

    def advance(self, done: float, total: float, metrics: Metrics) -> None:
        if time.monotonic() - self.last > 5 or done == total:
            self.last = time.monotonic()
            numbers = {name: value for name, value in metrics.items() if isinstance(value, int | float)}
            self.write("progress", done=done, total=total, **numbers)
        self.shown.advance(done, total, metrics)

    def note(self, text: str) -> None:
        self.write("note", text=text)
        self.shown.note(text)

    def close(self) -> None:
        self.shown.close()


def described(error: BaseException) -> dict[str, str]:
    """An exception for the log: its class, what it says and where it arose."""
    return {
        "error": type(error).__name__,
        "text": str(error),
        "traceback": "".join(traceback.format_exception(error)),
    }


def describe(metrics: Metrics) -> str:
    """The metrics a person follows, in words."""
    return "  ".join(text.format(metrics[name]) for name, text in _shown(metrics).items() if name in metrics)


def _shown(metrics: Metrics) -> dict[str, str]:
    """Those of :data:`_SHOWN`; of another task than classification its first metric in place of accuracy."""
    if "accuracy" in metrics:
        return _SHOWN
    names = list(metrics)
    after = names[names.index("loss") + 1 :] if "loss" in metrics else []
    return _SHOWN | {name: f"{name} {{:.3g}}" for name in after[:1] if isinstance(metrics[name], float)}


def _bar_fits() -> bool:
    if not terminal.shows_bars():
        return False
    from rich.console import Console

    return Console(stderr=True).width >= NARROWEST


@contextmanager
def shown(*, quiet: bool = False) -> Iterator[Reporter]:
    """The reporter that fits where standard error goes."""
    reporter: Reporter = Reporter() if quiet else Bar() if _bar_fits() else PlainLines()
    try:
        yield reporter
    finally:
        reporter.close()
