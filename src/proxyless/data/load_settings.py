"""The settings that decide how the images of a data set are read and divided."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from proxyless.data.decoding import Rule
from proxyless.data.labelling import Labelling
from proxyless.data.splits import HoldOut

MEMORY_LIMIT_BYTES = 2 << 30


@dataclass(frozen=True)
class LoadSettings:
    """How images are read and divided; see :func:`proxyless.data.load` for what each setting means."""

    hold_out: HoldOut
    image_size: int | None = None
    skip_corrupt: bool = False
    memory_limit_bytes: int = MEMORY_LIMIT_BYTES
    grey_range: Sequence[float] | None = None
    rule: Rule = Rule.PILLOW
    by_content: bool = True
    labelling: Labelling | None = None
