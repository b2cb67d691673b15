"""What is done to an image before a network sees it in evaluation, as plain data that travels with the model.

For users of the exported model who have no PyTorch, the input is

1. the image upright (EXIF orientation applied), as RGB (``channels`` 3) or 8-bit grey (``channels`` 1);
2. its shorter side resized to ``image_size`` pixels, bilinear with antialiasing (Pillow's ``Image.resize``),
   and the central ``image_size`` x ``image_size`` pixels of it;
3. divided by 255, minus ``mean``, divided by ``std``, channel by channel;
4. as float32 (1, channels, image_size, image_size).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from proxyless.data.decoding import read_image, to_array, to_channels
from proxyless.errors import ProxylessError

if TYPE_CHECKING:
    from PIL import Image

# Recorded beside the numbers so that a file of them explains itself, and checked when one is read.
RULE = {
    "resize": "shorter side to image_size",
    "interpolation": "bilinear, antialiased",
    "crop": "central square",
    "range": "0 to 1 before mean and std",
    "layout": "NCHW float32",
}


@dataclass(frozen=True)
class Preprocessing:
    """Evaluation's preprocessing: square ``image_size`` in pixels, ``channels`` 1 (grey) or 3 (RGB),
    per-channel mean and std of pixel values in 0..1.
    """

    image_size: int
    channels: int
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __post_init__(self) -> None:
        if self.image_size < 1 or self.channels not in (1, 3):
            raise ProxylessError(
                f"preprocessing: image_size {self.image_size} and channels {self.channels} given; "
                "needs a positive size and 1 or 3 channels"
            )
        if not len(self.mean) == len(self.std) == self.channels or min(self.std) <= 0:
            raise ProxylessError(
                f"preprocessing: needs {self.channels} mean and positive std values, got {self.mean} and {self.std}"
            )

    def __call__(self, image: Image.Image | np.ndarray | str | Path) -> np.ndarray:
        """The network's input for one image, float32 (channels, image_size, image_size).

        ``image`` is a Pillow image, a uint8 array (height, width) or (height, width, 1, 3 or 4), or the path
        of an image file.
        """
        return self.normalise(self.pixels(image))

    def pixels(self, image: Image.Image | np.ndarray | str | Path) -> np.ndarray:
        """The resized and cropped image before normalisation, uint8 (channels, image_size, image_size)."""
        from PIL import Image

        if isinstance(image, str | Path):
            return square(read_image(Path(image), self.channels), self.image_size)
        if isinstance(image, np.ndarray):
            if image.dtype != np.uint8 or not (image.ndim == 2 or (image.ndim == 3 and image.shape[2] in (1, 3, 4))):
                raise ProxylessError(
                    "an image array must be uint8 (height, width) or (height, width, 1, 3 or 4), "
                    f"got {image.dtype} {image.shape}"
                )
            image = Image.fromarray(image[:, :, 0] if image.ndim == 3 and image.shape[2] == 1 else image)
        return square(to_channels(image, self.channels), self.image_size)

    def normalise(self, pixels: np.ndarray) -> np.ndarray:
        """uint8 (..., channels, height, width) as float32 with mean and std taken out."""
        mean = np.asarray(self.mean, np.float32)[:, None, None]
        std = np.asarray(self.std, np.float32)[:, None, None]
        return (pixels.astype(np.float32) / np.float32(255) - mean) / std

    def to_dict(self) -> dict[str, Any]:
        """As JSON-able data, with the rule of resizing and cropping in words."""
        return {
            "image_size": self.image_size,
            "channels": self.channels,
            "mean": list(self.mean),
            "std": list(self.std),
            **RULE,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Preprocessing:
        """The inverse of :meth:`to_dict`; missing values or another rule are a :class:`ProxylessError`."""
        for key, value in RULE.items():
            if data.get(key, value) != value:
                raise ProxylessError(f"preprocessing: {key} is {data[key]!r}, but only {value!r} is supported")
        try:
            return cls(
                int(data["image_size"]),
                int(data["channels"]),
                tuple(float(v) for v in data["mean"]),
                tuple(float(v) for v in data["std"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise ProxylessError(f"preprocessing: not a valid record ({type(error).__name__}: {error})") from None


def square(image: Image.Image, image_size: int) -> np.ndarray:
    """Resize the shorter side of an L or RGB image to ``image_size`` and cut out the centre: uint8 (channels,
    size, size).

    The same pixels as torchvision's ``Resize(image_size)`` and ``CenterCrop(image_size)``, in one step: a
    very long image is never blown up as a whole.
    """
    from PIL import Image

    width, height = image.size
    if (width, height) == (image_size, image_size):
        return to_array(image)
    shorter = min(width, height)
    wide, high = image_size * width // shorter, image_size * height // shorter
    left, top = round((wide - image_size) / 2), round((high - image_size) / 2)
    across, down = width / wide, height / high
    box = (left * across, top * down, (left + image_size) * across, (top + image_size) * down)
    # float error must not push the box past the image by 1e-13
    box = (box[0], box[1], min(box[2], width), min(box[3], height))
    return to_array(image.resize((image_size, image_size), Image.Resampling.BILINEAR, box=box))


def shrink(image: Image.Image, shorter_side: int) -> np.ndarray:
    """The whole L or RGB image, its shorter side at most ``shorter_side``: uint8 (channels, height, width)."""
    from PIL import Image

    shorter = min(image.size)
    if shorter > shorter_side:
        size = tuple(max(1, round(side * shorter_side / shorter)) for side in image.size)
        image = image.resize((size[0], size[1]), Image.Resampling.BILINEAR)
    return to_array(image)
