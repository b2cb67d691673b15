"""Fifth stage: the network that was found is trained from scratch."""

from __future__ import annotations

import torch
from torch import nn

from proxyless import files
from proxyless.architecture import Architecture
from proxyless.job import objects
from proxyless.job.checkpoints import Checkpoints
from proxyless.job.fast_gradients import plan_of_stage
from proxyless.job.finished import load_network
from proxyless.job.job import Job
from proxyless.job.processor import moved, processor, within_quota
from proxyless.job.seconds import timed
from proxyless.modules.depthwise import fast_weight_gradients
from proxyless.training.loop import TrainingLoop


def train(job: Job, architecture: Architecture) -> nn.Module:
    """The trained network of ``architecture``, as it is read from its weights in the run folder.

    Raises:
        ProxylessError: the loss is no longer finite, or no checkpoint of the run can be read.
    """
    if not job.run.weights.exists():
        _write_weights(job, architecture)
    return load_network(job.run, job.space)


def _write_weights(job: Job, architecture: Architecture) -> None:
    from safetensors.torch import save

    settings, run = job.settings, job.run
    with timed(run, "train") as account:
        job.log.stage("train")
        torch.manual_seed(settings.seed)
        checkpoints = Checkpoints(
            run.training_checkpoint, run.training_checkpoint_before, run.training_history, account
        )
        plan = plan_of_stage(run.training_gradients, checkpoints, wanted=settings.training.fast_gradients)
        batches = job.data.batches(settings.training.batch_size, settings.seed + 1, processor(), job.log.note)
        with batches as given, within_quota():
            loop = TrainingLoop(
                moved(job.space.build(architecture)),
                given,
                objects.recipe(settings),
                job.task.with_settings(label_smoothing=settings.training.label_smoothing),
                report=lambda metrics: files.append_json_line(run.training_history, metrics),
                checkpoint=checkpoints.save,
                advance=job.log.advance,
            )
            checkpoints.resume(loop, "training", job.log)
            with fast_weight_gradients(loop.network, plan):
                trained = loop.run()
            trained.cpu().eval()
        with files.replacing(run.weights) as temporary:
            temporary.write_bytes(save({name: value.contiguous() for name, value in trained.state_dict().items()}))
