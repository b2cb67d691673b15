"""Files that hold anything at all, or are none."""

import os

import pytest

from proxyless import ProxylessError, files
from proxyless.errors import short
from proxyless.files import reading
from proxyless.files.yaml_files import read_yaml
from proxyless.job import settings


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"[" * 100_000, "nested too deeply"),
        (b"[" * 100 + b"]" * 100, "nested too deeply"),
        (b"1" * 5000, r"whole number 11111111111111111111\.\.\. does not fit in 64 bits"),
        (b"18446744073709551616", "does not fit in 64 bits"),
        (b"[1e400]", "number 1e400 is too large"),
        (b"[NaN]", "NaN is no number of JSON"),
        (b"[-Infinity]", "-Infinity is no number of JSON"),
        (b'{"a": 1, "b": 2, "a": 3}', "gives 'a' twice"),
        ('{"a": 1}'.encode("utf-16"), "it is UTF-16; save it as UTF-8"),
        (b'{"a": "\xff"}', "not readable as JSON"),
        (b'{"a": 1', "not readable as JSON"),
        (b"\0" * 20, "not readable as JSON"),
    ],
)
def test_json_that_is_no_plain_data_is_refused_in_one_line(content, told, tmp_path):
    (tmp_path / "value.json").write_bytes(content)
    with pytest.raises(ProxylessError, match=rf"value\.json: .*{told}") as error:
        files.read_json(tmp_path / "value.json")
    assert len(str(error.value).splitlines()) == 1


def test_json_is_read_as_it_was_written(tmp_path):
    value = {
        "largest": 2**64 - 1,
        "least": -(2**63),
        "small": 5e-324,
        "deep": [[[[{"a": []}]]]],
        "name": "\udcff\u2028",
    }
    files.write_json(tmp_path / "value.json", value)
    assert files.read_json(tmp_path / "value.json") == value


def test_a_byte_order_mark_is_no_part_of_a_text(tmp_path):
    (tmp_path / "value").write_bytes(b"\xef\xbb\xbf{}")
    assert files.read_json(tmp_path / "value") == {}
    assert read_yaml(tmp_path / "value") == {}


@pytest.mark.parametrize("read", [files.read_json, files.read_json_lines, read_yaml, settings.load])
def test_what_is_no_file_is_refused_and_not_waited_for(read, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path, kind in ((tmp_path / "pipe", "a pipe"), (tmp_path, "a folder"), ("/dev/zero", "a device")):
        with pytest.raises(ProxylessError, match=f"it is {kind}, not a file"):
            read(path)


@pytest.mark.parametrize("read", [files.read_json, files.read_json_lines, read_yaml])
def test_a_file_too_large_to_be_true_is_not_read(read, tmp_path):
    with (tmp_path / "large").open("wb") as file:
        file.truncate(10 * 2**30)
    with pytest.raises(ProxylessError, match=r"it has 10,240 MiB, and such a file at most"):
        read(tmp_path / "large")


def test_a_name_with_a_nul_is_no_file():
    with pytest.raises(ProxylessError, match="cannot be opened"):
        files.read_json("a\0b")


def test_lines_that_are_broken_are_left_out_and_those_after_them_read(tmp_path):
    path = tmp_path / "history.jsonl"
    path.write_bytes(b'{"a": 1}\n{"a": \n\xff\n[]\n' + b"[" * 10_000 + b'\n{"a": 2}\n{"a"')
    assert reading.read_json_lines(path) == [{"a": 1}, {"a": 2}]
    path.write_bytes(b"no\nlines\n")
    with pytest.raises(ProxylessError, match="none of its 2 lines is an object"):
        reading.read_json_lines(path)


BOMB = "a0: &a0 [x, x]\n" + "".join(f"a{i + 1}: &a{i + 1} [{', '.join([f'*a{i}'] * 9)}]\n" for i in range(30))
MERGES = "a0: &a0 {x: 1}\n" + "".join(f"a{i + 1}: &a{i + 1} {{<<: [{', '.join([f'*a{i}'] * 9)}]}}\n" for i in range(30))


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (BOMB, "anchors repeat too much"),
        (MERGES, "anchors repeat too much"),
        ("a: &a [*a]", "anchors repeat too much"),
        ("[" * 100_000, "nested too deeply"),
        ("{a: " * 40 + "}" * 40, "nested too deeply"),
        ("seed: 1\nsearch: {epochs: 1}\nseed: 2\n", "at line 3: 'seed' is given twice"),
        ("? [a]\n: 1\n", "a name is a list or mapping"),
        ("seed: !!int ''\n", "tags such as"),
        ("seed: !!python/object/apply:os.system ['touch /tmp/executed']\n", "tags such as"),
        ("seed: " + "9" * 5000, "not valid YAML"),
        ("a: b: c\n", "at line 1"),
        ("a: 'b\n", "not valid YAML"),
        ("a: \0\n", "not valid YAML"),
        ("%YAML 9.0\n--- 1", "not valid YAML"),
        ("--- 1\n--- 2\n", "not valid YAML"),
    ],
)
def test_yaml_that_is_no_plain_data_is_refused_in_one_line(content, told, tmp_path):
    (tmp_path / "value.yaml").write_text(content)
    with pytest.raises(ProxylessError, match=rf"value\.yaml: .*{told}") as error:
        read_yaml(tmp_path / "value.yaml")
    assert len(str(error.value).splitlines()) == 1


def test_yaml_that_repeats_itself_a_little_is_read(tmp_path):
    (tmp_path / "value.yaml").write_text("a: &a {x: 1, y: 2}\nb: {<<: *a, x: 3}\nc: [*a, 2001-99-99, no, 1e-3]\n")
    a = {"x": 1, "y": 2}
    assert read_yaml(tmp_path / "value.yaml") == {"a": a, "b": {"x": 3, "y": 2}, "c": [a, "2001-99-99", False, "1e-3"]}


def test_a_message_stays_one_line_and_steers_no_terminal(tmp_path):
    (tmp_path / "value.yaml").write_text(r'{"a\nb\x1b[2J\u2028": ' + "'" + "x" * 5000 + "'}")
    with pytest.raises(ProxylessError, match="unknown setting") as error:
        settings.load(tmp_path / "value.yaml")
    assert str(error.value).isprintable()
    assert r"a\nb\x1b[2J\u2028" in str(error.value)
    assert len(str(ProxylessError("x" * 10_000))) < 1100
    assert short("x" * 100, 20) == "'xxxxxxxxxxxxxxxx..."
