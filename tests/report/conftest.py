"""The made-up run as fixtures."""

from __future__ import annotations

from pathlib import Path

import pytest
from made_up_run import build_run


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A finished run with every file."""
    return build_run(tmp_path / "fashion")
