import json

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
