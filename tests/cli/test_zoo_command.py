import pytest

from proxyless.architecture import Architecture
from proxyless.cli import main
from proxyless.zoo import catalogue


def test_the_list_holds_every_network_with_its_figures(capsys):
    assert main(["zoo"]) == 0
    printed = capsys.readouterr().out
    for network in catalogue():
        assert network.name in printed
        assert f"{network.parameters:,}" in printed


def test_a_network_is_written_as_an_architecture_to_train(tmp_path, capsys):
    assert main(["zoo", "proxyless_mobile", "--out", str(tmp_path / "mobile.json")]) == 0
    architecture = Architecture.load(tmp_path / "mobile.json")
    assert architecture.space == "mobilenet"
    assert len(architecture.choices) == 21


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(["zoo", "resnet50", "--out", "x.json"], "resnet50"), (["zoo", "proxyless_cpu"], "give --out FILE")],
)
def test_a_mistake_is_one_line(arguments, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    errors = capsys.readouterr().err
    assert message in errors
    assert errors.count("\n") == 1
    assert not list(tmp_path.iterdir())
