"""What is defined outside the package works by name as ours does; CONTRIBUTING.md says what has to be written."""

from __future__ import annotations

import json
from pathlib import Path

import my_extension
import pytest
import torch
from command_line import proxyless as command
from torch import nn

import proxyless

FILE = Path(my_extension.__file__)

TINY = """
data: digits
latency: 1000
space: {stripes: 3}
measure: {rounds: 2, loadings: 1, burst_ms: 0.5, limit_s: 0, networks: 4, cache: null}
search: {warmup_epochs: 0, epochs: 1}
training: {epochs: 1}
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory):
    """A home folder of its own: which modules a user has imported is noted there."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("home")
        patch.setenv("HOME", str(folder))
        yield folder


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, home: Path) -> Path:
    """A job by the command line with a space and a device of the module, which are asked for by name."""
    folder = tmp_path_factory.mktemp("extension")
    (folder / "config.yaml").write_text(TINY.replace("{stripes", "{name: striped, stripes"))
    words = ["--import", FILE, "--config", "config.yaml", "--device", "cpu-traced", "--out", "run", "--quiet"]
    command("search", *words, cwd=folder)
    return folder / "run"


def test_a_space_and_a_runtime_do_the_whole_job_by_name(run: Path):
    assert len(proxyless.Architecture.load(run / "architecture.json").choices) == 3
    result = json.loads((run / "result.json").read_text())
    assert result["device"]["runtime"] == "traced"
    assert result["latency_measured_ms"] == pytest.approx(0.5)
    assert "cpu-traced" in (run / "report.html").read_text()


def test_later_commands_find_the_module_by_themselves(run: Path):
    assert json.loads((run / "imports.json").read_text()) == {"my_extension": str(FILE)}
    assert "test images" in command("evaluate", run).stdout
    assert "model.onnx" in command("export", run).stdout
    again = ["--config", run / "config.yaml", "--out", run]
    assert "is finished already" in command("search", *again).stderr
    assert proxyless.load(run).model is not None


def test_a_module_that_this_user_has_not_imported_is_not_imported_by_a_file(run: Path, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    told = command("evaluate", run, check=2).stderr
    assert told.endswith("was made with the module my_extension: if you trust it, add --import my_extension\n")
    assert "test images" in command("evaluate", run, "--import", FILE).stdout


@pytest.mark.usefixtures("home")
def test_help_lists_and_bundles_know_what_the_module_registers(tmp_path: Path):
    assert "--space-stripes N" in command("search", "--import", FILE, "--space", "striped", "--help").stdout
    assert "cpu-traced  " in command(f"--import={FILE}", "devices").stdout
    words = ["--space", "striped", "--image-size", 8, "--measure-networks", 4, "--out", tmp_path / "bundle", "--quiet"]
    assert "distinct at 2 choices" in command("bundle", "--import", FILE, *words).stdout


@pytest.mark.usefixtures("home")
def test_a_module_that_cannot_be_imported_is_one_line(tmp_path: Path):
    (tmp_path / "torn.py").write_text("import nothing_of_this_name")
    told = command("devices", "--import", tmp_path / "torn.py", check=2).stderr
    assert told.endswith("torn.py: cannot be imported: ModuleNotFoundError: No module named 'nothing_of_this_name'\n")
    assert "--import lacks its value, MODULE" in command("devices", "--import", check=2).stderr


@pytest.mark.usefixtures("home")
def test_a_task_and_a_metric_do_the_whole_job_by_name(tmp_path: Path):
    torch.manual_seed(0)
    batches = [(x, x.sum((1, 2, 3), keepdim=False)[:, None].round()) for x in torch.rand(3, 16, 1, 4, 4)]
    network = nn.Sequential(
        proxyless.Choice(k1=nn.Conv2d(1, 2, 1), k3=nn.Conv2d(1, 2, 3, padding=1)), nn.Flatten(), nn.Linear(32, 1)
    )
    loaders = {"train": batches, "valid": batches, "test": batches}
    rates = {"search_learning_rate": 1e-4, "training_learning_rate": 1e-4}
    settings = rates | {"search_loss": "none", "search_epochs": 1, "training_epochs": 1, "device": "cpu-traced"}
    run = proxyless.search(network=network, task="counted", out=tmp_path / "run", quiet=True, **loaders, **settings)
    assert 0 <= run.result["test_counted_right"] <= 1


@pytest.mark.usefixtures("home")
def test_a_space_is_measured_from_python_by_name():
    names = [known.name for known in proxyless.list_spaces()]
    assert "striped" in names
    table = proxyless.measure("striped", (1, 8, 8), "cpu-traced", rounds=2, networks=4, limit_s=0, cache=None)
    assert [len(row) for row in table.rows.values()] == [2, 2]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("none.py", "--import none.py: no such file"),
        ("mine/json.py", "--import mine/json.py: there is another module of that name, "),
        ("..spaces", "--import ..spaces: must be the name of a module, such as my_package.spaces, or a file"),
        ("my-spaces", "--import my-spaces: must be the name of a module"),
    ],
)
def test_a_file_that_is_not_the_one_imported_is_one_line(name: str, message: str, tmp_path: Path, home: Path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "json.py").write_text("raise RuntimeError('never run')")
    answer = command("devices", "--import", name, cwd=tmp_path, check=2)
    assert message in answer.stderr
