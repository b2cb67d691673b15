import os

import pytest

from proxyless.machine import system
from proxyless.machine.system import machine, usable_cores


@pytest.fixture
def tells(monkeypatch):
    """Makes the files of the system hold what a dictionary says, and no quota be set."""
    monkeypatch.setattr(system, "cpu_quota", lambda: None)
    return lambda texts: monkeypatch.setattr(system, "system_text", lambda path: texts.get(path, ""))


def test_a_processor_is_named_with_its_family_since_virtual_machines_hide_the_model(tells):
    fields = "processor : 0\nmodel name : AMD EPYC\ncpu family : 26\nmodel : 2\n\nprocessor : 1\nmodel name : AMD EPYC"
    tells({"/proc/cpuinfo": fields})
    assert machine() == f"AMD EPYC (family 26, model 2), {os.cpu_count()} cores"


def test_a_board_is_named_as_it_names_itself(tells):
    board = "Raspberry Pi 5 Model B Rev 1.0"
    tells({"/proc/cpuinfo": "processor : 0\nBogoMIPS : 108.00", "/proc/device-tree/model": board})
    assert machine() == f"{board}, {os.cpu_count()} cores"


def test_a_system_that_tells_nothing_still_has_a_name(tells):
    tells({})
    assert machine().endswith(f", {os.cpu_count()} cores")


def test_files_that_are_not_there_are_empty_and_line_ends_of_all_kinds_left_out(tmp_path):
    (tmp_path / "model").write_bytes(b"a board\0\n")
    assert system.system_text(str(tmp_path / "model")) == "a board"
    assert system.system_text(str(tmp_path / "none")) == system.system_text(str(tmp_path)) == ""


@pytest.mark.parametrize(("quota", "cores"), [(0.5, 1), (1.9, 1), (64.0, None), (None, None)])
def test_the_usable_cores_are_those_the_system_allows_and_no_more_than_its_quota(monkeypatch, quota, cores):
    monkeypatch.setattr(system, "cpu_quota", lambda: quota)
    assert usable_cores() == (cores or len(os.sched_getaffinity(0)))


@pytest.mark.parametrize(("quota", "said"), [(0.5, ", limited to 0.5"), (None, "")])
def test_a_machine_of_which_a_part_may_be_used_is_another_machine(tells, monkeypatch, quota, said):
    tells({})
    monkeypatch.setattr(system, "cpu_quota", lambda: quota)
    assert machine().endswith(f", {os.cpu_count()} cores{said}")
