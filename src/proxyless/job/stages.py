"""The stages of the main job, each from files of the run folder to files of the run folder; resumable by epoch."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from proxyless import files, spaces
from proxyless.architecture import Architecture, architecture_of
from proxyless.data import ImageData
from proxyless.data.balance import class_weights, uneven
from proxyless.data.batches import Batches
from proxyless.data.decoding import Rule
from proxyless.errors import ProxylessError
from proxyless.job.kept import Kept
from proxyless.job.progress import Reporter
from proxyless.job.run_folder import RunFolder
from proxyless.job.settings import Balance, Derivation, LossForm, Settings, Update, ZeroGate
from proxyless.latency import measure as measuring
from proxyless.latency.device import Device
from proxyless.latency.table import LatencyTable, MeasuredNetwork
from proxyless.machine.quota import cpu_quota
from proxyless.machine.system import usable_cores
from proxyless.search.budget import best_under_budget
from proxyless.search.gradient import AllPathUpdate, GradientUpdate, TwoPathUpdate
from proxyless.search.loop import Schedule, SearchLoop
from proxyless.search.objective import BudgetLoss, Objective, ScaledLoss, TaskOnly, WeightedLoss
from proxyless.search.reinforce import ReinforceUpdate
from proxyless.search.reward import AccuracyReward, LatencyReward
from proxyless.search.steps import ArchitectureUpdate
from proxyless.spaces import Space
from proxyless.supernet import Supernet
from proxyless.tasks import Classification, Task
from proxyless.training.loop import Recipe, TrainingLoop

Batch = tuple[Tensor, Tensor]

STAGES = ("data", "measure", "search", "derive", "train", "check", "report")
"""What a run's time goes into, in order."""

DERIVATIONS = 6
"""Most attempts to derive a network whose measured latency keeps the budget."""


@dataclass(frozen=True)
class Job:
    """What every stage needs: settings with their defaults filled in, and what has been made of them.

    Args:
        table: latencies on ``target``; None in a search that looks at the task alone.
    """

    settings: Settings
    images: ImageData
    space: Space
    target: Device
    table: LatencyTable | None
    run: RunFolder
    log: Reporter


def balance(settings: Settings, images: ImageData) -> Balance:
    """What makes up for classes of unequal size: the setting, with ``auto`` decided by the training images."""
    chosen = settings.training.balance
    if chosen is not Balance.AUTO:
        return chosen
    if images.preprocessing.rule is Rule.TORCHVISION:  # begun by version 0.1, which had none
        return Balance.NONE
    return Balance.SAMPLER if uneven(images.counts("train")) else Balance.NONE


def task_of(job: Job, *, label_smoothing: float) -> Task:
    """What is learnt, with the settings of its training loss."""
    weighted = balance(job.settings, job.images) is Balance.WEIGHTS
    weights = class_weights(job.images.counts("train")) if weighted else None
    return Classification(job.images.classes).with_settings(label_smoothing=label_smoothing, class_weights=weights)


def schedule(settings: Settings) -> Schedule:
    """The schedule of a search, from settings whose defaults are filled in."""
    chosen = settings.search
    assert chosen.warmup_epochs is not None
    assert chosen.epochs is not None
    return Schedule(
        warmup_epochs=chosen.warmup_epochs,
        epochs=chosen.epochs,
        learning_rate=chosen.learning_rate,
        weight_decay=chosen.weight_decay,
        architecture_every=chosen.architecture_every,
        architecture_delay=chosen.architecture_delay,
        temperature=chosen.temperature,
        final_temperature=chosen.final_temperature,
        seed=settings.seed,
    )


def supernet_of(settings: Settings, space: Space) -> Supernet:
    """A fresh over-parameterized network of ``space``, the same for the same seed."""
    torch.manual_seed(settings.seed)
    return Supernet(space.network(), seed=settings.seed)


def effort(settings: Settings, *, share: float = 1.0) -> measuring.Effort:
    """How thoroughly the settings want latency measured, with a share of the time limit for less than a table."""
    return measuring.Effort(
        rounds=settings.measure.rounds,
        burst_ms=settings.measure.burst_ms,
        width=settings.measure.width,
        limit_s=share * settings.measure.limit_s,
        loadings=settings.measure.loadings,
    )


def warn(conditions: measuring.Conditions, log: Reporter) -> None:
    """Tell the user of measurements that cannot be trusted, or are not as sure as asked for."""
    for warning in conditions.warnings():
        log.note(warning)


