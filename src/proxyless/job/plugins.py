"""Modules of the user that register a space, a runtime, a task or a metric: imported when asked for, known to a run.

A run records which modules it needs, so that later commands on it find them. But whoever has made a run could name any
module in it. So what a run names is imported by itself only if this user has imported it before, from the same file.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from proxyless import files
from proxyless.errors import ProxylessError, first_line
from proxyless.job.run_folder import RunFolder

if TYPE_CHECKING:
    from proxyless.job.job import Job

KNOWN = "~/.cache/proxyless/imports.json"
"""The modules that this user has imported, by name, each with its file."""


def import_module(name: str) -> None:
    """Import a module that the user names, from where Python finds modules or from the current folder.

    Args:
        name: of the module, such as ``my_package.spaces``, or a file such as ``my_space.py``.

    Raises:
        ProxylessError: it cannot be imported.
    """
    called, folder, path = f"--import {name}", Path.cwd(), None
    if name.endswith(".py"):
        path = Path(name).absolute()
        if not path.is_file():
            raise ProxylessError(f"{called}: no such file")
        folder, name = path.parent, path.stem
    elif not all(part.isidentifier() for part in name.split(".")):
        raise ProxylessError(
            f"{called}: must be the name of a module, such as my_package.spaces, or a file such as my.py"
        )
    _import(name, folder, called)
    if path and (found := _file(name)) != str(path) and not (found and path.samefile(found)):
        other = f"there is another module of that name, {found or 'of Python itself'}"
        raise ProxylessError(f"{called}: {other}: give the file another name")
    _remember([name])


def record(job: Job) -> None:
    """Write into the run of a job which modules have to be imported for its space, runtime, task and metrics."""
    from proxyless.latency.runtimes import RUNTIMES
    from proxyless.spaces import SPACES
    from proxyless.tasks import METRICS, TASKS

    metrics = [metric if isinstance(metric, str) else metric.name for metric in job.task.metrics]
    origins = {
        SPACES.origin(job.space.name),
        RUNTIMES.origin(job.target.runtime),
        TASKS.origin(job.task.name),
        *map(METRICS.origin, metrics),
    }
    modules = sorted(origin for origin in origins if origin and not origin.startswith("proxyless."))
    if modules and not job.run.imports.exists():
        files.write_json(job.run.imports, {name: _file(name) for name in modules})
        _remember(modules)


def restore(run: RunFolder) -> None:
    """Import the modules that a run needs.

    Raises:
        ProxylessError: this user has not imported one of them before, or it cannot be imported now.
    """
    if not run.imports.exists():
        return
    needed = files.read_json(run.imports)
    if not isinstance(needed, dict) or not all(isinstance(file, str) for file in needed.values()):
        raise ProxylessError(f"{run.imports}: must hold the file of each module; restore it")
    known = _known()
    for name, file in needed.items():
        if name in sys.modules:
            continue
        if name == "__main__" or known.get(name) != file:
            what = f"the program {file}" if name == "__main__" else f"the module {name}"
            mend = "load the run in it" if name == "__main__" else f"if you trust it, add --import {name}"
            raise ProxylessError(f"{run.path}: was made with {what}: {mend}")
        path = Path(file)
        depth = name.count(".") + (path.name == "__init__.py")
        _import(name, path.parents[depth], str(run.path))


def _import(name: str, folder: Path, called: str) -> None:
    if str(folder) not in sys.path:
        sys.path.append(str(folder))
    try:
        importlib.import_module(name)
    except ProxylessError as error:
        raise ProxylessError(f"{called}: {error}") from error
    except Exception as error:  # whatever it is, it is one line for the user
        raise ProxylessError(f"{called}: cannot be imported: {type(error).__name__}: {first_line(error)}") from error


def _file(name: str) -> str:
    return str(getattr(sys.modules.get(name), "__file__", None) or "")


def _known() -> dict[str, str]:
    with suppress(ProxylessError):  # it only saves the user an --import
        value = files.read_json(files.from_home(KNOWN))
        if isinstance(value, dict):
            return value
    return {}


def _remember(names: Iterable[str]) -> None:
    """Note that this user has imported modules; where that cannot be noted, --import is needed again."""
    with suppress(ProxylessError, OSError):
        path = files.from_home(KNOWN)
        path.parent.mkdir(parents=True, exist_ok=True)
        files.write_json(path, _known() | {name: _file(name) for name in names})
