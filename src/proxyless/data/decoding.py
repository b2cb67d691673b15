"""Reading image files of any common kind into upright 8-bit grey or RGB images."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from proxyless.errors import ProxylessError

if TYPE_CHECKING:
    from PIL import Image

SUFFIXES = frozenset(
    (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm")
)
GREY_MODES = frozenset(("1", "L", "LA", "I", "I;16", "I;16B", "I;16L", "I;16N"))
ORIENTATION_TAG = 0x0112


@dataclass(frozen=True)
class Header:
    """What an image file says of itself before its pixels are decoded."""

    width: int
    height: int
    grey: bool


def cpu_count() -> int:
    """The CPU cores this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def read_header(path: Path) -> Header | None:
    """Size and kind of an image file without decoding it; None where the file cannot be opened as an image."""
    from PIL import Image

    try:
        with Image.open(path) as image:
            return Header(image.width, image.height, image.mode in GREY_MODES)
    except Exception:  # as in read_image, which is the one to report the damage
        return None


def read_image(path: Path, channels: int) -> Image.Image:
    """Decode ``path`` in full and return it upright, in mode L (``channels`` 1) or RGB (3).

    A file that is missing, truncated, damaged or no image at all is a :class:`ProxylessError` naming it.
    """
    from PIL import Image

    try:
        with Image.open(path) as image:
            image.load()
            return to_channels(_upright(image), channels)
    except Exception as error:  # damaged files make Pillow's plugins raise nearly any type
        raise ProxylessError(f"{path}: unreadable image ({type(error).__name__}: {error})") from None


def to_channels(image: Image.Image, channels: int) -> Image.Image:
    """``image`` in mode L (``channels`` 1) or RGB (3).

    16-bit grey is scaled to 8 bits; transparency is dropped, as torchvision and timm do. Floating-point
    pixels, whose range nobody states, are a ``ValueError``.
    """
    from PIL import Image

    if image.mode == "F":
        raise ValueError("floating-point pixels have no known range; convert the file to 8 or 16 bits")
    if image.mode.startswith("I"):  # Pillow's own conversion clips 16-bit values at 255 in some versions
        values = np.asarray(image).astype(np.int64)
        image = Image.fromarray(np.clip((values + 128) // 257, 0, 255).astype(np.uint8))
    if image.mode in ("P", "PA"):  # a palette may hold transparency, which only RGBA can express
        image = image.convert("RGBA")
    return image.convert("L" if channels == 1 else "RGB")


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