def _balanced(job: Job, batch_size: int, seed: int) -> Batches:
    """The batches of search or training, on the processor these compute on."""
    balanced = balance(job.settings, job.images) is Balance.SAMPLER
    return Batches(job.images, batch_size, seed, processor(), balanced=balanced, note=job.log.note)


def processor() -> torch.device:
    """Where search and training compute: the first CUDA GPU, or the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


@contextmanager
def _within_quota() -> Iterator[None]:
    """Where processor time is rationed, PyTorch has no more threads than the quota keeps busy: more would use it up
    sooner and then all stand still.
    """
    threads = torch.get_num_threads()
    if cpu_quota() is not None:
        torch.set_num_threads(min(threads, usable_cores()))
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _on(network: nn.Module, processor: torch.device) -> nn.Module:
    """Moved, with convolutions laid out channels last, the quicker way for depthwise ones on a CPU."""
    return network.to(processor, memory_format=torch.channels_last)  # type: ignore[call-overload]


@contextmanager
def timed(run: RunFolder, stage: str) -> Iterator[Callable[[], None]]:
    """Adds the stage's seconds to the run's account, when it ends or is interrupted.

    Yields what adds those until now, to be called with every checkpoint: of a stage that is killed, only the seconds
    are missing whose work is done again.
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
    """Puts the seconds of a stage that comes before the run has a folder into ``seconds``, for :func:`add_seconds`."""
    since = time.perf_counter()
    yield
    seconds[stage] = time.perf_counter() - since


def add_seconds(run: RunFolder, seconds: Mapping[str, float]) -> None:
    """Add seconds by stage to the account of the run, which names the stages in their order."""
    known = files.read_json(run.seconds) if run.seconds.exists() else {}
    if not isinstance(known, dict) or not all(isinstance(value, int | float) for value in known.values()):
        raise ProxylessError(f"{run.seconds}: does not hold the seconds of each stage; remove it")
    total = {stage: known.get(stage, 0.0) + seconds.get(stage, 0.0) for stage in (*STAGES, *known)}
    files.write_json(run.seconds, {stage: value for stage, value in total.items() if stage in (*known, *seconds)})


def accounted(kept: Kept, account: Callable[[], None]) -> Callable[[dict[str, Any]], None]:
    """Keeps a state, and the account of the seconds until then; see :func:`timed`."""

    def checkpoint(state: dict[str, Any]) -> None:
        kept.save(state)
        account()

    return checkpoint


def architecture_update(
    settings: Settings,
    supernet: Supernet,
    table: LatencyTable | None,
    task: Task,
) -> ArchitectureUpdate:
    """The update rule that the settings of the search describe; without a table it looks at the task alone."""
    chosen, budget = settings.search, settings.latency
    assert chosen.architecture_learning_rate is not None
    rate = chosen.architecture_learning_rate
    if chosen.update is Update.REINFORCE:
        reward = AccuracyReward() if table is None or budget is None else LatencyReward(table, budget)
        return ReinforceUpdate(supernet, reward, score=task.score, learning_rate=rate)
    kinds: dict[Update, type[GradientUpdate]] = {Update.TWO_PATH: TwoPathUpdate, Update.ALL_PATH: AllPathUpdate}
    return kinds[chosen.update](
        supernet,
        _objective(settings, table),
        learning_rate=rate,
        skip_zero=chosen.zero_gate is ZeroGate.SKIPPED,
    )


def _objective(settings: Settings, table: LatencyTable | None) -> Objective:
    chosen, budget = settings.search, settings.latency
    if table is None or chosen.loss is LossForm.NONE:
        return TaskOnly()
    if chosen.loss is LossForm.WEIGHTED:
        return WeightedLoss(table, chosen.latency_weight)
    assert budget is not None
    if chosen.loss is LossForm.MUL_LOG:
        return ScaledLoss(table, budget)
    return BudgetLoss(table, budget, weight=chosen.latency_weight, gain=chosen.multiplier_gain or 0.0)


def run_search(job: Job, supernet: Supernet, account: Callable[[], None]) -> None:
    """Warm up and search; ``supernet`` is searched afterwards, and back on the CPU.

    Args:
        account: called with every checkpoint, see :func:`timed`.
    """
    settings, table, run = job.settings, job.table, job.run
    chosen, where = settings.search, processor()
    job.log.stage("search")
    _on(supernet, where)
    task = task_of(job, label_smoothing=chosen.label_smoothing)
    update = architecture_update(settings, supernet, table, task)
    budget = {} if settings.latency is None else {"budget_ms": settings.latency}
    batches = _balanced(job, chosen.batch_size, settings.seed)
    kept = Kept(run.search_checkpoint, run.search_checkpoint_before, run.search_history)
    loop = SearchLoop(
        supernet,
        update,
        batches,
        schedule(settings),
        task,
        expected_cost=None if table is None else lambda probabilities: float(table.expected(probabilities)),
        start=spaces.shared_start(job.space, supernet) if chosen.shared_start else None,
        measures=lambda: budget | update.measures(),
        report=lambda metrics: files.append_json_line(run.search_history, metrics),
        checkpoint=accounted(kept, account),
        advance=job.log.advance,
    )
    kept.resume(loop, "search", job.log)
    with batches, _within_quota():
        loop.run()
    supernet.cpu()


