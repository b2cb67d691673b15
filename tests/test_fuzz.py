"""Wrong files at every door: the first cases of ``benchmarks/fuzz.py``, in this process."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"
CASES = 300
PARTS = 6


@pytest.fixture(scope="module")
def fuzzing(tmp_path_factory):
    sys.path.insert(0, str(BENCHMARKS))
    try:
        from fuzzing import cases, doors
    finally:
        sys.path.remove(str(BENCHMARKS))
    root = tmp_path_factory.mktemp("fuzzing") / "root"
    doors.prepare(root)
    good = root.with_name("good")
    shutil.copytree(root, good)
    for door in doors.DOORS:
        door.read(root)  # every good file is read
    return cases, root, good


@pytest.mark.parametrize("part", range(PARTS))
def test_a_wrong_file_is_read_into_a_value_that_can_be_used_or_refused_in_one_line(fuzzing, part):
    cases, root, good = fuzzing
    numbers = range(part, CASES, PARTS)
    outcomes = {number: cases.run(cases.case(number), root, good) for number in numbers}
    failed = {number: found for number, found in outcomes.items() if found.kind == cases.FAILED}
    assert not failed, "run `python benchmarks/fuzz.py --case N` to see one of them"
    assert {found.kind for found in outcomes.values()} == {cases.LOADED, cases.REFUSED}


def test_code_in_a_checkpoint_is_never_run(fuzzing):
    from fuzzing import mutations
    from fuzzing.doors import CHECKPOINT, DOORS

    cases, root, good = fuzzing
    checkpoints = [door for door in DOORS if door.kind == CHECKPOINT]
    assert len(checkpoints) == 3
    for door in checkpoints:
        content = mutations.with_code(root / mutations.MARKER)
        (root / door.file).write_bytes(content)
        with pytest.raises(cases.ProxylessError, match="not a checkpoint of plain tensors"):
            door.read(root)
        assert not (root / mutations.MARKER).exists()
        shutil.copy(good / door.file, root / door.file)
    mutations.unpickled(mutations.with_code(root / mutations.MARKER))
    assert (root / mutations.MARKER).is_dir(), "the code would do something"
    (root / mutations.MARKER).rmdir()
