"""Direction of imports, and what may not be loaded where it is not needed."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import proxyless

ROOT = Path(proxyless.__file__).parent

# Package or module -> what it may import of ours, beside itself. Read from top to bottom: imports point upwards only.
CORE = {"errors", "files", "choice", "supernet", "architecture"}
ALLOWED = {
    "errors": set(),
    "files": {"errors"},
    "choice": set(),
    "supernet": {"choice"},
    "architecture": {"choice", "supernet", "errors", "files"},
    "settings": {"errors", "files"},
    "progress": {"files"},
    "spaces": CORE,
    "export": CORE,
    "latency": CORE | {"export"},
    "search": CORE | {"latency.table"},
    "training": CORE,
    "data": {"errors", "files"},
    "report": {"errors", "files"},
    "zoo": CORE | {"spaces", "latency.operators"},
    "summary": CORE | {"latency"},
    "run_folder": {"errors", "files", "settings"},
    "stages": None,
    "delivery": None,
    "pipeline": None,
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
    place = path.relative_to(ROOT).with_suffix("").parts[0]
    if place == "__init__":
        return
    allowed = ALLOWED[place]
    for name in imports(path):
        package = name.split(".")[0]
        assert package != "cli" or place in ("cli", "__main__"), f"{path} imports {name}"
        assert allowed is None or package == place or package in allowed or name in allowed, f"{path} imports {name}"


CORE_MODULES = "choice supernet architecture search.gradient search.objective search.budget search.loop latency.table"


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


@pytest.mark.parametrize(
    ("missing", "needs"),
    [
        ("onnxruntime", "from proxyless.latency import device, identity; identity.describe(device.device('cpu'))"),
    ],
)
def test_a_missing_library_stops_only_what_needs_it_with_a_clear_line(missing, needs):
    code = f"""
import sys
sys.modules[{missing!r}] = None
import proxyless.search.loop, proxyless.spaces, proxyless.latency.measure
from proxyless import ProxylessError
try:
    {needs}
except ProxylessError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "pip install onnxruntime" in done.stdout, done.stderr


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
