"""Fourth stage: of what the search has learnt, the architecture whose measured latency keeps the budget."""

from __future__ import annotations

import dataclasses

from proxyless.architecture import Architecture, architecture_of
from proxyless.job import objects
from proxyless.job.job import Job
from proxyless.job.seconds import timed
from proxyless.job.settings import Derivation
from proxyless.job.stages.measuring import warn
from proxyless.latency import measure
from proxyless.latency.table import LatencyTable, MeasuredNetwork
from proxyless.latency.timing.statistics import Conditions
from proxyless.search.budget import best_under_budget
from proxyless.supernet import Supernet

ATTEMPTS = 6
"""Most attempts to derive a network whose measured latency keeps the budget."""


def derive(job: Job, supernet: Supernet, table: LatencyTable | None) -> Architecture:
    """Write the most probable architecture to the run folder, within the budget if there is one.

    Args:
        job: the job.
        supernet: after its search.
        table: latencies on the device; None after a search that looked at the task alone.
    """
    budget = job.settings.latency
    with timed(job.run, "derive"):
        job.log.stage("derive")
        if table is None or budget is None or job.settings.search.derivation is Derivation.MOST_PROBABLE:
            architecture = _architecture(job, supernet, supernet.most_probable())
        elif not job.target.here:
            architecture = _architecture(job, supernet, best_under_budget(supernet, table, budget))
        else:
            architecture = _measured_within(job, supernet, table, budget)
        architecture.save(job.run.architecture)
        return architecture


def _measured_within(job: Job, supernet: Supernet, table: LatencyTable, budget: float) -> Architecture:
    """The most probable architecture whose *measured* latency keeps the budget.

    The table's correction is fitted anew, for the machine may be faster or slower by now than when it was measured.
    It is right within a few percent, so the network it promises is measured as a whole; where that is above the
    budget, the next derivation aims lower by as much.
    """
    shape, effort = job.space.input_shape, objects.effort(job.settings, share=0.25)
    table = measure.recalibrated(table, supernet, shape, job.target, effort)
    warn(Conditions(**table.conditions), job.log)
    aim = budget
    tried: list[MeasuredNetwork] = []
    for attempt in range(ATTEMPTS):
        path = best_under_budget(supernet, table, max(aim, table.smallest()))
        architecture = _architecture(job, supernet, path)
        network = job.space.build(architecture)
        shapes = ((job.target.batch, *shape),)
        (found,), conditions = measure.measure_networks([network], shapes, job.target, effort)
        warn(conditions, job.log)
        tried.append(MeasuredNetwork(architecture.choices, found.ms, found.low_ms, found.high_ms, "check"))
        job.log.advance(attempt + 1, ATTEMPTS, {})
        if found.ms <= budget or aim <= table.smallest():
            break
        aim = min(aim, table.of_path(path)) * min(0.998, budget / found.ms)
        job.log.note(f"measured {found.ms:.4g} ms, above the budget of {budget:g} ms: deriving for {aim:.4g} ms")
    fastest = min(tried, key=lambda network: network.measured_ms)
    taken = tried[-1] if tried[-1].measured_ms <= budget else fastest
    if taken.measured_ms > budget:
        job.log.note(f"no network was measured within {budget:g} ms: taking the nearest, {taken.measured_ms:.4g} ms")
    dataclasses.replace(table, networks=(*table.networks, *tried)).save(job.run.latency)
    return job.space.architecture(dict(taken.choices))


def _architecture(job: Job, supernet: Supernet, path: list[int]) -> Architecture:
    return job.space.architecture(dict(architecture_of(supernet, path).choices))
