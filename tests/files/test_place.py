"""Whether a place can be written to is found out by writing there, and nothing remains of that."""

from __future__ import annotations

import os

import pytest

from proxyless import ProxylessError, files
from proxyless.files import place
from proxyless.job.run_folder import RunFolder, taken


def everything(folder):
    return sorted(folder.rglob("*"))


def test_a_folder_that_was_made_for_a_try_is_gone_when_nothing_was_left_in_it(tmp_path):
    with place.folder(tmp_path / "a" / "b", ["x.json", "sub/y.pt"]):
        assert [path.name for path in everything(tmp_path)] == ["a", "b", ".lock"]
    assert everything(tmp_path) == []


def test_what_is_written_stays_and_what_was_left_half_written_goes(tmp_path):
    (tmp_path / f"{files.PARTIAL}old").touch()
    with place.folder(tmp_path, ["x.json"]):
        (tmp_path / "x.json").write_text("{}")
    assert [path.name for path in everything(tmp_path)] == ["x.json"]


NOWHERE = ["/proc/out", "/sys/kernel/out", "/dev/full/out"]


@pytest.mark.parametrize("out", NOWHERE)
def test_a_folder_where_nothing_can_be_made_is_refused(out):
    from pathlib import Path

    with pytest.raises(ProxylessError, match=f"--out {out}: cannot be written to"):
        taken(Path(out)).__enter__()
    with pytest.raises(ProxylessError, match=f"--out {out}: cannot be written to"):
        place.check_file(Path(out))


@pytest.mark.parametrize("name", ["x" * 256, "a\0b", "\ud800"], ids=["long", "nul", "no file's name"])
def test_names_that_no_file_can_have_are_refused(tmp_path, name):
    for use in (taken, place.file):
        with pytest.raises(ProxylessError, match="cannot be written to"):
            use(tmp_path / name).__enter__()
    assert everything(tmp_path) == []


@pytest.mark.parametrize("name", ["x" * 250, "-rf", "a\nb", os.fsdecode(b"caf\xe9"), "ü %s {}"])
def test_unusual_names_are_names(tmp_path, name):
    with taken(tmp_path / name) as run:
        files.write_json(run.result, {})
    with place.file(tmp_path / name / f"{name[:240]}.json"):
        files.write_json(tmp_path / name / f"{name[:240]}.json", {})
    assert sorted(path.name for path in (tmp_path / name).iterdir()) == sorted(["result.json", f"{name[:240]}.json"])


def test_a_link_to_nowhere_is_refused(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "gone")
    with pytest.raises(ProxylessError, match="link: is a link to a place that does not exist"):
        taken(tmp_path / "link").__enter__()
    assert not (tmp_path / "gone").exists()


def test_a_folder_in_place_of_a_file_is_found_before_any_work(tmp_path):
    (tmp_path / "config.yaml").touch()
    (tmp_path / "model.onnx").mkdir()
    with pytest.raises(ProxylessError, match=r"model\.onnx: is in the way of a file"):
        taken(tmp_path).__enter__()


def test_a_device_is_no_file_to_be_replaced(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ProxylessError, match="is a device or a pipe"):
        place.check_file(tmp_path / "pipe")


def test_every_file_of_a_run_is_tried(tmp_path):
    names = RunFolder(tmp_path).written()
    assert {"model.onnx", "search/checkpoint.pt", "search/checkpoint.previous.pt", "report.html"} <= set(names)


def test_a_new_folder_takes_the_place_of_the_old_one_as_a_whole_or_not_at_all(tmp_path):
    out = tmp_path / "bundle"
    for content in ("first", "second"):
        with place.new_folder(out, ["a/b"]) as folder:
            (folder / "a").mkdir()
            (folder / "a" / "b").write_text(content)
    with pytest.raises(FileExistsError), place.new_folder(out, ["a/b"]) as folder:
        folder.mkdir()
    assert (out / "a" / "b").read_text() == "second"
    assert [path.name for path in everything(tmp_path)] == ["bundle", "a", "b"]
