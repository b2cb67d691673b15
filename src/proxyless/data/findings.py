"""What was noticed in a data set that a person should know before the work starts."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from proxyless.data.tree import NOT_AN_IMAGE
from proxyless.errors import printable, short

KINDS = ("grey", "colour")


@dataclass(frozen=True)
class Findings:
    """What was noticed in a data set.

    Args:
        folder: The folder that was read, relative to the given one, where that only wraps it.
        left_out: Number and a few names of the files that were passed over, by reason.
        in_subfolders: Images that do not lie directly in their class folder, but deeper.
        kinds: Number of images by ``grey`` and ``colour``, where there are both.
        read_as: Which of the two all images become.
        upper_bits: Whether there are colour images of 16 bits, of which Pillow reads the upper 8.
        several: Whether there are files of several pictures, of which the first is read.
        shared: Pictures of one split that are in another one too, such as ``{"train/test": 3}``.
        two_labels: Images whose picture is under another class too.
        two_labels_example: Two of these.
        together: Groups of names of the same picture, each held out as a whole or not at all.
    """

    folder: str | None = None
    left_out: dict[str, dict[str, Any]] = field(default_factory=dict)
    in_subfolders: int = 0
    kinds: dict[str, int] = field(default_factory=dict)
    read_as: str = ""
    upper_bits: bool = False
    several: bool = False
    shared: dict[str, int] = field(default_factory=dict)
    two_labels: int = 0
    two_labels_example: tuple[str, ...] = ()
    together: tuple[tuple[str, ...], ...] = ()

    def describe(self) -> dict[str, Any]:
        """Return it as JSON-able data."""
        return asdict(self) | {
            "two_labels_example": list(self.two_labels_example),
            "together": [list(names) for names in self.together],
        }

    @classmethod
    def of_record(cls, record: Mapping[str, Any]) -> Findings:
        """Read what :meth:`describe` gave; missing keys are empty.

        Raises:
            ValueError: It is not such a record; for some mistakes TypeError, AttributeError or KeyError.
        """
        folder, kinds, shared = record.get("folder"), record.get("kinds", {}), record.get("shared", {})
        if set(kinds) not in (set(), set(KINDS)) or any(splits.count("/") != 1 for splits in shared):
            raise ValueError(f"found: {short(kinds)} and {short(shared)}")
        return cls(
            folder=None if folder is None else str(folder),
            left_out={str(reason): _left_out(found) for reason, found in record.get("left_out", {}).items()},
            in_subfolders=int(record.get("in_subfolders", 0)),
            kinds={str(kind): int(count) for kind, count in kinds.items()},
            read_as=str(record.get("read_as", "")),
            upper_bits=bool(record.get("upper_bits", False)),
            several=bool(record.get("several", False)),
            shared={str(splits): int(count) for splits, count in shared.items()},
            two_labels=int(record.get("two_labels", 0)),
            two_labels_example=tuple(str(name) for name in record.get("two_labels_example", [])),
            together=tuple(tuple(str(name) for name in names) for names in record.get("together", [])),
        )

    def remarks(self) -> list[str]:
        """Return a line of text for everything that was noticed, except for files that were left out."""
        lines = []
        if self.shared:
            pairs = [_pair(splits, count) for splits, count in self.shared.items()]
            lines.append(f"the same picture in two splits: {', '.join(pairs)}; accuracies on these are too good")
        if self.two_labels:
            example = f" ({' and '.join(printable(name) for name in self.two_labels_example)})"
            lines.append(
                f"the same picture under two classes: {self.two_labels:,} images"
                f"{example if self.two_labels_example else ''}; no network can tell these apart"
            )
        if self.kinds:
            lines.append(
                f"mixed: {self.kinds['grey']:,} grey and {self.kinds['colour']:,} colour images; all are read as"
                f" {self.read_as}"
            )
        if self.several:
            lines.append(
                "some files hold several pictures, pages or frames, and only the first is read; save the others as"
                " files of their own if they count"
            )
        if self.upper_bits:
            lines.append(
                "of colours of 16 bits only the upper 8 are read; if the values do not fill the whole range, stretch"
                " them before"
            )
        return lines


def _left_out(found: Mapping[str, Any]) -> dict[str, Any]:
    return {"count": int(found["count"]), "examples": [str(name) for name in found["examples"]]}


def left_out_in_words(left_out: Mapping[str, Mapping[str, Any]]) -> str:
    """Describe what was left out: ``not an image that can be opened (.txt) 3, hidden or of the system 1``."""
    return ", ".join(
        f"{reason}{_suffixes(found['examples']) if reason == NOT_AN_IMAGE else ''} {found['count']:,}"
        for reason, found in left_out.items()
    )


def _pair(splits: str, count: int) -> str:
    one, other = splits.split("/")
    return f"{count:,} of {other} also in {one}"


def _suffixes(names: list[str]) -> str:
    found = dict.fromkeys(os.path.splitext(name)[1].lower() or "no suffix" for name in names)
    return f" ({', '.join(printable(suffix) for suffix in found)})"
