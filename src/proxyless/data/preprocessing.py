"""What is done to an image before a network sees it, as plain data that is kept with the model.

Users of the exported model who have no PyTorch make its input like this:

1. Turn the image upright (``ImageOps.exif_transpose``). Scale greys of 16 or 32 bits so that ``grey_range`` becomes 0
   to 255. Composite transparent areas on white. Convert to RGB (``channels`` 3) or grey (``channels`` 1).
2. Take the central square, resized to ``image_size`` pixels, bilinear with antialiasing
   (``ImageOps.fit(image, (image_size, image_size), Image.Resampling.BILINEAR)``).
3. Divide by 255, subtract ``mean`` and divide by ``std``, channel by channel.
4. Give it to the model as float32 (1, channels, image_size, image_size).

The README has a function of Pillow and numpy that does this. A record without ``transparency`` is of version 0.1, which
resized the shorter side first and ignored transparency; its networks are still evaluated in that way.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from proxyless.data.decoding import (
    GreyRange,
    Rule,
    read_image_and_kind,
    to_array,
    to_channels,
    without_warnings,
)
from proxyless.errors import ProxylessError, short
from proxyless.files.fields import Fields

if TYPE_CHECKING:
    from PIL import Image

# Written beside the numbers, so that the file explains itself, and checked when it is read.
WORDS = {
    "interpolation": "bilinear, antialiased",
    "crop": "central square",
    "range": "0 to 1 before mean and std",
    "layout": "NCHW float32",
}
RESIZE = {
    Rule.PILLOW: "central square to image_size, as by Pillow's ImageOps.fit",
    Rule.TORCHVISION: "shorter side to image_size",
}


LARGEST_SIZE = 4096
"""The largest side of a square, in pixels, that is accepted from a file."""

SMALLEST_STD = 1e-6
"""The smallest standard deviation that is accepted from a file; the package writes at least 1/255."""


@dataclass(frozen=True)
class Squares:
    """How an image of any kind becomes a square of 8-bit pixels: preprocessing without mean and std.

    Args:
        image_size: Side of the square in pixels.
        channels: 1 for grey, 3 for RGB.
        grey_range: Values of 16- and 32-bit greys that become 0 and 255; None: the full range of 16 bits.
        rule: How the square is cut, and what becomes of transparency.
    """

    image_size: int
    channels: int
    grey_range: GreyRange | None = None
    rule: Rule = Rule.PILLOW

    def __post_init__(self) -> None:
        if self.image_size < 1 or self.channels not in (1, 3):
            raise ProxylessError(
                f"preprocessing: image_size {self.image_size} and channels {self.channels} given; "
                "needs a positive size and 1 or 3 channels"
            )
        ends = (0, 1) if self.grey_range is None else self.grey_range
        if len(ends) != 2 or not -np.inf < ends[0] < ends[1] < np.inf:
            raise ProxylessError(f"grey_range {self.grey_range} given; it needs two values, a lower and a higher one")

    def read(self, path: Path, content: bytes | None = None) -> tuple[Image.Image, bool]:
        """Read the whole image of a file; see :func:`read_image_and_kind`."""
        return read_image_and_kind(path, self.channels, self.grey_range, self.rule, content)

    def convert(self, image: Image.Image) -> Image.Image:
        """Convert the whole image to mode L or RGB; see :func:`to_channels`."""
        return to_channels(image, self.channels, self.grey_range, self.rule)

    def cut(self, image: Image.Image) -> np.ndarray:
        """Cut out of an L or RGB image what a network sees: uint8 (channels, image_size, image_size)."""
        return square(image, self.image_size, self.rule)


@dataclass(frozen=True)
class Preprocessing:
    """Preprocessing for evaluation: that of :class:`Squares`, then normalisation.

    Args:
        image_size: Side of the square in pixels.
        channels: 1 for grey, 3 for RGB.
        mean: Mean of pixel values in 0..1, by channel.
        std: Standard deviation of pixel values in 0..1, by channel.
        grey_range: As in :class:`Squares`.
        rule: As in :class:`Squares`.
    """

    image_size: int
    channels: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    grey_range: GreyRange | None = None
    rule: Rule = Rule.PILLOW

    def __post_init__(self) -> None:
        _ = self.squares  # checks size, channels and grey_range
        if not len(self.mean) == len(self.std) == self.channels or min(self.std) <= 0:
            raise ProxylessError(
                f"preprocessing: needs {self.channels} mean and positive std values, got {self.mean} and {self.std}"
            )

    @property
    def squares(self) -> Squares:
        """The steps before normalisation."""
        return Squares(self.image_size, self.channels, self.grey_range, self.rule)

    def __call__(self, image: Image.Image | np.ndarray | str | Path) -> np.ndarray:
        """Return the input of the network for one image: float32 (channels, image_size, image_size).

        Args:
            image: A Pillow image, the path of an image file, a uint8 array (height, width) or (height, width, 1, 3 or
                4), whose fourth channel is opacity, or a uint16 array (height, width).
        """
        return self.normalise(self.pixels(image))

    @without_warnings()
    def pixels(self, image: Image.Image | np.ndarray | str | Path) -> np.ndarray:
        """Return the square of one image before normalisation: uint8 (channels, image_size, image_size)."""
        squares = self.squares
        if isinstance(image, str | Path):
            return squares.cut(squares.read(Path(image))[0])
        return squares.cut(squares.convert(_image(image)))

    def normalise(self, pixels: np.ndarray) -> np.ndarray:
        """Normalise uint8 pixels (..., channels, height, width): float32 of the same shape."""
        mean = np.asarray(self.mean, np.float32)[:, None, None]
        std = np.asarray(self.std, np.float32)[:, None, None]
        return (pixels.astype(np.float32) / np.float32(255) - mean) / std

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON-able data, with the rule of resizing and cropping in words."""
        record: dict[str, Any] = {
            "image_size": self.image_size,
            "channels": self.channels,
            "mean": list(self.mean),
            "std": list(self.std),
        }
        if self.rule is Rule.PILLOW:
            record["grey_range"] = None if self.grey_range is None else list(self.grey_range)
            record["transparency"] = self.rule.value
        return record | {"resize": RESIZE[self.rule]} | WORDS

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Preprocessing:
        """Read what :meth:`to_dict` gave.

        Raises:
            ProxylessError: Values are missing or impossible, or the rule is another one.
        """
        try:
            rule = Rule.PILLOW if "transparency" in data else Rule.TORCHVISION
            known = {"transparency": rule.value, "resize": RESIZE[rule]} | WORDS
            for key, value in known.items():
                if data.get(key, value) != value:
                    raise ProxylessError(f"preprocessing: {key} is {data[key]!r}, but only {value!r} is supported")
            grey_range = data.get("grey_range")
            if grey_range is not None:
                low, high = grey_range
                grey_range = (float(low), float(high))
            fields = Fields(dict(data), "", whole="preprocessing: not a valid record")
            return cls(
                fields.count("image_size", most=LARGEST_SIZE),
                fields.count("channels", most=3),
                fields.numbers("mean", -1e3, 1e3),
                fields.numbers("std", SMALLEST_STD, 1e3),
                grey_range,
                rule,
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ProxylessError(f"preprocessing: not a valid record ({type(error).__name__}: {error})") from None


def _image(pixels: Image.Image | np.ndarray) -> Image.Image:
    from PIL import Image

    if isinstance(pixels, Image.Image):
        return pixels
    if not isinstance(pixels, np.ndarray):
        raise ProxylessError(
            f"an image must be a Pillow image, a path or an array of pixels, got {short(pixels)}; inputs of the network"
            " are one tensor (batch, channels, height, width)"
        )
    colours = pixels.ndim == 3 and pixels.shape[2] in (1, 3, 4)
    if not (pixels.dtype == np.uint8 and (pixels.ndim == 2 or colours)) and not (
        pixels.dtype == np.uint16 and pixels.ndim == 2
    ):
        raise ProxylessError(
            "an image array must be uint8 (height, width) or (height, width, 1, 3 or 4), or uint16 (height, width), "
            f"got {pixels.dtype} {pixels.shape}"
        )
    return Image.fromarray(pixels[:, :, 0] if pixels.ndim == 3 and pixels.shape[2] == 1 else pixels)


def square(image: Image.Image, image_size: int, rule: Rule = Rule.PILLOW) -> np.ndarray:
    """Cut out the central square of an L or RGB image and resize it: uint8 (channels, image_size, image_size).

    An image that already has this size stays as it is.
    """
    from PIL import Image, ImageOps

    if rule is Rule.TORCHVISION:
        return _torchvision_square(image, image_size)
    return to_array(ImageOps.fit(image, (image_size, image_size), Image.Resampling.BILINEAR))


def _torchvision_square(image: Image.Image, image_size: int) -> np.ndarray:
    """Return the same pixels as torchvision's ``Resize(image_size)`` and ``CenterCrop(image_size)``.

    Both are done in one step, so that a very long image is never enlarged as a whole.
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
    # Rounding must not move the box 1e-13 pixels out of the image.
    box = (box[0], box[1], min(box[2], width), min(box[3], height))
    return to_array(image.resize((image_size, image_size), Image.Resampling.BILINEAR, box=box))


def shrink(image: Image.Image, shorter_side: int) -> np.ndarray:
    """Resize an L or RGB image until its shorter side is at most ``shorter_side``: uint8 (channels, height, width)."""
    from PIL import Image

    shorter = min(image.size)
    if shorter > shorter_side:
        size = tuple(max(1, round(side * shorter_side / shorter)) for side in image.size)
        image = image.resize((size[0], size[1]), Image.Resampling.BILINEAR)
    return to_array(image)
