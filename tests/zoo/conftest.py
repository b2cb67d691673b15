"""Files in the authors' format."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def saved(tmp_path: Path) -> Callable[[Any], Path]:
    def save(config: Any) -> Path:
        path = tmp_path / "net.config"
        path.write_text(json.dumps(config))
        return path

    return save