def run_derivation(job: Job, supernet: Supernet) -> None:
    """Take the most probable architecture whose *measured* latency keeps the budget.

    The table's correction is fitted anew, for the machine may be faster or slower by now than when it was measured.
    It is right within a few percent, so the network it promises is measured as a whole; where that is above the
    budget, the next derivation aims lower by as much.
    """
    budget, table = job.settings.latency, job.table
    job.log.stage("derive")
    if table is None or budget is None or job.settings.search.derivation is Derivation.MOST_PROBABLE:
        _architecture(job, supernet, supernet.most_probable()).save(job.run.architecture)
        return
    if not job.target.here:
        _architecture(job, supernet, best_under_budget(supernet, table, budget)).save(job.run.architecture)
        return
    table = measuring.recalibrated(table, supernet, job.space.input_shape, job.target, effort(job.settings, share=0.25))
    warn(measuring.Conditions(**table.conditions), job.log)
    aim = budget
    shapes = ((job.target.batch, *job.space.input_shape),)
    tried: list[MeasuredNetwork] = []
    for attempt in range(DERIVATIONS):
        path = best_under_budget(supernet, table, max(aim, table.smallest()))
        architecture = _architecture(job, supernet, path)
        network = job.space.build(architecture)
        (found,), conditions = measuring.measure_networks(
            [network], shapes, job.target, effort(job.settings, share=0.25)
        )
        warn(conditions, job.log)
        tried.append(MeasuredNetwork(architecture.choices, found.ms, found.low_ms, found.high_ms, "check"))
        job.log.advance(attempt + 1, DERIVATIONS, {})
        if found.ms <= budget or aim <= table.smallest():
            break
        aim = min(aim, table.of_path(path)) * min(0.998, budget / found.ms)
        job.log.note(f"measured {found.ms:.4g} ms, above the budget of {budget:g} ms: deriving for {aim:.4g} ms")
    fastest = min(tried, key=lambda network: network.measured_ms)
    taken = tried[-1] if tried[-1].measured_ms <= budget else fastest
    if taken.measured_ms > budget:
        job.log.note(f"no network was measured within {budget:g} ms: taking the nearest, {taken.measured_ms:.4g} ms")
    dataclasses.replace(table, networks=(*table.networks, *tried)).save(job.run.latency)
    job.space.architecture(dict(taken.choices)).save(job.run.architecture)


def _architecture(job: Job, supernet: Supernet, path: list[int]) -> Architecture:
    return job.space.architecture(dict(architecture_of(supernet, path).choices))


def run_training(job: Job, architecture: Architecture, account: Callable[[], None]) -> None:
    """Train the network of ``architecture`` from scratch and write its weights.

    Args:
        account: called with every checkpoint, see :func:`timed`.
    """
    from safetensors.torch import save

    settings, run = job.settings, job.run
    chosen, where = settings.training, processor()
    if run.weights.exists():
        return
    job.log.stage("train")
    assert chosen.epochs is not None
    torch.manual_seed(settings.seed)
    batches = _balanced(job, chosen.batch_size, settings.seed + 1)
    kept = Kept(run.training_checkpoint, run.training_checkpoint_before, run.training_history)
    loop = TrainingLoop(
        _on(job.space.build(architecture), where),
        batches,
        Recipe(
            epochs=chosen.epochs,
            learning_rate=chosen.learning_rate,
            warmup_epochs=chosen.warmup_epochs,
            weight_decay=chosen.weight_decay,
            ema=chosen.ema,
            seed=settings.seed,
        ),
        task_of(job, label_smoothing=chosen.label_smoothing),
        report=lambda metrics: files.append_json_line(run.training_history, metrics),
        checkpoint=accounted(kept, account),
        advance=job.log.advance,
    )
    kept.resume(loop, "training", job.log)
    with batches, _within_quota():
        trained = loop.run().cpu().eval()
    with files.replacing(run.weights) as temporary:
        temporary.write_bytes(save({name: value.contiguous() for name, value in trained.state_dict().items()}))
