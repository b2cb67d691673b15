"""Flags: one name for one thing in all commands, and every mistake one line with what was probably meant."""

from __future__ import annotations

import argparse
import re

import pytest
from command_line import proxyless as process

from proxyless.cli import COMMANDS, main, options, parse, parser
from proxyless.job.settings import Update, describe


def mistake(capsys, *words: str) -> str:
    """The one line that the command line says of ``words``."""
    with pytest.raises(SystemExit) as stopped:
        main(list(words))
    printed = capsys.readouterr()
    assert stopped.value.code == 2
    assert printed.out == ""
    assert printed.err.count("\n") == 1
    return printed.err.removesuffix("\n")


WITHOUT_DATA = ["measure", "bundle"]
WITH_DATA = ["search", "train"]


@pytest.mark.parametrize("command", [*WITHOUT_DATA, *WITH_DATA])
def test_space_image_size_channels_and_classes_have_one_name_in_every_command(command):
    words = [command, "--out", "x", "--space", "tree", "--image-size", "32", "--channels", "1", "--classes", "5"]
    if command == "train":
        words += ["--architecture", "a.json"]
    parsed = parse(words)
    assert options.chosen(parsed).images.size == 32
    if command != "train":
        assert options.chosen(parsed).space.name == "tree"
    if command in WITHOUT_DATA:
        wanted = {"classes": 5, "channels": 1, "size": 32}
        assert options.image_format(parsed, options.chosen(parsed)) == wanted
        assert parsed.remarks == []
    else:
        assert "--classes has no effect here: the classes are those of the data" in parsed.remarks
        assert ("--space has no effect here: the space is that of the architecture" in parsed.remarks) == (
            command == "train"
        )


def test_the_names_of_before_still_work_and_help_shows_the_new_ones_alone():
    parsed = parse(["search", "--out", "x", "--space-name", "tree", "--images-size", "32"])
    chosen = options.chosen(parsed)
    assert (chosen.space.name, chosen.images.size) == ("tree", 32)
    text = parser().others["search"].format_help()
    assert "--space NAME" in text
    assert "--image-size PX" in text
    assert "--space-name" not in text
    assert "--images-size" not in text


def test_flags_are_not_abbreviated(capsys):
    line = mistake(capsys, "search", "--out", "x", "--lat", "1")
    assert line == "proxyless search: unknown option --lat: did you mean --latency?"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("search --latancy 1", "proxyless search: unknown option --latancy: did you mean --latency?"),
        ("search --latancy=1", "unknown option --latancy: did you mean --latency?"),
        ("search --search_epochs 1", "did you mean --search-epochs?"),
        ("search --Seed 1", "did you mean --seed?"),
        ("search -latency 1", "unknown option -latency: did you mean --latency?"),
        ("search --seed 1 --shape 8", "did you mean --space?"),
        ("train --learning-rate 1", "did you mean --training-learning-rate?"),
        ("measure --imagesize 8", "did you mean --image-size?"),
        ("evaluate run --dta x", "proxyless evaluate: unknown option --dta: did you mean --data?"),
        ("export run --int-8", "did you mean --int8?"),
        ("search --space-blocks 2", "--space-blocks: it is one of --space tree, and the space is mobilenet"),
        ("measure --space tree --space-depths 2", "it is one of --space mobilenet, and the space is tree"),
        ("search --config cifar10-gradient --space-width 1", "it is one of --space mobilenet, and the space is tree"),
        ("search --space tree --space-block 2", "unknown option --space-block: did you mean --space-blocks?"),
        ("search --xyzzy", "unknown option --xyzzy: `proxyless search --help` lists those there are"),
        ("train --search-epochs 1", "unknown option --search-epochs: it is one of proxyless search"),
        ("--data photos search", "unknown option --data: it is one of proxyless search, train, "),
        ("serch --out x", "proxyless: unknown command 'serch': there is search, measure,"),
        ("serch --out x", "did you mean search?"),
        ("Search --out x", "did you mean search?"),
        ("help serch", "did you mean search?"),
        ("frobnicate", "proxyless: unknown command 'frobnicate'"),
        ("search", "proxyless search: --out RUN is missing"),
        ("train", "proxyless train: --architecture FILE and --out RUN are missing"),
        ("evaluate", "proxyless evaluate: RUN is missing"),
        ("report --against a b", "proxyless report: RUN is missing"),
        ("search --out", "--out lacks its value, RUN"),
        ("search --out --seed 1", "--out lacks its value, RUN"),
        ("search --out -run", "--out lacks its value, RUN; one that begins with - is written --out=-run"),
        ("report run --against", "--against lacks its value, RUN"),
        ("search --out r photos", "proxyless search: unexpected argument 'photos'"),
        ("search --out r -- --seed 1", "unexpected argument '--seed'"),
        ("search --out r --images-flip true", "write --images-flip or --no-images-flip"),
        ("search --out r --images-flip=no", "--images-flip takes no value, got 'no'"),
        ("search --out r --quiet=1", "--quiet takes no value, got '1'"),
        ("search --out r --seed x", "--seed must be a whole number, got 'x'"),
        ("search --out r --seed 1.5", "--seed must be a whole number, got '1.5'"),
        ("search --out r --seed ٣", "--seed must be a whole number, got '٣'"),
        ("search --out r --latency １", "--latency must be a number, got '１'"),
        ("search --out r --latency −1", "--latency must be a number, got '−1'"),
        ("search --out r --space-kernels 3,5", "--space-kernels must be a whole number, got '3,5'"),
        ("search --out r --space-kernels 3 null", "--space-kernels takes numbers or null, not both"),
        ("search --out r --search-update two_path", "got 'two_path'; did you mean two-path?"),
        ("search --out r --search-loss nothing", "--search-loss must be add-linear or mul-log or weighted or none"),
    ],
)
def test_a_mistake_is_one_line_that_says_what_was_meant(words, message, capsys):
    assert message in mistake(capsys, *words.split())


