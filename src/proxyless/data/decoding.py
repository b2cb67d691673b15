"""Reads image files of any common kind as upright 8-bit grey or RGB images."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from proxyless.errors import ProxylessError

if TYPE_CHECKING:
    from PIL import Image

SUFFIXES_BEFORE = frozenset(  # of the files that version 0.1 took for images
    (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm")
)
DEEP_MODES = frozenset(("I", "I;16", "I;16B", "I;16L", "I;16N", "F"))  # greys of 16 or 32 bits
GREY_MODES = frozenset(("1", "L", "LA", "La")) | DEEP_MODES
FULL_RANGE = (0, 65535)  # of 16-bit greys
ORIENTATION_TAG = 0x0112

GreyRange = tuple[float, ...]
"""The two values of 16- and 32-bit greys that become black and white."""


class Rule(Enum):
    """How an image becomes a square of 8-bit pixels; the value is what a record says of transparency."""

    PILLOW = "composited on white"
    """The central square, as by ``ImageOps.fit``; transparent areas become white, as on a page."""
    TORCHVISION = "dropped"
    """The shorter side is resized first, then the centre is cut out; transparency is ignored. Version 0.1 did so, and
    networks that it trained still need it."""


@dataclass(frozen=True)
class Header:
    """What an image file says of itself before its pixels are decoded."""

    width: int
    height: int
    grey: bool
    upper_bits: bool = False
    """Whether colours have 16 bits, of which Pillow reads the upper 8."""
    several: bool = False
    """Whether there are more pictures in the file, such as pages of a stack or frames of an animation."""


@contextmanager
def without_warnings() -> Iterator[None]:
    """Silence the warnings of Pillow about large images, odd EXIF blocks and transparency in palettes.

    Whether an image is usable is reported in other ways. Python's filters hold for the whole process: this goes around
    a pool of threads, not into one of them.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def read_header(path: Path) -> Header | None:
    """Read size and kind of an image file without decoding it; None where it cannot be opened as an image."""
    from PIL import Image

    try:
        with Image.open(path) as image:
            deep = ";16" in str(getattr(image, "tile", ""))  # names the decoder, such as RGB;16B
            upper_bits = deep and image.mode not in DEEP_MODES
            return Header(image.width, image.height, image.mode in GREY_MODES, upper_bits, _goes_on(image))
    except Exception:  # a damaged file, which read_image reports
        return None


def _goes_on(image: Image.Image) -> bool:
    """Say whether there is a second picture in a file.

    ``n_frames`` would read all of them. In the photos of phones (MPO) the second one is a preview or a map of
    brightness, and does not count.
    """
    if image.format == "MPO":
        return False
    try:
        image.seek(1)
    except Exception:  # EOFError where there is none; a damaged second picture does not matter
        return False
    return True


def read_image(path: Path, channels: int, grey_range: GreyRange | None = None, rule: Rule = Rule.PILLOW) -> Image.Image:
    """Decode an image file, and return it upright in mode L or RGB; see :func:`to_channels` for the arguments.

    Raises:
        ProxylessError: The file is missing, truncated, damaged, too large or not an image.
    """
    return read_image_and_kind(path, channels, grey_range, rule, None)[0]


def read_image_and_kind(
    path: Path, channels: int, grey_range: GreyRange | None, rule: Rule, content: bytes | None
) -> tuple[Image.Image, bool]:
    """Return what :func:`read_image` gives, and whether the file is in colour.

    ``content`` holds the bytes of the file where they have already been read.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path if content is None else BytesIO(content)) as image:
            colour = image.mode not in GREY_MODES
            image.load()
            return to_channels(image, channels, grey_range, rule), colour
    except Image.DecompressionBombError as error:
        raise ProxylessError(f"{path}: {_too_large(error)}") from None
    except UnidentifiedImageError:
        raise ProxylessError(f"{path}: unreadable image (not an image, or damaged at its beginning)") from None
    except Exception as error:  # damaged files make Pillow's plugins raise nearly any type
        raise ProxylessError(f"{path}: unreadable image ({type(error).__name__}: {error})") from None


def _too_large(error: Exception) -> str:
    """Say in megapixels what Pillow's error says in pixels."""
    sizes = [int(number) / 1e6 for number in re.findall(r"\d+", str(error))]
    if len(sizes) != 2:
        return f"too large ({error})"
    return (
        f"an image of {sizes[0]:,.0f} megapixels, above the {sizes[1]:,.0f} that Pillow opens at most: make it smaller"
    )


def to_channels(
    image: Image.Image, channels: int, grey_range: GreyRange | None = None, rule: Rule = Rule.PILLOW
) -> Image.Image:
    """Turn an image upright, and convert it to 8 bits in mode L or RGB; transparent areas become white.

    Args:
        image: Of any mode.
        channels: 1 for mode L, 3 for RGB.
        grey_range: Values of 16- and 32-bit greys that become 0 and 255; None: the full range of 16 bits.
        rule: Version 0.1 ignored transparency.

    Raises:
        ValueError: Pixels are floating-point numbers, and no range is given.
    """
    from PIL import Image

    image = _upright(image)
    mode = "L" if channels == 1 else "RGB"
    if image.mode in DEEP_MODES:
        return _eight_bits(image, grey_range, rule).convert(mode)
    if rule is Rule.TORCHVISION:
        if image.mode in ("P", "PA"):  # a palette may hold transparency, which only RGBA can express
            image = image.convert("RGBA")
        return image.convert(mode)
    if image.mode not in ("1", "L", "RGB") or "transparency" in image.info:
        if image.mode == "La":  # Pillow converts this mode to no other
            image = image.convert("LA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA"))
    return image.convert(mode)


def deep_values(image: Image.Image) -> np.ndarray:
    """Return the pixels of a 16- or 32-bit grey: float64 (height, width)."""
    return np.asarray(image).astype(np.float64)


def _eight_bits(image: Image.Image, grey_range: GreyRange | None, rule: Rule) -> Image.Image:
    """Convert a 16- or 32-bit grey to mode L; Pillow would cut values off at 255."""
    from PIL import Image

    if image.mode == "F" and grey_range is None:
        raise ValueError("floating-point pixels have no known range; give images.grey_range, or convert to 8 bits")
    values = deep_values(image)
    low, high = grey_range or FULL_RANGE
    if rule is Rule.PILLOW and "transparency" in image.info:
        values[values == image.info["transparency"]] = high
    scaled = np.clip((values - low) / (high - low) * 255, 0, 255).round()
    return Image.fromarray(np.nan_to_num(scaled).astype(np.uint8))


def to_array(image: Image.Image) -> np.ndarray:
    """Return the pixels of an image in mode L or RGB: uint8 (channels, height, width)."""
    pixels = np.asarray(image)
    # Always a copy: Pillow's view is read-only, and tensors cannot be.
    return np.array(pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1), order="C")


def to_image(pixels: np.ndarray) -> Image.Image:
    """The inverse of :func:`to_array`."""
    from PIL import Image

    return Image.fromarray(pixels[0] if pixels.shape[0] == 1 else np.ascontiguousarray(pixels.transpose(1, 2, 0)))


def _upright(image: Image.Image) -> Image.Image:
    """Turn an image as its EXIF orientation says.

    ``ImageOps.exif_transpose`` also writes the EXIF block back, and fails on malformed blocks beside good pixels.
    """
    from PIL import Image

    turns = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_270,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_90,
    }
    try:
        turn = turns.get(image.getexif().get(ORIENTATION_TAG, 1))
    except Exception:  # a malformed EXIF block says nothing about the pixels
        return image
    return image if turn is None else image.transpose(turn)
