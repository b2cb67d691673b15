"""Third stage: warm-up and search (paper, section 3)."""

from __future__ import annotations

from proxyless import files
from proxyless.job import objects
from proxyless.job.checkpoints import Checkpoints
from proxyless.job.fast_gradients import plan_of_stage
from proxyless.job.job import Job
from proxyless.job.processor import moved, processor, within_quota
from proxyless.job.seconds import timed
from proxyless.latency.table import LatencyTable
from proxyless.modules.depthwise import fast_weight_gradients
from proxyless.search.loop import SearchLoop
from proxyless.supernet import Supernet


def search(job: Job, table: LatencyTable | None) -> Supernet:
    """Warm the over-parameterized network up, and search; it is on the CPU afterwards.

    Args:
        job: the job.
        table: latencies on the device; None in a search that looks at the task alone.

    Raises:
        ProxylessError: the loss is no longer finite, or no checkpoint of the run can be read.
    """
    settings, run = job.settings, job.run
    with timed(run, "search") as account:
        job.log.stage("search")
        supernet = moved(objects.supernet(settings, job.space))
        task = job.task.with_settings(label_smoothing=settings.search.label_smoothing)
        update = objects.architecture_update(settings, supernet, table, task)
        budget = {} if settings.latency is None else {"budget_ms": settings.latency}
        checkpoints = Checkpoints(run.search_checkpoint, run.search_checkpoint_before, run.search_history, account)
        plan = plan_of_stage(run.search_gradients, checkpoints, wanted=settings.training.fast_gradients)
        batches = job.data.batches(settings.search.batch_size, settings.seed, processor(), job.log.note)
        with batches as given, within_quota():
            loop = SearchLoop(
                supernet,
                update,
                given,
                objects.schedule(settings),
                task,
                expected_cost=None if table is None else lambda probabilities: float(table.expected(probabilities)),
                start=job.space.quick_start(supernet) if settings.search.shared_start else None,
                measures=lambda: budget | update.measures(),
                report=lambda metrics: files.append_json_line(run.search_history, metrics),
                checkpoint=checkpoints.save,
                advance=job.log.advance,
            )
            checkpoints.resume(loop, "search", job.log)
            with fast_weight_gradients(supernet, plan):
                loop.run()
        return supernet.cpu()
