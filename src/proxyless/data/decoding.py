"""Reading image files of any common kind into upright 8-bit grey or RGB images."""

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

SUFFIXES_BEFORE = frozenset(  # of the files that version 0.1 saw
    (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm")
)
DEEP_MODES = frozenset(("I", "I;16", "I;16B", "I;16L", "I;16N", "F"))  # greys of 16 or 32 bits
GREY_MODES = frozenset(("1", "L", "LA", "La")) | DEEP_MODES
FULL_RANGE = (0, 65535)  # of 16-bit greys
ORIENTATION_TAG = 0x0112

GreyRange = tuple[float, ...]
"""The two values of 16- and 32-bit greys that become black and white."""


class Rule(Enum):
    """How an image becomes a square of 8-bit pixels, by what a record says of its transparency."""

    PILLOW = "composited on white"
    """The central square, as by ``ImageOps.fit``; transparent areas white, as a person would see them on a page."""
    TORCHVISION = "dropped"
    """Of version 0.1: the shorter side resized first, then the centre cut out; transparent areas show what they hide.
    Kept for networks that were trained so."""


@dataclass(frozen=True)
class Header:
    """What an image file says of itself before its pixels are decoded."""

    width: int
    height: int
    grey: bool
    upper_bits: bool = False
    """Whether Pillow reads the upper 8 of 16 bits a colour, as it does of all but greys."""
    several: bool = False
    """Whether there are more pictures in the file, such as pages of a stack or frames of an animation."""


@contextmanager
def without_warnings() -> Iterator[None]:
    """What Pillow warns of (large images, odd EXIF blocks, transparency in palettes) is not for a user's terminal:
    whether an image is usable is told otherwise. Python's filters are of the whole process: around a pool of threads,
    not in one of them.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def read_header(path: Path) -> Header | None:
    """Size and kind of an image file without decoding it; None where the file cannot be opened as an image."""
    from PIL import Image

    try:
        with Image.open(path) as image:
            deep = ";16" in str(getattr(image, "tile", ""))  # the names of what decodes it
            upper_bits = deep and image.mode not in DEEP_MODES
            return Header(image.width, image.height, image.mode in GREY_MODES, upper_bits, _goes_on(image))
    except Exception:  # as in read_image, which is the one to report the damage
        return None


def _goes_on(image: Image.Image) -> bool:
    """Whether there is a second picture in a file. Not by ``n_frames``, which reads all of them. The second one in the
    photo of a phone (MPO) is a preview or a map of brightness.
    """
    if image.format == "MPO":
        return False
    try:
        image.seek(1)
    except Exception:  # EOFError where there is none; whatever is wrong with a later one does no harm
        return False
    return True


def read_image(path: Path, channels: int, grey_range: GreyRange | None = None, rule: Rule = Rule.PILLOW) -> Image.Image:
    """Decode ``path`` in full and return it upright, in mode L (``channels`` 1) or RGB (3); see :func:`to_channels`.

    A file that is missing, truncated, damaged, too large or no image at all is a :class:`ProxylessError` naming it.
    """
    return read_image_and_kind(path, channels, grey_range, rule, None)[0]


def read_image_and_kind(
    path: Path, channels: int, grey_range: GreyRange | None, rule: Rule, content: bytes | None
) -> tuple[Image.Image, bool]:
    """What :func:`read_image` gives, and whether the file holds colours. ``content``: its bytes, where they have been
    read.
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
    """Pillow's refusal of an image, which states numbers of pixels, in megapixels."""
    sizes = [int(number) / 1e6 for number in re.findall(r"\d+", str(error))]
    if len(sizes) != 2:
        return f"too large ({error})"
    return (
        f"an image of {sizes[0]:,.0f} megapixels, above the {sizes[1]:,.0f} that Pillow opens at most: make it smaller"
    )


def to_channels(
    image: Image.Image, channels: int, grey_range: GreyRange | None = None, rule: Rule = Rule.PILLOW
) -> Image.Image:
    """``image`` upright, in mode L (``channels`` 1) or RGB (3), transparent areas on white.

    Greys of 16 or 32 bits are scaled such that ``grey_range`` becomes 0 to 255 (None: the full range of 16 bits).
    Floating-point pixels without a range are a ``ValueError``.
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
        if image.mode == "La":  # Pillow has no other way from it
            image = image.convert("LA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA"))
    return image.convert(mode)


def deep_values(image: Image.Image) -> np.ndarray:
    """Pixels of a 16- or 32-bit grey: float64 (height, width)."""
    return np.asarray(image).astype(np.float64)


def _eight_bits(image: Image.Image, grey_range: GreyRange | None, rule: Rule) -> Image.Image:
    """A 16- or 32-bit grey in mode L. Pillow's own conversion clips at 255."""
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
    """Pixels of an image in mode L or RGB: uint8 (channels, height, width)."""
    pixels = np.asarray(image)
    # a copy in any case: Pillow's view is read-only, which tensors cannot be
    return np.array(pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1), order="C")


def to_image(pixels: np.ndarray) -> Image.Image:
    """The inverse of :func:`to_array`."""
    from PIL import Image

    return Image.fromarray(pixels[0] if pixels.shape[0] == 1 else np.ascontiguousarray(pixels.transpose(1, 2, 0)))


def _upright(image: Image.Image) -> Image.Image:
    """``image`` turned as its EXIF orientation says.

    Not by ``ImageOps.exif_transpose``: that writes the EXIF block back too, and fails on blocks that are
    malformed beside perfectly good pixels.
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
    except Exception:  # unreadable EXIF: the pixels are as good as without any
        return image
    return image if turn is None else image.transpose(turn)
