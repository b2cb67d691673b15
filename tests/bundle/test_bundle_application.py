"""``run.pyz``: what is in it, and that it stands alone."""

from __future__ import annotations

import ast
import subprocess
import sys
import zipfile

import pytest

from proxyless.bundle import application


@pytest.fixture
def run_pyz(tmp_path):
    path = tmp_path / "run.pyz"
    application.write(path)
    return path


def test_it_is_the_same_bytes_every_time(run_pyz, tmp_path):
    application.write(tmp_path / "again.pyz")
    assert (tmp_path / "again.pyz").read_bytes() == run_pyz.read_bytes()


def test_it_is_written_in_the_python_of_older_devices(run_pyz):
    with zipfile.ZipFile(run_pyz) as archive:
        for name in archive.namelist():
            ast.parse(archive.read(name), name, feature_version=(3, 10))


def test_it_holds_the_modules_that_time_here(run_pyz):
    with zipfile.ZipFile(run_pyz) as archive:
        for name in ("latency/timing/interleaved.py", "latency/timing/worker.py", "machine/quota.py"):
            assert archive.read(f"proxyless/{name}") == (application.ROOT / name).read_bytes()


def test_every_module_in_it_imports_only_what_is_there(run_pyz, tmp_path):
    """Numpy and the standard library, and nothing else: also what is imported inside functions, but ONNX Runtime."""
    with zipfile.ZipFile(run_pyz) as archive:
        names = [name for name in archive.namelist() if name.startswith("proxyless/")]
        imported = {
            alias if isinstance(alias, str) else alias.name
            for name in names
            for node in ast.walk(ast.parse(archive.read(name)))
            for alias in getattr(node, "names", [])
            if isinstance(node, ast.Import)
        } | {
            str(node.module)
            for name in names
            for node in ast.walk(ast.parse(archive.read(name)))
            if isinstance(node, ast.ImportFrom)
        }
    outside = {name.split(".")[0] for name in imported} - set(sys.stdlib_module_names)
    assert outside == {"numpy", "onnxruntime", "proxyless"}
    modules = [name.removesuffix("/__init__.py").removesuffix(".py").replace("/", ".") for name in names]
    code = f"""
import sys
sys.path[:] = [{str(run_pyz)!r}, *(path for path in sys.path if path)]
sys.modules["torch"] = None
from importlib import import_module
for name in {modules!r}:
    assert {str(run_pyz)!r} in import_module(name).__file__, name
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path)
