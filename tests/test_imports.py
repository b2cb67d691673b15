"""Direction of imports, and what may not be loaded where it is not needed."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import proxyless

ROOT = Path(proxyless.__file__).parent
REPOSITORY = Path(__file__).parent.parent

# Package or module -> what it may import of ours, beside itself. Read from top to bottom: imports point upwards only.
CORE = {"errors", "registry", "files", "modules", "choice", "inspection", "supernet", "architecture", "cost"}
ALLOWED = {
    "errors": set(),
    "registry": {"errors"},
    "configuration": {"errors"},
    "machine": {"errors"},
    "files": {"errors"},
    "modules": {"errors"},
    "choice": {"errors", "modules"},
    "inspection": {"choice", "errors", "modules"},
    "supernet": {"choice", "errors", "inspection", "modules"},
    "architecture": {"choice", "errors", "files", "modules", "supernet"},
    "cost": {"architecture", "choice", "errors", "inspection", "modules", "supernet"},
    "tasks": {"errors", "registry"},
    "spaces": CORE | {"configuration"},
    "export": CORE | {"machine"},
    "latency/timing": {"errors", "files", "machine"},
    "latency": CORE | {"export", "machine"},
    "search": CORE | {"tasks"},
    "training": CORE | {"tasks"},
    "data": {"errors", "files", "machine"},
    "report": {"errors", "files"},
    "zoo": CORE | {"spaces"},
    "bundle": CORE | {"export", "latency", "machine", "spaces"},
    "job": None,
    "cli": None,
    "__main__": {"cli"},
}


def imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            for name in node.names:
                inside = ROOT.parent / node.module.replace(".", "/") / name.name
                is_module = inside.is_dir() or inside.with_suffix(".py").exists()
                found.add(f"{node.module}.{name.name}" if is_module else node.module)
    return {name.removeprefix("proxyless.") for name in found if name.startswith("proxyless.")}


@pytest.mark.parametrize("path", sorted(ROOT.rglob("*.py")), ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_upwards(path: Path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    if parts[0] == "__init__":
        return
    place = "/".join(parts[:2]) if "/".join(parts[:2]) in ALLOWED else parts[0]
    allowed = ALLOWED[place]
    for name in imports(path):
        package = name.split(".")[0]
        own = f"{name}.".startswith(f"{place.replace('/', '.')}.")
        assert package != "cli" or place in ("cli", "__main__"), f"{path} imports {name}"
        assert allowed is None or own or package in allowed or name in allowed, f"{path} imports {name}"


CORE_MODULES = (
    "choice supernet architecture cost latency.table search.gradient search.objective search.budget search.loop"
    " search.reinforce search.reward search.blackbox"
)


def test_the_core_needs_torch_and_numpy_only():
    blocked = "torchvision timm onnxruntime onnx PIL yaml rich matplotlib safetensors sklearn scipy pandas"
    code = f"""
import sys
for name in {blocked.split()!r}:
    sys.modules[name] = None  # importing it now fails
from importlib import import_module
for name in {CORE_MODULES.split()!r}:
    import_module("proxyless." + name)
from torch import nn
from proxyless import Choice, Supernet, Zero, derive
import torch
supernet = Supernet(nn.Sequential(Choice(a=nn.Linear(3, 3), b=Zero())))
print(tuple(derive(supernet, supernet.sample())(torch.zeros(1, 3)).shape))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "(1, 3)", done.stderr


