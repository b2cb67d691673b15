"""A run as it is used from Python: its network, what it takes and answers, its figures and its report."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from proxyless.architecture import Architecture
from proxyless.data import Preprocessing
from proxyless.errors import ProxylessError, first_line
from proxyless.job.finished import load_network
from proxyless.job.own_network import OwnNetwork, own_network
from proxyless.job.run_folder import RunFolder
from proxyless.job.run_records import read_description, read_result, read_task
from proxyless.tasks import Task

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL import Image

AT_ONCE = 64
"""Images that a network is given together."""


@dataclass(frozen=True)
class Run:
    """A run: what :func:`~proxyless.search` returns and :func:`~proxyless.load` finds again.

    Args:
        path: its folder.
        network: for a run with a network of one's own, that network.
        own_task: for a run with a task that is not registered by name, that task.

    Attributes:
        architecture: what was chosen.
        model: the trained network, in evaluation mode.
        task: what it has learnt.
        result: the figures, as ``result.json`` holds them.
        report: the page for people.

    Example:
        >>> import proxyless
        >>> from PIL import Image
        >>> run = proxyless.load("runs/digits")
        >>> run.result["test_images"]
        269
        >>> image = Image.new("L", (8, 8))
        >>> run.preprocess(image).shape
        torch.Size([1, 8, 8])
        >>> run.model(run.preprocess(image)[None]).shape
        torch.Size([1, 10])
        >>> len(run.predict([image, image]))
        2
    """

    path: Path
    network: nn.Module | None = field(default=None, repr=False)
    own_task: Task | None = field(default=None, repr=False)

    @property
    def folder(self) -> RunFolder:
        """The files of the run."""
        return RunFolder(self.path)

    @cached_property
    def architecture(self) -> Architecture:
        """What was chosen."""
        return Architecture.load(self.folder.need(self.folder.architecture, "search"))

    @cached_property
    def model(self) -> nn.Module:
        """The trained network, in evaluation mode."""
        return load_network(self.folder, self._own_space())

    @cached_property
    def task(self) -> Task:
        """What the network has learnt."""
        return read_task(self.folder, self.own_task)

    @property
    def result(self) -> dict[str, Any]:
        """The figures of the run."""
        self.folder.need(self.folder.result, "search")
        return read_result(self.folder)

    @property
    def report(self) -> Path:
        """The page for people, ``report.html``."""
        return self.folder.need(self.folder.report, "report")

    @cached_property
    def _preprocessing(self) -> Preprocessing:
        if not self.architecture.space:
            raise ProxylessError(f"{self.path}: what its inputs are is known to your loaders alone; give a tensor")
        return Preprocessing.from_dict(read_description(self.folder)["preprocessing"])

    def preprocess(self, image: Image.Image | NDArray[Any] | str | Path) -> Tensor:
        """The input of the network for one image, float32 (channels, height, width), as in training.

        Args:
            image: a Pillow image of any kind and size, the path of an image file, or an array of pixels: uint8
                (height, width) or (height, width, 1, 3 or 4), or uint16 (height, width).

        Raises:
            ProxylessError: it is none of these, or cannot be read.
        """
        return torch.from_numpy(self._preprocessing(image))

    @torch.no_grad()
    def predict(
        self,
        images: Tensor | Image.Image | NDArray[Any] | str | Path | Iterable[Image.Image | NDArray[Any] | str | Path],
    ) -> list[Any]:
        """What the network says of each image, in the words of the task: the name of a class, numbers, a mask.

        Args:
            images: Pillow images, paths of image files or arrays of pixels, one or several, or inputs of the network as
                a tensor (batch, ...).

        Raises:
            ProxylessError: an image cannot be read, or the network does not run on such inputs.
        """
        answers: list[Any] = []
        for batch in self._batches(images):
            answers += self.task.predict(self._outputs(batch))
        return answers

    def _outputs(self, batch: Tensor) -> Any:
        try:
            return self.model(batch)
        except (RuntimeError, AssertionError) as error:  # of PyTorch, whose operators say by it what they cannot take
            given = f"{str(batch.dtype).removeprefix('torch.')} {tuple(batch.shape)}"
            raise ProxylessError(
                f"{self.path}: the network cannot run on {given}, a batch is (batch, channels, height, width) or what"
                f" your loaders give: {first_line(error)}"
            ) from error

    def _batches(self, images: Any) -> Iterable[Tensor]:
        if isinstance(images, Tensor):
            return images.split(AT_ONCE)
        one = isinstance(images, str | Path | bytes) or (isinstance(images, np.ndarray) and images.ndim < 4)
        several = list(images) if isinstance(images, Iterable) and not one else [images]
        groups = (several[start : start + AT_ONCE] for start in range(0, len(several), AT_ONCE))
        return (torch.stack([self.preprocess(image) for image in group]) for group in groups)

    def _own_space(self) -> OwnNetwork | None:
        if self.network is None:
            return None
        shape = read_description(self.folder)["input_shape"]
        return own_network(self.network, torch.zeros(2, *shape))
