"""Second stage: the latency of every candidate on the device, as a table."""

from __future__ import annotations

from pathlib import Path

from proxyless import files
from proxyless.errors import ProxylessError
from proxyless.job import objects
from proxyless.job.consistency import needs_table
from proxyless.job.job import Job
from proxyless.job.progress import Reporter
from proxyless.job.settings import LossForm, Settings
from proxyless.latency import measure, published
from proxyless.latency.device import TABLE_FILE, Device
from proxyless.latency.identity import describe
from proxyless.latency.operators import space_operators
from proxyless.latency.table import LatencyTable
from proxyless.latency.timing.statistics import Conditions
from proxyless.spaces import Space
from proxyless.supernet import Supernet


def latency_table(job: Job) -> LatencyTable | None:
    """The latencies of the job's space on its device; those of before where the run has begun already.

    None for a search that looks at the task alone.

    Raises:
        ProxylessError: a candidate cannot be measured, or no network of the space can keep the budget.
    """
    settings, run = job.settings, job.run
    if not needs_table(settings):
        return None
    job.log.stage("measure")
    supernet = objects.supernet(settings, job.space)
    known = run.config.exists() and run.latency.exists()
    table = LatencyTable.load(run.latency) if known else measured(settings, supernet, job.space, job.target, job.log)
    table.check(supernet)
    _check_budget(settings, table, job.space, job.log)
    return table


def measured(settings: Settings, supernet: Supernet, space: Space, target: Device, log: Reporter) -> LatencyTable:
    """A table measured on this machine now, or read where somebody else has measured it.

    Raises:
        ProxylessError: a candidate cannot be measured, or the table is of another space.
    """
    if target.runtime == TABLE_FILE:
        return _from_file(target, supernet, space)
    if not target.here:
        return LatencyTable.of_cost(published.table(target.name, space), describe(target))
    chosen = settings.measure
    table = measure.measure_table(
        supernet,
        space.input_shape,
        target,
        effort=objects.effort(settings),
        networks=chosen.networks,
        share=chosen.share,
        cache=_cache(chosen.cache, log),
        advance=lambda share: log.advance(share, 1.0, {}),
    )
    warn(Conditions(**table.conditions), log)
    return table


def warn(conditions: Conditions, log: Reporter) -> None:
    """Tell the user of measurements that cannot be trusted, or are not as sure as asked for."""
    for warning in conditions.warnings():
        log.note(warning)


def _cache(folder: str | None, log: Reporter) -> Path | None:
    """Where measured candidates are kept; None where they cannot be, which only costs time."""
    if not folder:
        return None
    try:
        return files.from_home(folder)
    except ProxylessError as error:
        log.note(f"measured candidates are not kept for other runs: {error}, by --measure-cache")
        return None


def _from_file(target: Device, supernet: Supernet, space: Space) -> LatencyTable:
    """A table that was measured elsewhere, once it is sure to be of this space."""
    table = LatencyTable.load(files.from_home(target.name))
    try:
        table.check(supernet)
    except ProxylessError as error:
        raise ProxylessError(f"{target.name}: {error}") from None
    batch = int(table.device.get("batch", 1))
    space_operators(supernet, ((batch, *space.input_shape),)).check(table, target.name)
    return table


def _check_budget(settings: Settings, table: LatencyTable, space: Space, log: Reporter) -> None:
    budget_ms = settings.latency
    has_width = "width" in space.architecture({}).arguments
    smallest, largest = table.smallest(), table.largest()
    span = f"the networks of this space take {smallest:.3g} to {largest:.3g} ms on {settings.device}"
    if budget_ms is None:
        log.note(span)
        return
    if budget_ms < smallest:
        # Above the smallest by what the next measurement may differ, so that the advice holds when it is followed.
        raise ProxylessError(
            f"--latency {budget_ms:g} cannot be met: {span}; raise it to at least {1.03 * smallest:.3g}"
            + " or choose a smaller --space-width" * has_width
        )
    if settings.search.loss is LossForm.MUL_LOG and min(budget_ms, smallest) <= 1:
        raise ProxylessError(
            f"--search-loss mul-log needs latencies above 1 ms, since it takes their logarithm, but {span};"
            " use --search-loss add-linear"
        )
    log.note(span)
    if budget_ms > largest:
        advice = ": a larger --space-width would make use of it" * has_width
        log.note(f"a budget of {budget_ms:g} ms binds none of them{advice}")
