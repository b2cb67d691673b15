"""What the record of an earlier run says of its data set, and whether the data set is still the same."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from proxyless.data.dataset import ImageData, is_by_content
from proxyless.data.findings import Findings
from proxyless.data.folder import class_name
from proxyless.data.labelling import Labelling
from proxyless.data.load_settings import LoadSettings
from proxyless.data.preprocessing import Preprocessing
from proxyless.data.splits import HoldOut
from proxyless.errors import ProxylessError


@dataclass(frozen=True)
class Recorded:
    """A data set as an earlier run recorded it; none of this is decided a second time.

    Args:
        hold_out: How much was held out.
        preprocessing: What is done to each image.
        skipped: Names of the damaged files that were left out.
        findings: What was noticed.
        digests: The digest of each split.
        by_content: Whether digests are of the files' bytes; those of version 0.1 are of names and sizes.
        labelling: What is learnt of an image, where a table of labels says it.
    """

    hold_out: HoldOut
    preprocessing: Preprocessing
    skipped: frozenset[str]
    findings: Findings
    digests: Mapping[str, str]
    by_content: bool
    labelling: Labelling | None

    @classmethod
    def read(cls, source: str | Path, record: Mapping[str, Any]) -> Recorded:
        """Read what :meth:`ImageData.describe` gave.

        Raises:
            ProxylessError: The record is damaged.
        """
        try:
            return cls(
                HoldOut(record["valid_fraction"], record["test_fraction"], record["seed"]),
                Preprocessing.from_dict(record["preprocessing"]),
                frozenset(record["skipped"]),
                Findings.of_record(record.get("found", {})),
                {str(name): str(split["digest"]) for name, split in record["splits"].items()},
                is_by_content(record),
                Labelling(record["labelling"]) if "labelling" in record else None,
            )
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise ProxylessError(f"{source}: the record of it is damaged ({type(error).__name__}: {error})") from None

    def settings(self, given: LoadSettings) -> LoadSettings:
        """Return the settings ``given`` with those of the record in their place."""
        return replace(
            given,
            hold_out=self.hold_out,
            image_size=self.preprocessing.image_size,
            rule=self.preprocessing.rule,
            by_content=self.by_content,
            labelling=self.labelling,
        )


def check_unchanged(source: str | Path, data: ImageData, record: Mapping[str, Any], check: Collection[str]) -> None:
    """Compare the classes of a data set, and its splits ``check``, with what was recorded.

    Raises:
        ProxylessError: They have changed.
    """
    now = data.describe()
    if [class_name(str(name)) for name in record.get("classes", [])] != [class_name(name) for name in now["classes"]]:
        raise ProxylessError(
            f"{source}: its classes are no longer those of the record; restore them or begin a new run"
        )
    for name, split in now["splits"].items():
        before = record["splits"].get(name, {})
        if name in check and before.get("digest") != split["digest"]:
            raise ProxylessError(
                f"{source}: the {name} split has changed since it was recorded ({before.get('images')} images then, "
                f"{split['images']} now); restore it or begin a new run"
            )
