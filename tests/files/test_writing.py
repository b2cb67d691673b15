import json
import shutil

import pytest

from proxyless import ProxylessError, files


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "value.json"
    files.write_json(path, {"a": 1})
    with pytest.raises(ValueError, match="not JSON compliant"):
        files.write_json(path, {"a": float("nan")})

    def broken_write():
        with files.replacing(path) as temporary:
            temporary.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        broken_write()
    assert files.read_json(path) == {"a": 1}
    assert list(tmp_path.iterdir()) == [path]


def test_written_files_have_the_usual_permissions(tmp_path):
    (tmp_path / "usual").touch()
    files.write_text(tmp_path / "written", "x")
    assert (tmp_path / "written").stat().st_mode == (tmp_path / "usual").stat().st_mode


@pytest.mark.parametrize("content", ["{", "", "\udcff"])
def test_unreadable_json_is_one_clear_error(tmp_path, content):
    path = tmp_path / "value.json"
    path.write_bytes(content.encode("utf-8", "surrogateescape"))
    with pytest.raises(ProxylessError, match=r"value\.json: not readable as JSON"):
        files.read_json(path)


def test_a_line_cut_off_by_a_kill_is_left_out(tmp_path):
    path = tmp_path / "history.jsonl"
    for value in ({"a": 1}, {"a": 2}):
        files.append_json_line(path, value)
    with path.open("a") as file:
        file.write(json.dumps({"a": 3})[:4])
    assert files.read_json_lines(path) == [{"a": 1}, {"a": 2}]


def test_what_a_killed_process_left_is_removed(tmp_path):
    (tmp_path / "search").mkdir()
    for name in (f"{files.PARTIAL}model-abc.onnx", f"search/{files.PARTIAL}checkpoint-x.pt", "kept.json"):
        (tmp_path / name).touch()
    folder = tmp_path / f"{files.PARTIAL}bundle-y"
    folder.mkdir()
    (folder / f"{files.PARTIAL}half").touch()
    files.remove_partial(tmp_path)
    assert not folder.exists()
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["kept.json"]


def test_a_line_after_one_that_was_cut_off_is_read(tmp_path):
    path = tmp_path / "history.jsonl"
    path.write_text('{"a": 1}\n{"a": ')
    files.append_json_line(path, {"a": 3})
    assert files.read_json_lines(path) == [{"a": 1}, {"a": 3}]


def test_lines_of_two_processes_do_not_mix(tmp_path):
    import subprocess
    import sys

    path = tmp_path / "rounds.jsonl"
    code = f"""
from proxyless import files
for i in range(200):
    files.append_json_line({str(path)!r}, {{"value": [i] * 5000}})
"""
    processes = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(2)]
    assert [process.wait() for process in processes] == [0, 0]
    assert len(files.read_json_lines(path)) == len(path.read_text().splitlines()) == 400


def test_only_the_lines_that_are_wanted_are_left(tmp_path):
    path = tmp_path / "history.jsonl"
    for epoch in (0.5, 1.0, 1.5):
        files.append_json_line(path, {"epoch": epoch})
    with path.open("a") as file:
        file.write('{"epoch": 0.')
    files.keep_lines(path, lambda value: value["epoch"] <= 1)
    assert path.read_text() == '{"epoch": 0.5}\n{"epoch": 1.0}\n'


def test_a_file_is_on_the_disk_before_its_name_is(tmp_path, monkeypatch):
    """What a loss of power leaves cannot be seen here: the order of what the system is asked for can."""
    import os

    asked = []
    real_sync, real_replace = os.fsync, os.replace
    monkeypatch.setattr(
        os, "fsync", lambda handle: (asked.append(os.readlink(f"/proc/self/fd/{handle}")), real_sync(handle))
    )
    monkeypatch.setattr(os, "replace", lambda old, new: (asked.append(f"{old} -> {new}"), real_replace(old, new)))
    files.write_json(tmp_path / "a.json", {})
    temporary = asked[0]
    assert asked == [temporary, f"{temporary} -> {tmp_path / 'a.json'}", str(tmp_path)]


def test_an_error_for_want_of_room_for_temporary_files_names_the_place(monkeypatch):
    with pytest.raises(RuntimeError, match="odd"), files.scratch() as folder:
        raise RuntimeError("odd")
    assert not folder.exists()
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(2**30, 2**30, 0))
    with pytest.raises(ProxylessError, match=r"no room for temporary files; make some, or .*TMPDIR"), files.scratch():
        raise RuntimeError("Protobuf serialization failed")
