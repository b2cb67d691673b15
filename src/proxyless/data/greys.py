"""The range of values in greys of 16 and 32 bits, which files do not state: a camera's 12 bits in a file of 16, say."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from proxyless.data.decoding import DEEP_MODES, GreyRange, deep_values, without_warnings
from proxyless.machine.system import usable_cores

CHUNK = 32  # files a thread takes at a time
OUTSIDE = 0.001  # share of an image's pixels above, and below, that may be hot or dead ones


def range_of(root: Path, names: Sequence[str]) -> GreyRange | None:
    """The lowest and highest value of the 16- and 32-bit greys among files below ``root``; None where there are none.

    The darkest and brightest thousandth of each image does not count, so that one hot pixel does not leave the others
    a few levels. It depends on the set of images alone, not on their order.
    """
    pool = ThreadPoolExecutor(usable_cores())
    try:
        parts = (names[start : start + CHUNK] for start in range(0, len(names), CHUNK))
        with without_warnings():
            ends = pool.map(lambda part: [_ends(root / name) for name in part], parts)
            found = [one for part in ends for one in part if one is not None]
    finally:
        pool.shutdown(cancel_futures=True)  # so that an interrupt does not wait for all the files
    if not found:
        return None
    low, high = min(low for low, _ in found), max(high for _, high in found)
    return low, high if high > low else low + 1


def _ends(path: Path) -> GreyRange | None:
    """Lowest and highest value of a file, but for its outermost pixels; None where it is another kind of image."""
    from PIL import Image

    try:
        with Image.open(path) as image:
            if image.mode not in DEEP_MODES:
                return None
            values = deep_values(image)
            hidden = image.info.get("transparency")
    except Exception:  # as in read_image, which is the one to report the damage
        return None
    values = values[np.isfinite(values) & (values != hidden)]
    if not values.size:
        return None
    low, high = np.quantile(values, (OUTSIDE, 1 - OUTSIDE), method="nearest")
    return float(low), float(high)
