"""What can be learnt of the images of a data set."""

from __future__ import annotations

from enum import StrEnum


class Labelling(StrEnum):
    """What is to be learnt of an image."""

    CLASSIFICATION = "classification"
    MULTI_LABEL = "multi-label"
    REGRESSION = "regression"
