"""Random changes of training images: crop, flip, colour, and a square cut out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from proxyless.data.pixels import Pixels
from proxyless.errors import ProxylessError

SMALL = 64  # pixels: below it images are shifted, from it on cropped and resized


@dataclass(frozen=True)
class Augmentation:
    """What is done to a training image at random, before normalisation.

    Args:
        padding: Where images are not cropped: shift by up to so many pixels in each direction; the border becomes
            black.
        min_scale: Crop a random part of at least this share of the area, and resize it back; None: do not crop.
        flip: Mirror every second image left to right.
        color_jitter: Change brightness, contrast and saturation by up to this share.
        cutout: Side in pixels of a square that is set to the mean, and may lie partly outside, as in the paper of that
            name (DeVries and Taylor, 2017); 0: none.
    """

    padding: int = 0
    min_scale: float | None = None
    flip: bool = True
    color_jitter: float = 0.0
    cutout: int = 0

    def __post_init__(self) -> None:
        if self.padding < 0 or self.cutout < 0:
            raise ProxylessError(f"augmentation: padding {self.padding} and cutout {self.cutout} must not be negative")
        if self.min_scale is not None and not 0 < self.min_scale <= 1:
            raise ProxylessError(f"augmentation: min_scale {self.min_scale} must be above 0 and at most 1")
        if not 0 <= self.color_jitter <= 1:
            raise ProxylessError(f"augmentation: color_jitter {self.color_jitter} must be between 0 and 1")

    @classmethod
    def standard(cls, image_size: int, channels: int, *, flip: bool = True) -> Augmentation:
        """Return the usual augmentation for images of this size.

        Below 64 pixels this is a shift by up to an eighth; above, a random resized crop and, for images in colour, mild
        jitter.
        """
        if image_size < SMALL:
            return cls(padding=image_size // 8, flip=flip)
        return cls(min_scale=0.35, flip=flip, color_jitter=0.2 if channels == 3 else 0.0)

    @property
    def per_image(self) -> bool:
        """Whether images are changed one by one, which is slow enough that worker processes help."""
        return self.min_scale is not None or self.color_jitter > 0

    def prepare(self) -> None:
        """Import what is needed now, not with the first image."""
        if self.per_image:
            import torchvision.transforms.v2  # noqa: F401

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON-able data."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Augmentation:
        """Read what :meth:`to_dict` gave.

        Raises:
            ProxylessError: Settings are unknown or impossible.
        """
        try:
            return cls(**data)
        except TypeError as error:
            raise ProxylessError(f"augmentation: not a valid record ({error})") from None


def augment(
    pixels: Pixels, indices: np.ndarray, image_size: int, augmentation: Augmentation, rng: np.random.Generator
) -> torch.Tensor:
    """Change images at random; cut-out comes later, after normalisation.

    Args:
        pixels: All images of the split.
        indices: Those that are wanted, int64 (batch,).
        image_size: Side of the result in pixels.
        augmentation: What is done to them.
        rng: Source of all random numbers.

    Returns:
        uint8 (batch, channels, image_size, image_size).
    """
    count = len(indices)
    if augmentation.per_image:
        images = _one_by_one(pixels, indices, image_size, augmentation, seed=int(rng.integers(2**62)))
    else:
        images = pixels.squares(indices)
    if augmentation.min_scale is None and augmentation.padding:
        top, left = rng.integers(0, 2 * augmentation.padding + 1, (2, count))
        images = shift(images, torch.from_numpy(top), torch.from_numpy(left), augmentation.padding)
    if augmentation.flip:
        mirrored = torch.from_numpy(rng.random(count) < 0.5)
        images = torch.where(mirrored[:, None, None, None], images.flip(-1), images)
    return images


def shift(images: torch.Tensor, top: torch.Tensor, left: torch.Tensor, padding: int) -> torch.Tensor:
    """Pad images with zeros, then cut each of them out again at a place of its own.

    torchvision's transforms draw one place for a whole batch, and take many times as long image by image. Here every
    possible crop is a view of the padded batch, and one index picks all of them.

    Args:
        images: (batch, channels, height, width).
        top: First row of each crop in the padded image, int64 (batch,).
        left: First column of each crop, int64 (batch,).
        padding: Pixels added on each side.
    """
    height, width = images.shape[-2:]
    padded = torch.nn.functional.pad(images, (padding,) * 4)
    crops = padded.unfold(2, height, 1).unfold(3, width, 1)
    return crops[torch.arange(len(images)), :, top, left]


def cut_out(images: torch.Tensor, side: int, rng: np.random.Generator) -> torch.Tensor:
    """Set a square of ``side`` pixels, centred at a random pixel, to 0 in each image.

    Args:
        images: Normalised, (batch, channels, height, width).
        side: In pixels.
        rng: Source of the places.
    """
    height, width = images.shape[-2:]
    inside = []
    for length in (height, width):
        first = torch.from_numpy(rng.integers(0, length, len(images)) - side // 2)[:, None]
        position = torch.arange(length)
        inside.append((position >= first) & (position < first + side))
    return images.masked_fill((inside[0][:, :, None] & inside[1][:, None, :])[:, None], 0.0)


def _one_by_one(
    pixels: Pixels, indices: np.ndarray, image_size: int, augmentation: Augmentation, seed: int
) -> torch.Tensor:
    from torchvision.transforms import v2

    steps: list[torch.nn.Module] = []
    if augmentation.min_scale is not None:
        steps.append(v2.RandomResizedCrop(image_size, scale=(augmentation.min_scale, 1.0), antialias=True))
    if augmentation.color_jitter > 0:
        strength = augmentation.color_jitter
        steps.append(v2.ColorJitter(brightness=strength, contrast=strength, saturation=strength))
    change = v2.Compose(steps)
    if augmentation.min_scale is None:
        images = iter(pixels.squares(indices))
    else:  # the crop wants the whole image, not its central square
        images = (pixels[int(index)] for index in indices)
    with _seeded(seed):
        return torch.stack([change(image) for image in images])


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Let torchvision draw from ``seed``, then restore PyTorch's generator.

    torchvision takes no generator of its own. ``torch.manual_seed`` would also reset the generators of GPUs.
    """
    state = torch.get_rng_state()
    torch.default_generator.manual_seed(seed)
    try:
        yield
    finally:
        torch.set_rng_state(state)
