"""Finds the range of values in greys of 16 and 32 bits.

Files do not state it: the 12 bits of a camera may stand in a file of 16 bits.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from proxyless.data.decoding import DEEP_MODES, GreyRange, deep_values
from proxyless.data.threads import on_each

OUTSIDE = 0.001  # share of the pixels at either end that may be hot or dead


def range_of(root: Path, names: Sequence[str]) -> GreyRange | None:
    """Find the lowest and highest value of the 16- and 32-bit greys among files.

    The darkest and brightest thousandth of each image does not count: one hot pixel would otherwise leave only a few
    levels for all others. The result depends on the set of images alone, not on their order.

    Args:
        root: The folder that the files lie below.
        names: The files.

    Returns:
        The two values, or None where there are no such greys.
    """
    found = [ends for ends in on_each(_ends, root, names) if ends is not None]
    if not found:
        return None
    low, high = min(low for low, _ in found), max(high for _, high in found)
    return low, high if high > low else low + 1


def _ends(path: Path) -> GreyRange | None:
    """Find the lowest and highest value of one file, without its extremes; None for other kinds of images."""
    from PIL import Image

    try:
        with Image.open(path) as image:
            if image.mode not in DEEP_MODES:
                return None
            values = deep_values(image)
            hidden = image.info.get("transparency")
    except Exception:  # a damaged file, which read_image reports
        return None
    values = values[np.isfinite(values) & (values != hidden)]
    if not values.size:
        return None
    low, high = np.quantile(values, (OUTSIDE, 1 - OUTSIDE), method="nearest")
    return float(low), float(high)