@pytest.mark.parametrize(
    "words", [["search", "--out", ""], ["search", "--out="], ["evaluate", ""], ["search", "--out", "x", "--data", ""]]
)
def test_an_empty_text_is_no_name(words, capsys):
    assert "empty" in mistake(capsys, *words)


def test_a_mistake_stays_one_line_whatever_it_quotes(capsys):
    assert r"--la\ntancy\x1b[31m" in mistake(capsys, "search", "--la\ntancy\x1b[31m")
    assert r"\udcff" in mistake(capsys, "s\udcff")
    assert len(mistake(capsys, "search", "--out", "x", "--seed", "9" * 5000)) < 120


@pytest.mark.parametrize("value", ["-1", "-1e3", "-.5", "-inf", "nan", "1e400", "0"])
def test_a_budget_that_is_none_is_refused_as_a_number_and_not_as_a_flag(value, capsys):
    for words in (["--latency", value], [f"--latency={value}"]):
        assert main(["search", "--data", "digits", "--out", "unused", *words]) == 2
        line = capsys.readouterr().err
        assert line.startswith("proxyless search: --latency must be ")
        assert line.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "name", "value"),
    [
        (["--latency=2.5"], "latency", 2.5),
        (["--latency", "1e-3"], "latency", 1e-3),
        (["--latency", "null"], "latency", None),
        (["--data=-photos"], "data", "-photos"),
        (["--space-kernels", "3", "5"], "space.kernels", (3, 5)),
        (["--space-kernels", "null"], "space.kernels", (3, 5, 7)),
        (["--no-images-flip"], "images.flip", False),
        (["--search-update", "all-path"], "search.update", Update.ALL_PATH),
        (["--seed", "1", "--seed", "2"], "seed", 2),
    ],
)
def test_a_flag_sets_its_setting(words, name, value):
    found = options.chosen(parse(["search", "--out", "x", *words]))
    for part in name.split("."):
        found = getattr(found, part)
    assert found == value


def test_what_comes_after_two_dashes_is_no_flag():
    assert str(parse(["evaluate", "--", "-run"]).run_folder) == "-run"
    assert parse(["devices", "--"]).command == "devices"


def test_a_range_is_named_by_the_flag_that_was_given(capsys):
    assert main(["search", "--data", "digits", "--out", "unused", "--image-size", "4"]) == 2
    assert capsys.readouterr().err == "proxyless search: --image-size must be at least 8, got 4\n"


@pytest.mark.parametrize(
    ("words", "remarks"),
    [
        (["--seed", "1", "--seed", "2"], ["--seed is given more than once: the last one counts"]),
        (["--seed", "1", "--seed", "1"], []),
        (["--images-size", "8", "--image-size", "9"], ["--image-size is given more than once: the last one counts"]),
        (["--images-flip", "--no-images-flip"], ["--no-images-flip is given more than once: the last one counts"]),
    ],
)
def test_what_a_later_flag_overrides_is_told(words, remarks):
    assert parse(["search", "--out", "x", *words]).remarks == remarks


def test_a_file_without_a_network_to_write_is_no_list(tmp_path, capsys):
    assert main(["zoo", "--out", str(tmp_path / "x.json")]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "goes with the NAME of a network" in printed.err


def test_help_is_one_command_whatever_it_is_asked_for_by(capsys):
    shown = []
    for words in (["help", "search"], ["search", "--help"], ["search", "-h"], ["search", "--latancy", "--help"]):
        with pytest.raises(SystemExit) as stopped:
            main(words)
        assert stopped.value.code == 0
        shown.append(capsys.readouterr().out)
    assert set(shown) == {shown[0]}
    assert "usage: proxyless search" in shown[0]


@pytest.mark.parametrize("words", [["--space", "tree"], ["--space=tree"], ["--config", "cifar10-gradient"]])
def test_help_shows_the_settings_of_the_space_that_is_named(words, capsys):
    with pytest.raises(SystemExit):
        main(["search", *words, "--help"])
    text = capsys.readouterr().out
    assert "--space-blocks N" in text
    assert "--space-depths" not in text


def test_an_unknown_space_is_told_before_its_settings(capsys):
    assert main(["search", "--space", "treee", "--space-blocks", "2", "--out", "x"]) == 2
    assert "no search space called 'treee'" in capsys.readouterr().err


def test_every_help_text_is_a_sentence():
    for name in COMMANDS:
        for action in parser().others[name]._actions:
            if action.dest != "help" and action.help != argparse.SUPPRESS:
                assert re.match(r"[A-Z].*\.$", str(action.help), re.DOTALL), (name, action.help)
    for item in describe():
        assert re.match(r"[A-Z].{12,}\.$", item.help), item


def test_a_mistake_and_the_version_in_a_real_process():
    assert process("search", "--latancy", "1", check=2).stderr == (
        "proxyless search: unknown option --latancy: did you mean --latency?\n"
    )
    assert process("search", "--version").stdout == process("--version").stdout != ""