def test_the_timing_program_needs_the_standard_library_and_numpy_only():
    """It is what runs on devices without this package; ONNX Runtime is imported when a model is loaded."""
    modules = [
        ".".join(path.relative_to(ROOT.parent).with_suffix("").parts)
        for folder in ("machine", "latency/timing")
        for path in sorted((ROOT / folder).glob("*.py"))
    ]
    code = f"""
import sys
from importlib import import_module

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] not in {{*sys.stdlib_module_names, "numpy", "proxyless"}}:
            raise ImportError(f"{{name}} is not on the device")

sys.meta_path.insert(0, Blocked())
for name in {modules!r}:
    import_module(name)
from proxyless.latency.timing.clock import wall_clock_ms
from proxyless.latency.timing.interleaved import time_interleaved
from proxyless.latency.timing.statistics import Effort

class Sum:
    def times_ms(self, count):
        return wall_clock_ms(lambda: sum(range(1000)), count)

found, _ = time_interleaved({{"sum": Sum()}}, Effort(rounds=3, burst_ms=0.1, limit_s=0.0))
print(found["sum"].ms > 0)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "True", done.stderr


LIBRARIES = {
    "onnxruntime": ["measure", "--image-size", "8", "--channels", "1"],
    "onnx": ["export"],
    "timm": ["measure", "--image-size", "8", "--channels", "1"],
    "safetensors": ["export"],
    "PIL": ["search", "--latency", "1", "--data"],
    "sklearn": ["search", "--latency", "1", "--data", "digits"],
}


@pytest.mark.parametrize("missing", LIBRARIES)
def test_a_missing_library_stops_only_what_needs_it_with_a_clear_line(missing: str, tmp_path: Path):
    from proxyless.cli.guard import INSTALLED_AS

    arguments = LIBRARIES[missing]
    if arguments == ["export"]:  # a run that is complete but for what the library is for
        (tmp_path / "run").mkdir()
        space = "{'classes': 2, 'channels': 1, 'image_size': 8, 'width': 0.25, 'depths': [1, 1, 1, 1, 1, 1]}"
        code = f"""
import json
from pathlib import Path
from safetensors.torch import save_file
from proxyless import spaces
space = spaces.make("mobilenet", {space})
architecture = space.architecture({{name: row[0] for name, row in space.choices().items()}})
run = Path({str(tmp_path / "run")!r})
architecture.save(run / "architecture.json")
save_file(space.build(architecture).state_dict(), run / "model.safetensors")
(run / "model.json").write_text("{{}}")
from proxyless import data
(run / "data.json").write_text(json.dumps(data.load("digits").describe()))
"""
        subprocess.run([sys.executable, "-c", code], check=True)
        arguments = [*arguments, str(tmp_path / "run")]
    elif arguments[-1] == "--data":
        for name in ("one", "two"):
            (tmp_path / "images" / name).mkdir(parents=True)
            for i in range(12):
                (tmp_path / "images" / name / f"{i}.png").touch()
        arguments = [*arguments, str(tmp_path / "images")]
    if arguments[0] != "export":
        arguments = [*arguments, "--out", str(tmp_path / "out")]
    code = f"""
import sys
sys.modules[{missing!r}] = None
import proxyless.search.loop, proxyless.spaces, proxyless.latency.table
from proxyless.cli import main
sys.exit(main({arguments!r} + (["--quiet"] if {arguments[0]!r} != "export" else [])))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 2, done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
    assert f"pip install {INSTALLED_AS.get(missing, missing)}" in done.stderr


def test_help_loads_nothing_heavy():
    code = """
import sys
from proxyless.cli import parser
parser().format_help()
print(sorted({"torch", "numpy", "rich", "timm", "onnxruntime", "torchvision", "matplotlib"} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr


def test_import_proxyless_loads_no_torch():
    code = "import sys, proxyless; print('torch' in sys.modules, proxyless.__version__)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.split() == ["False", proxyless.__version__]


PROGRAMS = [
    path for folder in ("benchmarks", "examples", "docs") for path in sorted((REPOSITORY / folder).glob("*.py"))
]


@pytest.mark.parametrize("path", PROGRAMS, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_what_programs_beside_the_package_import_from_it_is_there(path: Path):
    """Also inside functions, which a benchmark of many minutes may reach at its very end."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and str(node.module).split(".")[0] == "proxyless":
            module = importlib.import_module(str(node.module))
            for alias in node.names:
                if not hasattr(module, alias.name):
                    importlib.import_module(f"{node.module}.{alias.name}")
