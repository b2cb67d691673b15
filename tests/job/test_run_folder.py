"""Whether a run that is in a folder may be gone on with."""

from __future__ import annotations

from pathlib import Path

import pytest

from proxyless import ProxylessError, files
from proxyless.job import settings
from proxyless.job.run_folder import RunFolder, check_same
from proxyless.job.settings import Settings


def test_a_run_may_be_gone_on_with_by_another_number_of_worker_processes_and_by_nothing_else(tmp_path: Path) -> None:
    run, begun, data = RunFolder(tmp_path), Settings().replace({"data": "digits"}), {"classes": ["a", "b"]}
    settings.save(begun, run.config)
    files.write_json(run.data, data)
    check_same(run, begun.replace({"images.workers": 0}), data)
    with pytest.raises(ProxylessError, match=r"holds another run \(seed is 0 there and 1 here\)"):
        check_same(run, begun.replace({"images.workers": 0, "seed": 1}), data)
